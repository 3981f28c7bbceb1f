//! Commands that need neither a server nor a database.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _};

use super::{
    Cli, CliError,
    error::Exit,
    output::{Output, note},
    settings::{All, SettingArgs},
};
use crate::generate::generate;
use larder_server::{
    config::{self, Purpose},
    json::to_json,
};

/// Prints the settings in effect, and where each value comes from.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// Print JSON.
    #[arg(long, conflicts_with_all = ["example", "markdown"])]
    json: bool,
    /// Print an example of the file with settings instead.
    #[arg(long, conflicts_with = "markdown")]
    example: bool,
    /// Print a page about all settings in Markdown instead.
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    settings: SettingArgs<All>,
}

impl Config {
    /// Runs the command.
    pub(crate) fn run(&self) -> Result<(), CliError> {
        let text = if self.example {
            config::example()
        } else if self.markdown {
            config::markdown()
        } else {
            let resolved = self.settings.resolve(Purpose::Serve)?;
            for warning in &resolved.warnings {
                note(&format!("larder: warning: {warning}"));
            }
            if self.json {
                config::effective_json(&resolved.effective)
            } else {
                config::effective_text(&resolved.effective)
            }
        };
        let mut out = Output::new();
        out.text(&text)?;
        out.flush()
    }
}

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    /// Runs the command.
    pub(crate) fn run(&self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "larder", &mut script);
        let mut out = Output::new();
        out.bytes(&script)?;
        out.flush()
    }
}

/// Prints distinct products for tests and benchmarks, as JSON Lines. The same seed gives the same products.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// How many products.
    #[arg(long, value_name = "NUMBER")]
    count: u64,
    /// The seed; another seed gives other products.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write a file instead of standard output.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

impl Generate {
    /// Runs the command.
    pub(crate) fn run(&self) -> Result<(), CliError> {
        let mut sink = Sink::open(self.output.as_deref())?;
        for product in generate(self.seed, self.count) {
            let mut line = to_json(&product)
                .map_err(|error| CliError::new(Exit::Internal, format!("cannot write JSON: {error}")))?;
            line.push('\n');
            sink.write(line.as_bytes())?;
        }
        sink.finish()
    }
}

/// Writes the contract and all its imports as an encoded google.protobuf.FileDescriptorSet.
#[derive(Debug, Args)]
pub(crate) struct DescriptorSet {
    /// Write a file instead of standard output.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

impl DescriptorSet {
    /// Runs the command.
    pub(crate) fn run(&self) -> Result<(), CliError> {
        let mut sink = Sink::open(self.output.as_deref())?;
        sink.write(larder_proto::DESCRIPTOR_SET)?;
        sink.finish()
    }
}

/// Standard output, or a file that appears under its name once it is complete.
pub(crate) enum Sink {
    Standard(Output),
    File { file: BufWriter<File>, partial: PathBuf, path: PathBuf },
}

impl Sink {
    /// Opens it. `-` is standard output too.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let path = match path {
            None => return Ok(Self::Standard(Output::new())),
            Some(path) if path == Path::new("-") => return Ok(Self::Standard(Output::new())),
            Some(path) => path.to_owned(),
        };
        // A device or a pipe is written directly: it cannot be renamed into place.
        let partial = match std::fs::metadata(&path) {
            Ok(there) if !there.is_file() => path.clone(),
            _ => {
                let mut name = path.as_os_str().to_owned();
                name.push(".partial");
                PathBuf::from(name)
            }
        };
        let file = File::create(&partial).map_err(|error| cannot_write(&partial, &error))?;
        Ok(Self::File { file: BufWriter::with_capacity(64 << 10, file), partial, path })
    }

    /// Writes bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Standard(out) => out.bytes(bytes),
            Self::File { file, partial, .. } => file.write_all(bytes).map_err(|error| cannot_write(partial, &error)),
        }
    }

    /// Ends the output: everything is written, and a file has its name.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        match self {
            Self::Standard(mut out) => out.flush(),
            Self::File { mut file, partial, path } => {
                file.flush().map_err(|error| cannot_write(&partial, &error))?;
                if partial == path {
                    return Ok(());
                }
                file.get_ref().sync_all().map_err(|error| cannot_write(&partial, &error))?;
                std::fs::rename(&partial, &path).map_err(|error| cannot_write(&path, &error))
            }
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Io, format!("cannot write {}: {error}", path.display()))
}
