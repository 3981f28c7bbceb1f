//! `larder serve`.

use std::cell::RefCell;

use clap::Args;

use super::{
    CliError, direct,
    error::{Exit, Failure},
    settings::{All, SettingArgs},
};
use larder_server::{
    ServeError,
    app::{self, Reloaded},
    config::{Changes, Purpose, Resolved},
    telemetry,
};

/// Serves the catalogue until SIGTERM or Ctrl-C. Requests in progress may then finish.
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
        let (config, running) = (resolved.config.clone(), RefCell::new(resolved));
        app::serve(config, || self.reload(&mut running.borrow_mut())).map_err(|error| failure(&error))
    }

    /// Reads the configuration again, and applies its policies, its log filter and its credentials. A configuration with errors changes nothing.
    fn reload(&self, running: &mut Resolved) -> Option<Reloaded> {
        let applied = match self.settings.resolve(Purpose::Serve) {
            Ok(later) => running.apply(&later),
            Err(CliError::Failed(error)) => Err(error.to_string()),
            Err(CliError::BrokenPipe) => return None,
        };
        match applied {
            Ok(Changes { applied, waiting }) => {
                let (in_force, after_restart) = (applied.join(", "), waiting.join(", "));
                tracing::info!(in_force, after_restart, "configuration reloaded");
                telemetry::set_filter(&running.config.server.log.filter);
                let config = &running.config;
                Some(Reloaded { policies: config.cache.policies.clone(), auth: config.security.auth.clone() })
            }
            Err(error) => {
                tracing::error!(error, "reload failed; keeping the previous configuration");
                None
            }
        }
    }
}

/// Names every file of TLS and of tokens that cannot be used.
fn wrong_files(errors: &[String]) -> CliError {
    let details = errors.to_vec();
    let message = "files of the configuration cannot be used".to_owned();
    CliError::Failed(Failure { exit: Exit::Config, message, details, hint: None })
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
        ServeError::Telemetry(_) => (Exit::Config, Some("check OTEL_EXPORTER_OTLP_ENDPOINT")),
        ServeError::Redis(_) => (Exit::Config, Some("check REDIS_URL")),
        ServeError::Security(errors) => return wrong_files(errors),
        ServeError::Catalogue { .. } => (Exit::Data, Some("check --sample-catalogue or LARDER_SAMPLE_CATALOGUE")),
        ServeError::Sample(_) | ServeError::Reflection(_) => (Exit::Internal, None),
    };
    let failed = CliError::new(exit, error.to_string());
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
