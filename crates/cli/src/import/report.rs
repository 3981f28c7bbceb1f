//! What an import tells: progress, rejected lines, and how it ended.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::super::{
    CliError,
    error::Exit,
    output::{note, plain},
};

/// Rejections and warnings on the screen. A file with a wrong header has one for each line.
const SHOWN: u64 = 20;
/// How often progress is told where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many records ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Products that did not exist before.
    pub(super) created: u64,
    /// Products that were replaced.
    pub(super) updated: u64,
    /// Products that were already stored exactly so.
    pub(super) unchanged: u64,
    /// Records that were refused.
    pub(super) rejected: u64,
}

impl Counts {
    /// All of them.
    pub(super) fn sum(self) -> u64 {
        self.created + self.updated + self.unchanged + self.rejected
    }

    /// What has come since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            created: self.created.saturating_sub(earlier.created),
            updated: self.updated.saturating_sub(earlier.updated),
            unchanged: self.unchanged.saturating_sub(earlier.unchanged),
            rejected: self.rejected.saturating_sub(earlier.rejected),
        }
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            created: self.created + other.created,
            updated: self.updated + other.updated,
            unchanged: self.unchanged + other.unchanged,
            rejected: self.rejected + other.rejected,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { created, updated, unchanged, rejected } = self;
        write!(f, "{created} created, {updated} updated, {unchanged} unchanged, {rejected} rejected")
    }
}

/// Tells what happens.
pub(super) struct Report {
    bar: Option<ProgressBar>,
    rejects: Option<BufWriter<File>>,
    rejections: Shown,
    warnings: Shown,
    told: Instant,
    begun: Instant,
}

/// Counts what has been shown of one kind, and what has not.
#[derive(Debug, Default)]
struct Shown {
    shown: u64,
    hidden: u64,
}

impl Shown {
    /// Whether the next one is shown.
    fn next(&mut self) -> bool {
        if self.shown < SHOWN {
            self.shown += 1;
            return true;
        }
        self.hidden += 1;
        false
    }
}

impl Report {
    /// Begins. `bytes` is the size of the file, if it is known; `append` continues the file of rejected lines.
    pub(super) fn new(bytes: Option<u64>, rejects: Option<&Path>, append: bool) -> Result<Self, CliError> {
        let rejects = rejects.map(|path| open(path, append)).transpose()?;
        let bar = std::io::stderr().is_terminal().then(|| bar(bytes));
        let begun = Instant::now();
        let (rejections, warnings) = (Shown::default(), Shown::default());
        Ok(Self { bar, rejects, rejections, warnings, told: begun, begun })
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tells how far the import has come.
    pub(super) fn progress(&mut self, counts: Counts, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(counts.to_string());
        } else if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            note(&format!("larder: {} lines so far: {counts}", counts.sum()));
        }
    }

    /// Tells something of importance.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// Warns of a record.
    pub(super) fn warn(&mut self, warning: &str) {
        if self.warnings.next() {
            self.say(&format!("larder: warning: {}", plain(warning)));
        }
    }

    /// Tells that a record was refused.
    pub(super) fn rejected(&mut self, line: u64, id: &str, reason: &str, raw: &[u8]) -> Result<(), CliError> {
        let named = if id.is_empty() { String::new() } else { format!(" ({})", plain(id)) };
        if self.rejections.next() {
            self.say(&format!("larder: line {line}{named} rejected: {}", plain(reason)));
        }
        let Some(file) = &mut self.rejects else { return Ok(()) };
        let mut object = serde_json::json!({
            "line": line,
            "id": id,
            "reason": reason,
            "raw": String::from_utf8_lossy(raw),
        });
        if str::from_utf8(raw).is_err() {
            object["raw_base64"] = BASE64_STANDARD.encode(raw).into();
        }
        writeln!(file, "{object}").and_then(|()| file.flush()).map_err(|error| cannot_write(&error))
    }

    /// Ends the progress bar, and counts what was not shown.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        for (what, hidden) in [("rejections", self.rejections.hidden), ("warnings", self.warnings.hidden)] {
            if hidden > 0 {
                note(&format!("larder: {hidden} further {what} are not shown"));
            }
        }
    }
}

fn open(path: &Path, append: bool) -> Result<BufWriter<File>, CliError> {
    let mut options = OpenOptions::new();
    options.create(true);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    let file = options.open(path).map_err(|error| {
        CliError::new(Exit::Io, format!("cannot write rejected lines to {}: {error}", path.display()))
    })?;
    Ok(BufWriter::new(file))
}

fn cannot_write(error: &std::io::Error) -> CliError {
    CliError::new(Exit::Io, format!("cannot write rejected lines: {error}"))
}

fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:24} {percent:>3} %  {msg}  {elapsed}, {eta} to go"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}  {msg}  {elapsed}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
