//! Lines of a file, read without ever holding more than one of the longest that is allowed.

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
            let (taken, ended) = match available.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), available.is_empty()),
            };
            let room = LONGEST.saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&available[..taken.min(room)]);
            line.too_long |= taken > room;
            self.reader.consume(taken);
            self.offset += taken as u64;
            if ended {
                break;
            }
        }
        if self.offset == before {
            return Ok(None);
        }
        self.number += 1;
        line.end = self.offset;
        if line.number == 1 && line.bytes.starts_with(b"\xEF\xBB\xBF") {
            // A byte order mark, as some spreadsheets write it.
            line.bytes.drain(..3);
        }
        Ok(Some(line))
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
        let lines = all(b"\xEF\xBB\xBFa\r\n\nb");
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
        assert_eq!(bytes, [b"a\r\n".as_slice(), b"\n", b"b"]);
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(lines.iter().map(|line| line.end).collect::<Vec<_>>(), [6, 7, 8]);
        assert_eq!(trimmed(b"a\r\n"), b"a");
        assert!(all(b"").is_empty());
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
