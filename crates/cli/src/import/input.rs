//! Bytes of a file one after the other, with their places.

use std::io::{self, BufRead as _, BufReader, Read};

/// Reads bytes.
#[derive(Debug)]
pub(super) struct Input<R> {
    reader: BufReader<R>,
    /// Bytes that were put back, the next one last.
    again: Vec<u8>,
    position: Position,
}

/// A place in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// The number of the line, from 1.
    pub(super) line: u64,
    /// The place in the line, in bytes, from 0.
    pub(super) column: u64,
    /// The place in the file, in bytes.
    pub(super) offset: u64,
    /// How far the line is indented, if nothing but blanks stands before this place.
    pub(super) indent: Option<u64>,
    after_return: bool,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(256 << 10, reader);
        let position = Position { line: 1, column: 0, offset: 0, indent: Some(0), after_return: false };
        Self { reader, again: Vec::new(), position }
    }

    /// Whether the next byte may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.buffered().is_none()
    }

    /// Where the next byte is.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The next byte; `None` at the end of the file.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        if let Some(byte) = self.again.last() {
            return Ok(Some(*byte));
        }
        loop {
            match self.reader.fill_buf() {
                Ok(available) => return Ok(available.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the byte that was peeked at.
    pub(super) fn take(&mut self) {
        let Some(byte) = self.buffered() else { return };
        if self.again.pop().is_none() {
            self.reader.consume(1);
        }
        let at = &mut self.position;
        at.offset += 1;
        match byte {
            b'\n' | b'\r' => {
                at.line += u64::from(byte == b'\r' || !at.after_return);
                (at.column, at.indent) = (0, Some(0));
            }
            _ => {
                at.column += 1;
                at.indent = at.indent.filter(|_| matches!(byte, b' ' | b'\t')).map(|indent| indent + 1);
            }
        }
        at.after_return = byte == b'\r';
    }

    /// Puts back what was taken since `position`.
    pub(super) fn put_back(&mut self, position: Position, bytes: &[u8]) {
        self.again.extend(bytes.iter().rev());
        self.position = position;
    }

    /// Passes over blanks and commas to the next byte.
    pub(super) fn peek_after_blanks(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !is_blank(byte) {
                return Ok(Some(byte));
            }
            self.take();
        }
        Ok(None)
    }

    /// Passes over blanks and commas to the end of the line, as far as this is possible without waiting.
    pub(super) fn pass_blank_rest(&mut self) {
        let line = self.position.line;
        while self.buffered().is_some_and(is_blank) && self.position.line == line {
            self.take();
        }
    }

    fn buffered(&self) -> Option<u8> {
        self.again.last().or_else(|| self.reader.buffer().first()).copied()
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b',' || byte.is_ascii_whitespace()
}
