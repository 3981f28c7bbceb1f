//! The command line.

mod admin;
mod amount;
mod client;
mod credentials;
mod csv;
mod database;
mod direct;
mod error;
mod export;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod generate;
mod get;
mod health;
mod import;
mod list;
mod local;
mod output;
mod request;
mod retry;
mod serve;
mod settings;
mod show;
mod status;
mod stop;
mod table;
mod units;
mod watch;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand, error::ErrorKind};

use error::{CliError, Exit};
use output::note;

/// The text below the help.
const EXIT_CODES: &str = "\
Exit codes:
   0  done
  64  the command line, or a field of the request, is wrong
  65  an import rejected some lines, or a file is malformed
  66  the file, or a product, does not exist
  69  the server or the database is unreachable, not ready or too slow
  70  an internal error
  71  the system refuses a resource, such as threads or signals
  74  reading or writing failed
  77  the server asks for credentials, or for a larger role
  78  the configuration is wrong
 130  ended by Ctrl-C (143: by SIGTERM) before it was done

Flags override environment variables, which override the file (--config), which overrides defaults.
`larder config` prints the settings in effect.";

/// A product-catalogue cache: products from memory over gRPC, coherent with the database behind it.
#[derive(Debug, Parser)]
#[command(name = "larder", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Import(import::Import),
    Export(export::Export),
    Get(get::Get),
    List(list::List),
    Search(list::Search),
    Watch(watch::Watch),
    Health(health::Health),
    Stats(admin::Stats),
    Top(admin::Top),
    Inspect(admin::Inspect),
    Hot(admin::Hot),
    Invalidate(admin::Invalidate),
    Warm(admin::Warm),
    Purge(admin::Purge),
    Database(database::Database),
    Config(local::Config),
    HashToken(credentials::HashToken),
    Generate(local::Generate),
    Completions(local::Completions),
    DescriptorSet(local::DescriptorSet),
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => ended(run(cli.command)),
        Err(error) => match settings::dropped(&arguments) {
            Some(dropped) if error.kind() == ErrorKind::UnknownArgument => ended(Err(dropped)),
            _ => explain(&error),
        },
    }
}

/// Reports a failure, and gives the exit code.
fn ended(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(CliError::Failed(failure)) => {
            note(&failure.to_string());
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(command) => command.run(),
        Command::Import(command) => call(command.run()),
        Command::Export(command) => call(command.run()),
        Command::Get(command) => call(command.run()),
        Command::List(command) => call(command.run()),
        Command::Search(command) => call(command.run()),
        Command::Watch(command) => call(command.run()),
        Command::Health(command) => call(command.run()),
        Command::Stats(command) => call(command.run()),
        Command::Top(command) => call(command.run()),
        Command::Inspect(command) => call(command.run()),
        Command::Hot(command) => call(command.run()),
        Command::Invalidate(command) => call(command.run()),
        Command::Warm(command) => call(command.run()),
        Command::Purge(command) => call(command.run()),
        Command::Database(command) => call(command.run()),
        Command::Config(command) => command.run(),
        Command::HashToken(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::DescriptorSet(command) => command.run(),
    }
}

/// Runs a command that waits for input, a server or a database.
fn call(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::System, format!("the system refuses a runtime: {error}")))?;
    let ended = runtime.block_on(command);
    // A thread may still be waiting for standard input.
    runtime.shutdown_background();
    ended
}

/// Prints the requested help, or the error in the command line.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // The reader may have gone.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let text = error.render().to_string();
            note(text.strip_prefix("error: ").map_or(text.clone(), |rest| format!("larder: {rest}")).trim_end());
            Exit::Usage.into()
        }
    }
}
