//! The products of a file, one after the other, and what is no product.

use std::{
    fmt,
    io::{self, Read},
};

use larder_proto::catalog::Product;

use super::{
    super::{CliError, error::Exit},
    args::CsvArgs,
    columns::{Columns, Content, Refused, not_text, refused},
    documents::{Documents, Value},
    encoding::Text,
    lines::LONGEST,
    rows::{Fields, Row, Rows},
    statements::{Inserted, Statements},
};
use larder_server::{
    contract::parse_import,
    json::{Unknown, from_json_at},
};

/// How a file holds products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// JSON, in Protobuf's mapping of Product. Written as JSON Lines, one object a line; read in any layout.
    #[value(alias = "json", alias = "ndjson")]
    Jsonl,
    /// CSV with a header.
    #[value(alias = "tsv")]
    Csv,
}

/// One product of a file, or what stands in its place.
#[derive(Debug)]
pub(super) struct Record {
    /// The line where it begins.
    pub(super) line: u64,
    /// The last line that nothing of the next one begins on.
    pub(super) last_line: u64,
    /// Where it ends in the file, in bytes.
    pub(super) end: u64,
    /// Its bytes.
    pub(super) raw: Vec<u8>,
    /// The product's id, as far as it is known.
    pub(super) id: String,
    /// The product, or why it is none.
    pub(super) product: Result<Product, String>,
    /// What to look at, though it is a product.
    pub(super) warning: Option<String>,
}

/// What of a file is neither a product nor refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Records before the first line that was asked for.
    pub(super) skipped: u64,
    /// Rows that tell another variant or image of the product before them.
    pub(super) further: u64,
    /// Rows of products that their shop does not show.
    pub(super) unpublished: u64,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.skipped, "before them skipped"),
            (self.further, "more of variants and images"),
            (self.unpublished, "unpublished and left out"),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join(", ")) }
    }
}

/// Reads the records of a file.
pub(super) struct Records<R> {
    file: File<R>,
    from_line: u64,
    passed: Passed,
    last_line: u64,
}

enum File<R> {
    Json { documents: Documents<Text<R>>, unknown: Unknown },
    Csv(Box<Table<R>>),
    Sql(Box<Script<R>>),
}

/// A SQL script.
struct Script<R> {
    statements: Statements<Text<R>>,
    columns: Columns,
}

/// A CSV file.
struct Table<R> {
    rows: Rows<Text<R>>,
    columns: Columns,
    /// A product that further rows may belong to.
    pending: Option<Record>,
    /// The id of the row before, where rows may belong together.
    before: String,
}

impl<R: Read> Records<R> {
    /// Begins to read; the header of a CSV file is read at once. Records that begin before `from_line` are skipped.
    pub(super) fn open(text: Text<R>, format: Format, from_line: u64, args: &CsvArgs) -> Result<Self, CliError> {
        let file = match format {
            Format::Jsonl => {
                let unknown = if args.ignore_unknown { Unknown::Ignored } else { Unknown::Refused };
                File::Json { documents: Documents::new(text), unknown }
            }
            Format::Csv => File::Csv(Box::new(Table::open(text, args)?)),
        };
        Ok(Self { file, from_line, passed: Passed::default(), last_line: 0 })
    }

    /// Begins to read a SQL script, up to its first row.
    pub(super) fn of_script(text: Text<R>, from_line: u64, args: &CsvArgs) -> Result<Self, CliError> {
        let statements = Statements::open(text).map_err(|error| CliError::io("cannot read the file", &error))?;
        if statements.columns().is_empty() {
            return Err(CliError::new(Exit::Data, "the script has no INSERT INTO products (column, …) VALUES"));
        }
        let columns = Columns::read(statements.columns(), args)?;
        let file = File::Sql(Box::new(Script { statements, columns }));
        Ok(Self { file, from_line, passed: Passed::default(), last_line: 0 })
    }

    /// What was made of the header, where that needs saying.
    pub(super) fn note(&self) -> Option<String> {
        match &self.file {
            File::Json { .. } => None,
            File::Csv(table) => table.columns.note(),
            File::Sql(script) => script.columns.note(),
        }
    }

    /// What was passed over so far.
    pub(super) fn passed(&self) -> Passed {
        self.passed
    }

    /// The last line that has been read.
    pub(super) fn last_line(&self) -> u64 {
        self.last_line
    }

    /// Whether the next record may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        match &self.file {
            File::Json { documents, .. } => documents.may_wait(),
            File::Csv(table) => table.rows.may_wait(),
            File::Sql(script) => script.statements.may_wait(),
        }
    }

    /// Reads the next record; `None` at the end of the file. Empty lines are none.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let record = match &mut self.file {
                File::Json { documents, unknown } => match documents.next()? {
                    Some(value) => Some(parsed(value, *unknown)),
                    None => {
                        self.last_line = self.last_line.max(documents.through_line());
                        None
                    }
                },
                File::Csv(table) => table.next(self.from_line, &mut self.passed)?,
                File::Sql(script) => match script.next()? {
                    Some(record) => Some(record),
                    None => {
                        self.last_line = self.last_line.max(script.statements.through_line());
                        None
                    }
                },
            };
            let Some(record) = record else { return Ok(None) };
            self.last_line = record.last_line.max(record.line);
            if record.line >= self.from_line {
                return Ok(Some(record));
            }
            self.passed.skipped += 1;
        }
    }
}

fn parsed(value: Value, unknown: Unknown) -> Record {
    let Value { line, column, last_line, end, raw, fault } = value;
    let product = match (fault, str::from_utf8(&raw)) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(not_text(&error)),
        (None, Ok(text)) => from_json_at(text, line, column, unknown),
    };
    let id = String::new();
    Record { line, last_line, end, raw, id, product, warning: None }
}

impl<R: Read> Script<R> {
    fn next(&mut self) -> io::Result<Option<Record>> {
        let Some(Inserted { line, last_line, end, raw, fields }) = self.statements.next()? else { return Ok(None) };
        let content = fields.map_err(Refused::of).and_then(|fields| self.columns.content(fields));
        let (id, product) = match content {
            Ok(Content::Product(product)) => (product.id.clone(), Ok(*product)),
            // No shape of a script has these.
            Ok(Content::Unpublished(id) | Content::Further { id, .. }) => (id, Err("is no product".to_owned())),
            Err(Refused { id, reason }) => (id, Err(reason)),
        };
        Ok(Some(Record { line, last_line, end, raw, id, product, warning: None }))
    }
}

impl<R: Read> Table<R> {
    fn open(text: Text<R>, args: &CsvArgs) -> Result<Self, CliError> {
        let cannot = |error: io::Error| CliError::io("cannot read the header", &error);
        let mut rows = Rows::open(text, args.separator).map_err(cannot)?;
        let header = rows.next(|_| false).map_err(cannot)?;
        let header = header.ok_or_else(|| refused("there is none: the file is empty"))?;
        let header = header.fields.map_err(|fault| refused(&fault.text(&[])))?;
        rows.set_width(header.len());
        Ok(Self { rows, columns: Columns::read(header, args)?, pending: None, before: String::new() })
    }

    /// Reads the next product, with its further rows.
    fn next(&mut self, from_line: u64, passed: &mut Passed) -> io::Result<Option<Record>> {
        loop {
            let Some(mut row) = self.row()? else { return Ok(self.pending.take()) };
            let fields = std::mem::replace(&mut row.fields, Ok(Fields::new()));
            let content = match fields {
                Ok(fields) => self.columns.content(fields),
                Err(fault) => Err(Refused::of(fault.text(self.columns.names()))),
            };
            let (id, product) = match content {
                Ok(Content::Product(product)) => (product.id.clone(), Ok(*product)),
                Ok(Content::Unpublished(id)) => {
                    self.before = id;
                    *(if row.line < from_line { &mut passed.skipped } else { &mut passed.unpublished }) += 1;
                    continue;
                }
                Ok(Content::Further { id, in_stock }) if self.before == id && !id.is_empty() => {
                    passed.further += 1;
                    self.further(&row, in_stock);
                    continue;
                }
                Ok(Content::Further { id, .. }) => {
                    let name = self.columns.label_of("name");
                    (id, Err(format!("{name}: is required, but for further rows of the product above")))
                }
                Err(Refused { id, reason }) => (id, Err(reason)),
            };
            self.before.clone_from(&id);
            let record = Record::of(row, id, product);
            if !self.columns.merges() {
                return Ok(Some(record));
            }
            if let Some(record) = self.pending.replace(record) {
                return Ok(Some(record));
            }
        }
    }

    fn row(&mut self) -> io::Result<Option<Row>> {
        let columns = &self.columns;
        self.rows.next(|fields| match columns.content(fields) {
            Ok(Content::Product(product)) => parse_import(*product).is_ok(),
            _ => false,
        })
    }

    /// Adds a further row to the product that it belongs to, unless that was passed over.
    fn further(&mut self, row: &Row, in_stock: bool) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.id == self.before) else { return };
        (pending.last_line, pending.end) = (row.last_line, row.end);
        if let Ok(product) = &mut pending.product {
            product.in_stock |= in_stock;
        }
        if pending.raw.len() + row.raw.len() < LONGEST {
            pending.raw.push(b'\n');
            pending.raw.extend_from_slice(&row.raw);
        }
    }
}

impl Record {
    fn of(row: Row, id: String, product: Result<Product, String>) -> Self {
        let warning = row.warning();
        let lines = row.last_line - row.line;
        let product = match product {
            Err(reason) if lines > 0 => Err(format!("{reason}; the row ends on line {}", row.last_line)),
            product => product,
        };
        let Row { line, last_line, end, raw, .. } = row;
        Self { line, last_line, end, raw, id, product, warning }
    }
}
