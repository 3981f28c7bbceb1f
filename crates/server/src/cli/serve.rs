//! `larder serve`.

use clap::Args;

use super::{
    CliError, direct,
    error::Exit,
    settings::{All, SettingArgs},
};
use crate::{
    app::{self, ServeError},
    config::Purpose,
    telemetry,
};

/// Serves the catalogue until SIGTERM or Ctrl-C; then requests under way may finish.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: SettingArgs<All>,
}

impl Serve {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let resolved = self.settings.resolve(Purpose::Serve)?;
        telemetry::init(&resolved.config.server.log);
        for warning in &resolved.warnings {
            tracing::warn!("{warning}");
        }
        app::serve(resolved.config).map_err(|error| failure(&error))
    }
}

fn failure(error: &ServeError) -> CliError {
    let (exit, hint) = match error {
        ServeError::Database(error) => direct::kind(error),
        ServeError::Listen { .. } => (
            Exit::Unavailable,
            Some("choose another address with --listen or LARDER_LISTEN, or port 0 for any free one"),
        ),
        ServeError::AddressesFile { .. } => (Exit::Io, None),
        ServeError::System(_) => (Exit::System, None),
        ServeError::Redis(_) => (Exit::Config, Some("check REDIS_URL")),
        ServeError::Sample(_) | ServeError::Reflection(_) => (Exit::Internal, None),
    };
    let failed = CliError::new(exit, error.to_string());
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
