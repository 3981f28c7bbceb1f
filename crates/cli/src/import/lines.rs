//! Lines of a file, read without ever holding more than one of the longest that is allowed. A line ends with a line feed, a
//! carriage return, or both.

use std::io::{self, BufRead as _, BufReader, Read};

/// The longest line, and the longest row of several lines, in bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, counted from 1.
    pub(super) number: u64,
    /// Its bytes with its end; when it is too long, only the beginning.
    pub(super) bytes: Vec<u8>,
    /// Whether it is longer than [`LONGEST`].
    pub(super) too_long: bool,
    /// Where it ends in the file.
    pub(super) end: u64,
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    offset: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(256 << 10, reader), number: 0, offset: 0 }
    }

    /// Whether the next line may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.reader.buffer().is_empty()
    }

    /// Reads the next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Line { number: self.number + 1, bytes: Vec::new(), too_long: false, end: 0 };
        let before = self.offset;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (taken, ended) = match available.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(at) => (at + 1, Some(available[at])),
                None => (available.len(), available.is_empty().then_some(b'\n')),
            };
            line.take(&available[..taken]);
            self.reader.consume(taken);
            self.offset += taken as u64;
            match ended {
                Some(b'\r') => {
                    self.line_feed(&mut line)?;
                    break;
                }
                Some(_) => break,
                None => {}
            }
        }
        if self.offset == before {
            return Ok(None);
        }
        self.number += 1;
        line.end = self.offset;
        Ok(Some(line))
    }

    /// Takes the line feed after a carriage return, if there is one.
    fn line_feed(&mut self, line: &mut Line) -> io::Result<()> {
        loop {
            match self.reader.fill_buf() {
                Ok(available) if available.first() == Some(&b'\n') => break,
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        line.take(b"\n");
        self.reader.consume(1);
        self.offset += 1;
        Ok(())
    }
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        let room = LONGEST.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.too_long |= bytes.len() > room;
    }
}

/// A line without its end.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(text);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn lines_keep_their_ends_and_numbers() {
        let lines = all(b"a\r\n\nb");
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
        assert_eq!(bytes, [b"a\r\n".as_slice(), b"\n", b"b"]);
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(lines.iter().map(|line| line.end).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(trimmed(b"a\r\n"), b"a");
        assert!(all(b"").is_empty());
    }

    #[test]
    fn a_carriage_return_ends_a_line_too() {
        for (text, expected) in [
            (b"a\rb\r\rc".as_slice(), [b"a\r".as_slice(), b"b\r", b"\r", b"c"]),
            (b"a\r\nb\n\rc\r", [b"a\r\n", b"b\n", b"\r", b"c\r"]),
        ] {
            let lines = all(text);
            assert_eq!(lines.iter().map(|line| line.bytes.as_slice()).collect::<Vec<_>>(), expected);
            assert_eq!(lines.last().unwrap().end, text.len() as u64);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_in_bounded_memory() {
        let mut text = vec![b'x'; 3 * LONGEST];
        text.extend_from_slice(b"\nb\n");
        let lines = all(&text);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].too_long && lines[0].bytes.len() == LONGEST && lines[0].bytes.capacity() <= 2 * LONGEST);
        assert_eq!(lines[1].bytes, b"b\n");
        let mut exact = vec![b'x'; LONGEST - 1];
        exact.push(b'\n');
        assert!(!all(&exact)[0].too_long);
    }
}
