//! The rows of a CSV file. The `csv` crate's parser is fed line by line, so that a row which turns out to be broken is left
//! behind and the lines after it are read once more, as rows of their own.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use super::lines::{LONGEST, Line, Lines, trimmed};

/// Lines that a broken row may go on for when no whole row is found among them.
const ABSORBED: usize = 100;
/// A row of more lines than this one is imported, with a warning.
const MANY_LINES: usize = 100;

/// The bytes of the fields of a row.
pub(super) type Fields = Vec<Vec<u8>>;

/// One row of a file.
#[derive(Debug)]
pub(super) struct Row {
    /// The line where it begins.
    pub(super) line: u64,
    /// The line where it ends.
    pub(super) last_line: u64,
    /// Where it ends in the file, in bytes.
    pub(super) end: u64,
    /// Its bytes without the last line's end.
    pub(super) raw: Vec<u8>,
    /// Its fields, or why it has none.
    pub(super) fields: Result<Fields, Fault>,
}

impl Row {
    /// What to look at, though the row is imported.
    pub(super) fn warning(&self) -> Option<String> {
        let lines = self.last_line - self.line + 1;
        (self.fields.is_ok() && lines > MANY_LINES as u64)
            .then(|| format!("line {}: the row has {lines} lines; is a quote missing that closes a field?", self.line))
    }
}

/// What is wrong with a row. Fields are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The row, or its first line, is longer than [`LONGEST`].
    TooLong,
    /// This field begins with a quote that is not the field's only one.
    AfterQuote(usize),
    /// This field begins with a quote that is closed nowhere.
    Unclosed(usize),
    /// This field begins with a quote that is closed after whole rows, so many lines below.
    AroundRows(usize, usize),
    /// There are so many fields, and not as many as in the header.
    Count(usize),
}

impl Fault {
    /// Says it, with the names of the columns.
    pub(super) fn text(self, names: &[String]) -> String {
        let name = |field: usize| match names.get(field) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("field {}", field + 1),
        };
        match self {
            Self::TooLong => format!("the row is longer than {LONGEST} bytes"),
            Self::AfterQuote(field) => {
                format!("{}: text follows the closing quote (within a field, a quote is written \"\")", name(field))
            }
            Self::Unclosed(field) => format!("{}: a quote is opened and not closed", name(field)),
            Self::AroundRows(field, lines) => {
                format!("{}: a quote is opened, and closed {lines} lines below after whole rows", name(field))
            }
            Self::Count(count) => format!("the row has {count} fields, the header has {}", names.len()),
        }
    }
}

/// Reads the rows of a file.
#[derive(Debug)]
pub(super) struct Rows<R> {
    lines: Lines<R>,
    /// Lines that have been read and belong to no row yet.
    ahead: VecDeque<Line>,
    parser: Parser,
    /// A parser to which quotes mean nothing.
    unquoted: Parser,
    separator: u8,
    /// The fields of a row; 0 as long as there is no header.
    width: usize,
}

impl<R: Read> Rows<R> {
    /// Begins to read. Without a `separator`, the first line says it (`sep=;`), or the one that makes most of the header.
    pub(super) fn open(reader: R, separator: Option<u8>) -> io::Result<Self> {
        let (parser, unquoted) = (Parser::new(b',', true), Parser::new(b',', false));
        let lines = Lines::new(reader);
        let mut rows = Self { lines, ahead: VecDeque::new(), parser, unquoted, separator: b',', width: 0 };
        let mut said = None;
        if rows.skip_blank()? {
            said = rows.ahead.front().and_then(|line| declared(&line.bytes));
            if said.is_some() {
                rows.ahead.pop_front();
                rows.skip_blank()?;
            }
        }
        let header = rows.ahead.front().map(|line| line.bytes.as_slice()).unwrap_or_default();
        rows.separator = separator.or(said).unwrap_or_else(|| likely(header));
        if rows.separator != b',' {
            (rows.parser, rows.unquoted) = (Parser::new(rows.separator, true), Parser::new(rows.separator, false));
        }
        Ok(rows)
    }

    /// Whether the next row may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.ahead.is_empty() && self.lines.may_wait()
    }

    /// Lets every further row have as many fields as the header.
    pub(super) fn set_width(&mut self, width: usize) {
        self.width = width;
    }

    /// Reads the next row; `None` at the end of the file. Empty lines, and rows of empty fields, are none. `is_product` tells
    /// whether fields are those of a product.
    pub(super) fn next(&mut self, is_product: impl Fn(Fields) -> bool) -> io::Result<Option<Row>> {
        loop {
            if !self.skip_blank()? {
                return Ok(None);
            }
            let mut attempt = self.attempt(0)?;
            if attempt.fault.is_none() && self.surrounds_rows(attempt.lines, &is_product)? {
                attempt.fault = Some(Fault::AroundRows(attempt.longest, attempt.lines - 1));
            }
            let (lines, fields) = match attempt.fault {
                None => (attempt.lines, Ok(attempt.fields)),
                Some(fault) => self.recover(attempt.lines, fault)?,
            };
            let row = self.take(lines, fields);
            let blank = |fields: &Fields| fields.iter().all(|field| field.iter().all(u8::is_ascii_whitespace));
            if !row.fields.as_ref().is_ok_and(blank) {
                return Ok(Some(row));
            }
        }
    }

    /// Parses the row that begins with the line at `from`.
    fn attempt(&mut self, from: usize) -> io::Result<Attempt> {
        self.parser.begin();
        let (mut lines, mut bytes) = (0, 0);
        let fault = loop {
            if !self.fill(from + lines)? {
                break Some(Fault::Unclosed(self.parser.fields.len()));
            }
            let line = &self.ahead[from + lines];
            if line.too_long && lines == 0 {
                lines = 1;
                break Some(Fault::TooLong);
            }
            bytes += line.bytes.len();
            if bytes > LONGEST {
                break Some(Fault::Unclosed(self.parser.fields.len()));
            }
            lines += 1;
            match self.parser.feed(&line.bytes) {
                Fed::Open => {}
                Fed::Broken => break Some(Fault::AfterQuote(self.parser.fields.len())),
                Fed::Complete => break None,
            }
        };
        let mut fields = std::mem::take(&mut self.parser.fields);
        let longest = (0..fields.len()).max_by_key(|field| fields[*field].len()).unwrap_or(0);
        let count = fields.len();
        if self.width > 0 && fault.is_none() {
            // Some programs end every row with a separator too many.
            while fields.len() > self.width && fields.last().is_some_and(Vec::is_empty) {
                fields.pop();
            }
        }
        let miscounted = self.width > 0 && fields.len() != self.width;
        let fault = fault.or(miscounted.then_some(Fault::Count(count)));
        Ok(Attempt { lines, fields, longest, fault })
    }

    /// Finds where a broken row ends: before the first line with which another one seems to begin.
    fn recover(&mut self, lines: usize, fault: Fault) -> io::Result<(usize, Result<Fields, Fault>)> {
        if let Some(fields) = self.without_quotes() {
            return Ok((1, Ok(fields)));
        }
        let most = match fault {
            Fault::AroundRows(..) => 1,
            Fault::Count(_) | Fault::TooLong => lines,
            Fault::AfterQuote(_) | Fault::Unclosed(_) if self.looks_like_a_row(0) => 1,
            Fault::AfterQuote(_) | Fault::Unclosed(_) => ABSORBED,
        };
        let mut bytes = self.ahead[0].bytes.len();
        let mut at = 1;
        while at < most && self.fill(at)? {
            bytes += self.ahead[at].bytes.len();
            if bytes > LONGEST || self.looks_like_a_row(at) || self.attempt(at)?.fault.is_none() {
                break;
            }
            at += 1;
        }
        Ok((at, Err(fault)))
    }

    /// Whether a line has the separators of a row, whatever is quoted in it.
    fn looks_like_a_row(&self, at: usize) -> bool {
        self.ahead[at].bytes.split(|byte| *byte == self.separator).count() >= self.width
    }

    /// The fields of the first line when quotes mean nothing, as in tab-separated files of many programs.
    fn without_quotes(&mut self) -> Option<Fields> {
        let line = self.ahead.front().filter(|line| self.separator == b'\t' && !line.too_long)?;
        self.unquoted.begin();
        let complete = self.unquoted.feed(&line.bytes) == Fed::Complete;
        (complete && self.unquoted.fields.len() == self.width).then(|| std::mem::take(&mut self.unquoted.fields))
    }

    /// Whether a row of several lines is one only because of two stray quotes: every line between its first and its last is a
    /// product by itself.
    fn surrounds_rows(&mut self, lines: usize, is_product: &dyn Fn(Fields) -> bool) -> io::Result<bool> {
        if lines < 4 || self.width == 0 {
            return Ok(false);
        }
        for at in 1..lines - 1 {
            let attempt = self.attempt(at)?;
            if attempt.fault.is_some() || attempt.lines > 1 || !is_product(attempt.fields) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, lines: usize, fields: Result<Fields, Fault>) -> Row {
        let mut row = Row { line: 0, last_line: 0, end: 0, raw: Vec::new(), fields };
        for line in self.ahead.drain(..lines) {
            if row.line == 0 {
                row.line = line.number;
            }
            (row.last_line, row.end) = (line.number, line.end);
            row.raw.extend_from_slice(&line.bytes);
        }
        row.raw.truncate(trimmed(&row.raw).len());
        row
    }

    /// Passes over empty lines; whether there is another one.
    fn skip_blank(&mut self) -> io::Result<bool> {
        while self.fill(0)? {
            let line = &self.ahead[0];
            if line.too_long || !line.bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
            self.ahead.pop_front();
        }
        Ok(false)
    }

    /// Reads lines until there is one at `at`; whether there is.
    fn fill(&mut self, at: usize) -> io::Result<bool> {
        while self.ahead.len() <= at {
            match self.lines.next()? {
                Some(line) => self.ahead.push_back(line),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// What came of parsing a row.
struct Attempt {
    lines: usize,
    fields: Fields,
    /// The longest field.
    longest: usize,
    fault: Option<Fault>,
}

/// The parser of the `csv` crate, one row after the other.
#[derive(Debug)]
struct Parser {
    core: csv_core::Reader,
    separator: u8,
    quoting: bool,
    fields: Fields,
    /// What has been written of the field.
    output: Vec<u8>,
    written: usize,
    /// The field as it stands in the file, with what ends it.
    raw: Vec<u8>,
}

/// What is known of a row after a line.
#[derive(Debug, PartialEq, Eq)]
enum Fed {
    /// It goes on in the next line.
    Open,
    /// It is whole.
    Complete,
    /// The field after the last whole one is quoted and is not only its quoted text.
    Broken,
}

impl Parser {
    fn new(separator: u8, quoting: bool) -> Self {
        let core = csv_core::ReaderBuilder::new().delimiter(separator).quoting(quoting).build();
        Self { core, separator, quoting, fields: Vec::new(), output: vec![0; 1 << 10], written: 0, raw: Vec::new() }
    }

    fn begin(&mut self) {
        self.core.reset();
        self.fields.clear();
        self.raw.clear();
        self.written = 0;
    }

    fn feed(&mut self, line: &[u8]) -> Fed {
        let mut rest = line;
        // The end of the last line is the end of its row.
        let mut missing_end = !line.ends_with(b"\n") && !line.ends_with(b"\r");
        loop {
            if rest.is_empty() {
                if !std::mem::take(&mut missing_end) {
                    return Fed::Open;
                }
                rest = b"\n";
            }
            let (result, read, written) = self.core.read_field(rest, &mut self.output[self.written..]);
            self.raw.extend_from_slice(&rest[..read]);
            self.written += written;
            rest = &rest[read..];
            match result {
                csv_core::ReadFieldResult::InputEmpty => {}
                csv_core::ReadFieldResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                csv_core::ReadFieldResult::Field { record_end } => {
                    if self.quoting && !well_quoted(&self.raw, self.separator) {
                        return Fed::Broken;
                    }
                    self.fields.push(self.output[..std::mem::take(&mut self.written)].to_vec());
                    self.raw.clear();
                    if record_end {
                        return Fed::Complete;
                    }
                }
                // There is always input.
                csv_core::ReadFieldResult::End => return Fed::Open,
            }
        }
    }
}

/// Whether a field that begins with a quote ends with one, and each between them is written twice. The parser takes such
/// fields as they come; here they are the sign of a stray quote.
fn well_quoted(field: &[u8], separator: u8) -> bool {
    let Some(inner) = field.strip_prefix(b"\"") else { return true };
    let Some(close) = inner.iter().rposition(|byte| *byte == b'"') else { return false };
    let (text, after) = (&inner[..close], &inner[close + 1..]);
    let quotes_are_pairs = text.split(|byte| *byte != b'"').all(|quotes| quotes.len() % 2 == 0);
    quotes_are_pairs && after.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ') || *byte == separator)
}

/// The separator that the first line of some spreadsheets says: `sep=;`.
fn declared(line: &[u8]) -> Option<u8> {
    let line = trimmed(line);
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', separator] if separator.is_ascii() => Some(*separator),
        _ => None,
    }
}

/// The separator that makes most fields of a header.
fn likely(header: &[u8]) -> u8 {
    let fields = |separator: u8| {
        let mut parser = Parser::new(separator, true);
        parser.feed(header);
        parser.fields.len()
    };
    // Of equals, the first.
    b",;\t".iter().copied().rev().max_by_key(|separator| fields(*separator)).unwrap_or(b',')
}
