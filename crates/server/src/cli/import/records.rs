//! The products of a file, one after the other, and what is no product.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use larder_proto::catalog::Product;

use super::{
    super::{
        CliError,
        csv::{self, Header, Quotes},
        error::Exit,
    },
    lines::{LONGEST, Line, Lines, trimmed},
};
use crate::json::from_json;

/// How a file holds products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// JSON Lines: Protobuf's JSON mapping of Product, one object a line.
    Jsonl,
    /// CSV with a header.
    Csv,
}

/// One product of a file, or what stands in its place.
#[derive(Debug)]
pub(super) struct Record {
    /// The line where it begins.
    pub(super) line: u64,
    /// The line where it ends.
    pub(super) last_line: u64,
    /// Where it ends in the file, in bytes.
    pub(super) end: u64,
    /// Its bytes.
    pub(super) raw: Vec<u8>,
    /// The product, or why it is none.
    pub(super) product: Result<Product, String>,
}

/// Reads the records of a file.
#[derive(Debug)]
pub(super) struct Records<R> {
    lines: Lines<R>,
    /// Lines that were read to look for a quote that closes, and are rows of their own after all.
    ahead: VecDeque<Line>,
    format: Format,
    header: Option<Header>,
    from_line: u64,
    skipped: u64,
}

impl<R: Read> Records<R> {
    /// Begins to read; the header of a CSV file is read at once. Records that begin before `from_line` are skipped.
    pub(super) fn open(reader: R, format: Format, from_line: u64) -> Result<Self, CliError> {
        let mut records =
            Self { lines: Lines::new(reader), ahead: VecDeque::new(), format, header: None, from_line, skipped: 0 };
        if format == Format::Csv {
            records.header = Some(records.read_header()?);
        }
        Ok(records)
    }

    /// Records before the first line that was asked for.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the next record may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.ahead.is_empty() && self.lines.may_wait()
    }

    /// Reads the next record; `None` at the end of the file. Empty lines are none.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let Some(row) = self.row()? else { return Ok(None) };
            let text = trimmed(&row.bytes);
            if text.iter().all(u8::is_ascii_whitespace) && !row.too_long {
                continue;
            }
            if row.line < self.from_line {
                self.skipped += 1;
                continue;
            }
            let product = match (row.broken, row.too_long, str::from_utf8(text)) {
                (Some(reason), ..) => Err(reason.to_owned()),
                (None, true, _) => Err(format!("the line is longer than {LONGEST} bytes")),
                (None, false, Err(error)) => Err(format!("not UTF-8 text, from byte {} on", error.valid_up_to() + 1)),
                (None, false, Ok(text)) => match &self.header {
                    None => from_json(text),
                    Some(header) => csv::split(text).and_then(|fields| header.product(fields)),
                },
            };
            let raw = text.to_vec();
            return Ok(Some(Record { line: row.line, last_line: row.last_line, end: row.end, raw, product }));
        }
    }

    fn read_header(&mut self) -> Result<Header, CliError> {
        let refused = |reason: String| {
            CliError::new(Exit::Data, format!("line 1: {reason}"))
                .hint(format!("the first line names the columns, of these: {}", csv::COLUMNS.join(",")))
        };
        let row = self.row().map_err(|error| CliError::io("cannot read the header", &error))?;
        let row = row.ok_or_else(|| refused("there is no header".to_owned()))?;
        let text = str::from_utf8(trimmed(&row.bytes)).map_err(|_| refused("not UTF-8 text".to_owned()))?;
        if row.too_long || row.broken.is_some() {
            return Err(refused("not a header".to_owned()));
        }
        csv::split(text).and_then(|fields| Header::read(&fields)).map_err(refused)
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        match self.ahead.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next(),
        }
    }

    /// Reads the next row: one line of JSON Lines; of CSV as many as there are until every quote is closed.
    fn row(&mut self) -> io::Result<Option<Row>> {
        let Some(first) = self.line()? else { return Ok(None) };
        let mut quotes = Quotes::default();
        quotes.feed(&first.bytes);
        if self.format == Format::Jsonl || !quotes.open() || first.too_long {
            return Ok(Some(Row::of(first)));
        }
        // A quote is open. It is closed within the longest row, or what follows are rows of their own.
        let mut more: VecDeque<Line> = VecDeque::new();
        let mut length = first.bytes.len();
        while quotes.open() {
            let next = match self.line() {
                Ok(next) => next,
                Err(error) => {
                    self.put_back(more);
                    return Err(error);
                }
            };
            let ended = next.is_none();
            if let Some(line) = next {
                quotes.feed(&line.bytes);
                length += line.bytes.len();
                more.push_back(line);
            }
            if ended || length > LONGEST {
                self.put_back(more);
                return Ok(Some(Row { broken: Some("a quote is opened and not closed"), ..Row::of(first) }));
            }
        }
        let mut row = Row::of(first);
        for line in more {
            row.bytes.extend_from_slice(&line.bytes);
            row.last_line = line.number;
            row.end = line.end;
        }
        Ok(Some(row))
    }

    fn put_back(&mut self, mut lines: VecDeque<Line>) {
        lines.append(&mut self.ahead);
        self.ahead = lines;
    }
}

struct Row {
    line: u64,
    last_line: u64,
    end: u64,
    bytes: Vec<u8>,
    too_long: bool,
    broken: Option<&'static str>,
}

impl Row {
    fn of(line: Line) -> Self {
        Self {
            line: line.number,
            last_line: line.number,
            end: line.end,
            bytes: line.bytes,
            too_long: line.too_long,
            broken: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], format: Format, from_line: u64) -> Vec<(u64, u64, Result<String, String>)> {
        let mut records = Records::open(text, format, from_line).unwrap();
        std::iter::from_fn(|| records.next().unwrap())
            .map(|record| (record.line, record.last_line, record.product.map(|product| product.id)))
            .collect()
    }

    fn header_error(text: &[u8]) -> String {
        match Records::open(text, Format::Csv, 1) {
            Err(CliError::Failed(failure)) => failure.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_product_does_not_end_the_file() {
        let mut text = b"{\"id\":\"a\"}\n\n{\"id\":\nnonsense\n{\"id\":\"\xFF\"}\n".to_vec();
        text.extend_from_slice(&vec![b' '; LONGEST + 1]);
        text.extend_from_slice(b"\r\n {\"id\":\"b\"} ");
        let read = read(&text, Format::Jsonl, 1);
        assert_eq!(read.iter().map(|record| record.0).collect::<Vec<_>>(), [1, 3, 4, 5, 6, 7]);
        assert_eq!(read[0].2, Ok("a".to_owned()));
        assert!(read[1].2.as_ref().unwrap_err().contains("EOF"));
        assert!(read[3].2.as_ref().unwrap_err().starts_with("not UTF-8 text"));
        assert!(read[4].2.as_ref().unwrap_err().contains("longer than"));
        assert_eq!(read[5].2, Ok("b".to_owned()));
    }

    #[test]
    fn rows_may_have_several_lines() {
        let text = b"id,name,description\r\na,A,\"1\r\n2,\"\"3\"\"\n\"\r\nb,B,x\r\nc,C\r\n";
        let read = read(text, Format::Csv, 1);
        assert_eq!(read[0], (2, 4, Ok("a".to_owned())));
        assert_eq!(read[1], (5, 5, Ok("b".to_owned())));
        assert_eq!(read[2].2.as_ref().unwrap_err(), "the row has 2 fields, the header has 3");
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_one_line() {
        let mut text = b"id,name\na,\"A\n".to_vec();
        for number in 0..200_000 {
            text.extend_from_slice(format!("p{number},P\n").as_bytes());
        }
        let read = read(&text, Format::Csv, 1);
        assert_eq!(read.len(), 200_001);
        assert_eq!(read[0], (2, 2, Err("a quote is opened and not closed".to_owned())));
        assert!(read[1..].iter().all(|record| record.2.is_ok()));
        assert_eq!(read[1].0, 3);
    }

    #[test]
    fn records_before_a_line_are_skipped() {
        let text = b"id,name\na,\"A\nA\"\nb,B\nc,C\n";
        let mut records = Records::open(text.as_slice(), Format::Csv, 4).unwrap();
        assert_eq!(records.next().unwrap().unwrap().line, 4);
        assert_eq!(records.skipped(), 1);
    }

    #[test]
    fn a_bad_header_is_an_error() {
        assert_eq!(header_error(b""), "line 1: there is no header");
        assert_eq!(header_error(b"id,name,colour\n"), "line 1: unknown columns: \"colour\"");
        assert_eq!(header_error(b"{\"id\":1}\n"), "line 1: unknown columns: \"{\\\"id\\\":1}\"");
        assert_eq!(header_error(b"id,\"name\n"), "line 1: not a header");
    }
}
