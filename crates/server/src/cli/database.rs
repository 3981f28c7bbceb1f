//! `larder database`: what is done to the database itself, without a server.

use clap::{Args, Subcommand};
use larder_storage::ProductRepository as _;

use super::{
    CliError,
    direct::{failure, open},
    output::{Output, plain},
    settings::{Opens, SettingArgs},
};

/// Works on the database itself, without a server.
#[derive(Debug, Args)]
pub(crate) struct Database {
    #[command(subcommand)]
    command: DatabaseCommand,
}

#[derive(Debug, Subcommand)]
enum DatabaseCommand {
    Repair(Repair),
}

impl Database {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        match self.command {
            DatabaseCommand::Repair(command) => command.run().await,
        }
    }
}

/// Puts the triggers of the change log right, and has every replica drop its copies.
///
/// Needed after somebody switched the triggers off, dropped or changed them: until then every read goes to the database.
/// Running it once too often costs the copies and nothing else.
#[derive(Debug, Args)]
struct Repair {
    #[command(flatten)]
    settings: SettingArgs<Opens>,
}

impl Repair {
    async fn run(self) -> Result<(), CliError> {
        let repository = open(&self.settings).await?;
        let repaired = repository.repair().await;
        repository.close().await;
        let wrong = repaired.map_err(|error| failure("cannot repair the change log", &error))?;
        let mut out = Output::new();
        for line in &wrong {
            out.line(&format!("repaired: {}", plain(line)))?;
        }
        if wrong.is_empty() {
            out.line("the triggers are all there")?;
        }
        out.line("every replica drops its copies")?;
        out.flush()
    }
}
