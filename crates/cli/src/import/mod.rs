//! `larder import`.
//!
//! A thread reads records; records wait in a bounded window until they are committed. A connection may break at any time: the
//! records in the window are sent again, which is harmless, because an import creates or replaces by id.

mod args;
mod columns;
mod direct;
mod documents;
mod encoding;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod input;
mod lines;
mod records;
mod remote;
mod report;
mod resume;
mod rows;
mod shapes;
mod source;
mod statements;
mod window;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use larder_proto::catalog::Product;
use prost::Message as _;

pub(super) use records::Format;

use super::{
    CliError,
    client::{CallOptions, timeout},
    error::{Exit, Failure},
    output::{Output, plain},
    settings::{CallsOrOpens, SettingArgs},
    stop::Stop,
};
use args::CsvArgs;
use encoding::Text;
use records::{Passed, Record, Records};
use report::{Counts, Report};
use source::Source;
use window::{Content, Entry, Window};

/// The help of `larder import`.
const ABOUT: &str = "\
Creates or replaces products by id, from JSON, CSV or SQL (UTF-8).

JSON: Protobuf's mapping of Product, in any layout: one object a line (JSON Lines), indented objects one after the other, an array,
or {\"products\": [...]}. The picture and priceUsd of Online Boutique's catalogue become image_url and price.

SQL: the rows of INSERT INTO products (column, ...) VALUES (...), in any schema, such as those of the OpenTelemetry demo. Literals
alone are read, nothing is executed.

CSV: a header with columns among id, name, description, price_currency, price_amount (12.50), categories and tags (entries
separated by |; within one, \\| stands for | and \\\\ for \\), attributes (a JSON object of texts), image_url and in_stock (true or
false, or a number of pieces). The columns id and name are required; --map reads any of them from a column of another name. The
import detects the separator: comma, semicolon or tab.

The import recognizes exports of Shopify and WooCommerce and the data of Open Food Facts by their headers. Their prices need
--currency. It skips unpublished products, and counts further variants and images of a Shopify product as rows of that product.

An invalid product is rejected with its line and a reason; the import goes on, and exits with 65 in the end. When an id occurs
several times, the last product wins. An interrupted import prints how to resume.";

/// Creates or replaces products by id, from JSON, CSV or SQL.
#[derive(Debug, Args)]
#[command(long_about = ABOUT)]
pub(crate) struct Import {
    /// The file; - reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The format of the file. By default the extension decides (.csv and .tsv, .json, .jsonl and .ndjson, or .sql); for standard input
    /// the first bytes decide.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Skip the records that begin before this line.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Write all rejected lines to this file, of which the screen shows the first 20, as JSON Lines with line, id, reason and raw. With --from-line they are appended.
    #[arg(long, value_name = "PATH")]
    rejects: Option<PathBuf>,
    /// How long to retry while the server or the database is away.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    retry_for: Duration,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
    /// Open the database instead of calling a server. A server on the same database sees the change.
    #[arg(long, conflicts_with = "address")]
    direct: bool,
    #[command(flatten)]
    csv: CsvArgs,
    #[command(flatten)]
    settings: SettingArgs<CallsOrOpens>,
    #[command(flatten)]
    call: CallOptions,
}

/// The state that both ways of importing share.
struct Job {
    source: Source,
    report: Report,
    stop: Stop,
    retry_for: Duration,
    counts: Counts,
    through: Through,
    /// The token of the last commit that a server reported.
    token: String,
}

/// The progress of commits.
#[derive(Debug, Clone, Copy, Default)]
struct Through {
    line: u64,
    bytes: u64,
}

/// Why an import ended before the end of the file.
enum Ended {
    /// A signal.
    Stopped(Exit),
    /// Anything else.
    Failed(CliError),
}

impl From<CliError> for Ended {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

impl Import {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let format = if self.is_script() { None } else { self.format()? };
        let (reader, bytes) = open(&self.file)?;
        let text = encoding::text(reader)?;
        let records = match format {
            Some(format) => Records::open(text, format, self.from_line, &self.csv)?,
            None if self.is_script() => Records::of_script(text, self.from_line, &self.csv)?,
            None => {
                let (format, text) = detect(text)?;
                Records::open(text, format, self.from_line, &self.csv)?
            }
        };
        let note = records.note();
        let mut job = Job {
            source: Source::start(records, self.rejects.is_some())?,
            report: Report::new(bytes, self.rejects.as_deref(), self.from_line > 1)?,
            stop: Stop::new()?,
            retry_for: self.retry_for,
            counts: Counts::default(),
            through: Through { line: self.from_line - 1, bytes: 0 },
            token: String::new(),
        };
        if let Some(note) = note {
            job.report.say(&format!("larder: {}", plain(&note)));
        }
        let ended = if self.direct {
            direct::run(&mut job, &self.settings).await
        } else {
            remote::run(&mut job, &self.settings, &self.call).await
        };
        job.report.finish();
        self.conclude(&mut job, ended)
    }

    /// The format of the file, as far as it is known before the file is read.
    fn format(&self) -> Result<Option<Format>, CliError> {
        if self.format.is_some() || is_stdin(&self.file) {
            return Ok(self.format);
        }
        match self.extension().as_deref() {
            Some("csv" | "tsv" | "tab") => Ok(Some(Format::Csv)),
            Some("jsonl" | "ndjson" | "json") => Ok(Some(Format::Jsonl)),
            _ => Err(CliError::usage(format!("cannot tell from its name how {} holds products", self.file.display()))
                .hint("say --format json or --format csv")),
        }
    }

    /// Whether the file is a SQL script.
    fn is_script(&self) -> bool {
        self.format.is_none() && self.extension().as_deref() == Some("sql")
    }

    fn extension(&self) -> Option<String> {
        self.file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase())
    }

    /// Prints the counts, and the command that resumes an incomplete import.
    fn conclude(&self, job: &mut Job, ended: Result<(), Ended>) -> Result<(), CliError> {
        let mut passed = Passed::default();
        let ended = match (ended, job.source.end()) {
            (Ok(()), Some(end)) => {
                passed = end.passed;
                match &end.error {
                    None => {
                        job.through.line = job.through.line.max(end.last_line);
                        Ok(())
                    }
                    Some(error) => Err(CliError::new(
                        Exit::Io,
                        format!("cannot read {} any further: {error}", self.file.display()),
                    )),
                }
            }
            (Ok(()), None) => Err(CliError::new(Exit::Internal, "the import ended before its file")),
            (Err(Ended::Failed(error)), _) => Err(error),
            (Err(Ended::Stopped(exit)), _) => Err(CliError::new(exit, "interrupted")),
        };
        if let (Err(error), 0) = (&ended, job.counts.sum())
            && !matches!(error, CliError::Failed(failure) if failure.exit == Exit::Interrupted)
        {
            // Nothing has been done: there is nothing to count and nothing to go on with.
            return ended;
        }
        self.print(job, passed)?;
        match ended {
            Ok(()) if job.counts.rejected == 0 => Ok(()),
            Ok(()) => {
                let rejected = match job.counts.rejected {
                    1 => "1 line was rejected".to_owned(),
                    count => format!("{count} lines were rejected"),
                };
                let error = CliError::new(Exit::Data, rejected);
                Err(match &self.rejects {
                    Some(path) => error.hint(format!("they stand in {}", path.display())),
                    None => error.hint("--rejects PATH writes them to a file"),
                })
            }
            Err(CliError::Failed(failure)) => Err(CliError::Failed(self.resumable(job, failure))),
            Err(CliError::BrokenPipe) => Err(CliError::BrokenPipe),
        }
    }

    fn print(&self, job: &Job, passed: Passed) -> Result<(), CliError> {
        let counts = job.counts;
        let mut out = Output::new();
        if self.json {
            let Counts { created, updated, unchanged, rejected } = counts;
            let object = serde_json::json!({
                "lines": counts.sum(),
                "created": created,
                "updated": updated,
                "unchanged": unchanged,
                "rejected": rejected,
                "further_rows": passed.further,
                "unpublished": passed.unpublished,
                "through_line": job.through.line,
                "token": job.token,
            });
            out.line(&object.to_string())?;
        } else {
            let seconds = job.report.elapsed().as_secs_f64();
            let lines = if counts.sum() == 1 { "line" } else { "lines" };
            out.line(&format!("{} {lines}{passed}: {counts}, in {seconds:.1} s", counts.sum()))?;
            if self.call.verbose && !job.token.is_empty() {
                out.line(&format!("token: {}", plain(&job.token)))?;
            }
        }
        out.flush()
    }

    fn resumable(&self, job: &Job, mut failure: Failure) -> Failure {
        let next = job.through.line + 1;
        let committed = match job.through.line {
            0 => "nothing is committed for sure".to_owned(),
            line => format!("everything through line {line} is committed or rejected"),
        };
        failure.details.push(committed);
        failure.details.push(format!("go on with: {}", resume::command(std::env::args_os(), next)));
        if is_stdin(&self.file) {
            failure.details.push("(with the same input from its beginning)".to_owned());
        }
        failure
    }
}

impl Job {
    /// Removes settled records from the window, and reports the rejected ones.
    fn settle<T>(&mut self, window: &mut Window<T>, through: u64) -> Result<(), CliError> {
        while let Some(entry) = window.settle(through) {
            self.through = Through { line: entry.last_line, bytes: entry.end };
            if let Content::Refused { id, reason } = entry.content {
                self.counts.rejected += 1;
                self.report.rejected(entry.line, &id, &reason, &entry.raw)?;
            }
        }
        self.report.progress(self.counts, self.through.bytes);
        Ok(())
    }
}

/// Puts a record into the window.
fn take<T>(report: &mut Report, window: &mut Window<T>, record: Record, parse: impl FnOnce(Product) -> Content<T>) {
    if let Some(warning) = record.warning {
        report.warn(&warning);
    }
    let (bytes, content) = match record.product {
        Ok(product) => (product.encoded_len() + record.raw.len() + 64, parse(product)),
        Err(reason) => (record.raw.len() + 64, Content::Refused { id: record.id, reason }),
    };
    let Record { line, last_line, end, raw, .. } = record;
    window.push(Entry { line, last_line, end, raw, bytes, content });
}

/// Detects the format of standard input.
fn detect<R: Read>(text: Text<R>) -> Result<(Format, Text<R>), CliError> {
    let (first, text) = encoding::first_byte(text).map_err(|error| CliError::io("cannot read the file", &error))?;
    let json = matches!(first, Some(b'{' | b'[') | None);
    Ok((if json { Format::Jsonl } else { Format::Csv }, text))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), CliError> {
    if is_stdin(path) {
        return Ok((Box::new(io::stdin()), None));
    }
    let cannot = |error: &io::Error| CliError::new(Exit::NoInput, format!("cannot open {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let metadata = file.metadata().map_err(|error| cannot(&error))?;
    if metadata.is_dir() {
        return Err(CliError::new(Exit::NoInput, format!("{} is a directory", path.display())));
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), bytes))
}
