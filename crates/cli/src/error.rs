//! Why a command failed, and with which exit code.

use std::{fmt, io, process::ExitCode};

/// Exit codes, after `sysexits.h` of BSD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// The input is wrong, at least in part.
    Data = 65,
    /// A file, or a product, does not exist.
    NoInput = 66,
    /// A server or a database is unreachable, not ready or too slow.
    Unavailable = 69,
    /// Something that should not happen.
    Internal = 70,
    /// The system refuses a resource.
    System = 71,
    /// Reading or writing failed.
    Io = 74,
    /// The server asks for credentials, or for a larger role.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
    /// Ended by Ctrl-C: 128 and the number of the signal.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The reader of the output has gone, which is no failure of the command.
    BrokenPipe,
    /// The command failed.
    Failed(Failure),
}

/// A failure as the user sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong, in one line.
    pub(crate) message: String,
    /// Details, line by line.
    pub(crate) details: Vec<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl CliError {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failed(Failure { exit, message: message.into(), details: Vec::new(), hint: None })
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same failure with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.hint = Some(hint.into());
        }
        self
    }

    /// Says what to do about it, unless that is said already.
    pub(crate) fn or_hint(self, hint: &str) -> Self {
        match &self {
            Self::Failed(Failure { hint: None, .. }) => self.hint(hint),
            _ => self,
        }
    }

    /// A failure to read or write; `doing` names the attempt.
    pub(crate) fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NoInput } else { Exit::Io };
        Self::new(exit, format!("{doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "larder: {}", self.message)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
