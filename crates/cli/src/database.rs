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
    NewIncarnation(NewIncarnation),
}

impl Database {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        match self.command {
            DatabaseCommand::Repair(command) => command.run().await,
            DatabaseCommand::NewIncarnation(command) => command.run().await,
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

/// Has every replica take the database for another one: all copies are dropped, on every tier.
///
/// Needed after the database was put back in a way that nothing in it tells: a virtual machine that was rolled back together with
/// its memory. Every other restore is noticed without it. Tokens of writes that the database still has stay good.
#[derive(Debug, Args)]
struct NewIncarnation {
    #[command(flatten)]
    settings: SettingArgs<Opens>,
}

impl NewIncarnation {
    async fn run(self) -> Result<(), CliError> {
        let repository = open(&self.settings).await?;
        let begun = repository.begin_life().await;
        repository.close().await;
        begun.map_err(|error| failure("cannot begin another incarnation", &error))?;
        let mut out = Output::new();
        out.line("the database has another incarnation: every replica drops its copies")?;
        out.flush()
    }
}
