//! `larder database`: commands that change the database itself, without a server.

use clap::{Args, Subcommand};
use larder_storage::ProductRepository as _;

use super::{
    CliError,
    direct::{failure, open},
    output::{Output, plain},
    settings::{Opens, SettingArgs},
};

/// Maintains the database itself, without a server.
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

/// Repairs the triggers of the change log, and makes every replica drop its copies.
///
/// Run this command after the triggers were disabled, dropped or changed: until then every read goes to the database. An
/// unnecessary run costs the copies and nothing else.
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

/// Gives the database a new incarnation: every tier drops all its copies.
///
/// Run this command after a restore that leaves no trace in the database: a virtual machine that was rolled back together with
/// its memory. Larder notices every other restore by itself. Tokens stay valid as long as the database has their commits.
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
