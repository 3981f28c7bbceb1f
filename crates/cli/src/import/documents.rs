//! The products of a file of JSON: JSON Lines, documents of several lines, one after the other, an array, or an object that
//! holds an array under `products`. Only where each product begins and ends is found out here; one is held at a time. A
//! product that is broken is left behind where the next one seems to begin.

use std::io::{self, Read};

use super::{
    input::{Input, Position},
    lines::LONGEST,
};

/// Objects within objects; a product needs three.
const DEEPEST: usize = 64;
/// After so many bytes, and after twice as many, and so on, what has been read is tried, so that a brace that is missing is
/// noticed before the end of the file.
const TRIED: usize = 4 << 10;

/// One value of a file.
#[derive(Debug)]
pub(super) struct Value {
    /// The line where it begins.
    pub(super) line: u64,
    /// Where it begins in this line, in bytes, from 0.
    pub(super) column: u64,
    /// The last line that nothing of what follows begins on.
    pub(super) last_line: u64,
    /// Where it ends in the file, in bytes.
    pub(super) end: u64,
    /// Its bytes; of one that is too long, the first.
    pub(super) raw: Vec<u8>,
    /// Why it is not to be read, if it is not.
    pub(super) fault: Option<String>,
}

/// Reads the values of a file.
#[derive(Debug)]
pub(super) struct Documents<R> {
    input: Input<R>,
    place: Place,
}

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between documents.
    Top,
    /// In an array, which is a document or the one of `{"products": […]}`.
    Array { wrapped: bool },
    /// Behind the array of `{"products": […]}`.
    Tail,
    /// At the end.
    End,
}

impl<R: Read> Documents<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { input: Input::new(reader), place: Place::Top }
    }

    /// Whether the next value may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.input.may_wait()
    }

    /// The last line that has been read to its end.
    pub(super) fn through_line(&self) -> u64 {
        self.input.position().line - 1
    }

    /// Reads the next value; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Value>> {
        loop {
            if self.place == Place::Tail && self.pass_tail()? {
                self.place = Place::Top;
            }
            let byte = self.input.peek_after_blanks()?;
            match (byte, self.place) {
                (None, Place::Top | Place::End) => return Ok(None),
                (None, Place::Array { .. } | Place::Tail) => {
                    self.place = Place::End;
                    let fault = "the file ends before its list of products does: is it whole?";
                    return Ok(Some(self.value(self.input.position(), Vec::new(), Some(fault.to_owned()))));
                }
                (Some(b'['), Place::Top) => {
                    self.input.take();
                    self.place = Place::Array { wrapped: false };
                }
                (Some(b']'), Place::Array { wrapped }) => {
                    self.input.take();
                    self.place = if wrapped { Place::Tail } else { Place::Top };
                }
                (Some(b'{' | b'['), _) => match self.object()? {
                    Some(value) => return Ok(Some(value)),
                    None => self.place = Place::Array { wrapped: true },
                },
                (Some(_), _) => return self.other().map(Some),
            }
        }
    }

    /// Reads an object, or an array within an array; `None` for the beginning of `{"products": [`.
    fn object(&mut self) -> io::Result<Option<Value>> {
        let start = self.input.position();
        let (mut nesting, mut raw, mut try_at) = (Nesting::default(), Vec::new(), TRIED);
        let (mut too_long, mut behind_brace) = (false, start);
        let fault = loop {
            let Some(byte) = self.input.peek()? else { break "the file ends within the product".to_owned() };
            if let Err(fault) = nesting.feed(byte) {
                break format!("line {}: {fault}", self.input.position().line);
            }
            self.input.take();
            if raw.is_empty() {
                behind_brace = self.input.position();
            }
            if raw.len() < LONGEST {
                raw.push(byte);
            } else if !std::mem::replace(&mut too_long, true) && broken(&raw) {
                break "not JSON".to_owned();
            }
            if nesting.depth() == 0 {
                let fault = too_long.then(|| format!("the product is longer than {LONGEST} bytes"));
                self.input.pass_blank_rest();
                return Ok(Some(self.value(start, raw, fault)));
            }
            if byte == b'[' && nesting.depth() == 2 && self.place == Place::Top && wraps(&raw) {
                return Ok(None);
            }
            if raw.len() == try_at {
                try_at *= 2;
                if broken(&raw) {
                    break "not JSON".to_owned();
                }
            }
        };
        if !too_long && !raw.is_empty() {
            self.input.put_back(behind_brace, &raw[1..]);
            raw.truncate(1);
        }
        self.resync(start, &mut raw)?;
        Ok(Some(self.value(start, raw, Some(fault))))
    }

    /// Passes over what is left of a broken product, to where the next one seems to begin: in an array, behind `},`; else, and
    /// there too, on a line that is indented no deeper than the one where the product began.
    fn resync(&mut self, start: Position, raw: &mut Vec<u8>) -> io::Result<()> {
        let in_array = matches!(self.place, Place::Array { .. });
        let (mut indent, mut before, mut last) = (None, 0, b'{');
        while let Some(byte) = self.input.peek()? {
            match byte {
                b'\n' | b'\r' => indent = Some(0),
                b' ' | b'\t' => indent = indent.map(|indent| indent + 1),
                _ => {
                    let outdented = matches!((indent, start.indent), (Some(here), Some(there)) if here <= there);
                    let ends_array = matches!((indent, start.indent), (Some(here), Some(there)) if here < there.max(1));
                    let begins = match byte {
                        b'{' => outdented || last == b'}' || (in_array && before == b'}' && last == b','),
                        b'[' => outdented && !in_array,
                        b']' => in_array && (last == b'}' || ends_array),
                        b'}' => false,
                        _ => outdented && !in_array && start.indent == Some(0),
                    };
                    if begins {
                        return Ok(());
                    }
                    (indent, before, last) = (None, last, byte);
                }
            }
            self.input.take();
            if raw.len() < LONGEST {
                raw.push(byte);
            }
        }
        Ok(())
    }

    /// Reads what is no object: the rest of its line, or in an array up to the next comma.
    fn other(&mut self) -> io::Result<Value> {
        let start = self.input.position();
        let in_array = matches!(self.place, Place::Array { .. });
        let mut raw = Vec::new();
        while let Some(byte) = self.input.peek()? {
            if matches!(byte, b'\n' | b'\r') || (in_array && matches!(byte, b',' | b']') && !raw.is_empty()) {
                break;
            }
            self.input.take();
            if raw.len() < LONGEST {
                raw.push(byte);
            }
        }
        self.input.pass_blank_rest();
        let fault = "not a product, which is a JSON object in braces".to_owned();
        Ok(self.value(start, raw, Some(fault)))
    }

    /// Passes over the rest of `{"products": […], …}`; whether it ends.
    fn pass_tail(&mut self) -> io::Result<bool> {
        let mut nesting = Nesting::inside();
        while let Some(byte) = self.input.peek()? {
            if nesting.feed(byte).is_err() {
                // Nothing in it is a product; what follows is read as documents are.
                return Ok(true);
            }
            self.input.take();
            if nesting.depth() == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn value(&self, start: Position, mut raw: Vec<u8>, fault: Option<String>) -> Value {
        raw.truncate(raw.trim_ascii_end().len());
        let end = self.input.position();
        Value { line: start.line, column: start.column, last_line: end.line - 1, end: end.offset, raw, fault }
    }
}

/// Which braces, brackets and texts are open.
#[derive(Debug, Default)]
struct Nesting {
    closing: Vec<u8>,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    /// Within an object.
    fn inside() -> Self {
        Self { closing: vec![b'}'], ..Self::default() }
    }

    fn depth(&self) -> usize {
        self.closing.len()
    }

    fn feed(&mut self, byte: u8) -> Result<(), String> {
        if self.in_text {
            match byte {
                b'\n' | b'\r' => return Err("a text is not closed on its line".to_owned()),
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' if self.closing.len() == DEEPEST => return Err("nested too deep".to_owned()),
            b'{' => self.closing.push(b'}'),
            b'[' => self.closing.push(b']'),
            b'}' | b']' => match self.closing.pop() {
                Some(expected) if expected == byte => {}
                expected => {
                    let expected = char::from(expected.unwrap_or(b'{'));
                    return Err(format!("{} where {expected} should be", char::from(byte)));
                }
            },
            _ => {}
        }
        Ok(())
    }
}

/// Whether this cannot be the beginning of JSON.
fn broken(raw: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(raw).is_err_and(|error| !error.is_eof())
}

/// Whether this is the beginning of an object that holds products.
fn wraps(raw: &[u8]) -> bool {
    raw.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"{\"products\":[")
}
