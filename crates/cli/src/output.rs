//! The output of commands.

use std::{
    borrow::Cow,
    io::{self, BufWriter, Write},
};

use super::CliError;

/// Standard output. When its reader has gone, writing gives [`CliError::BrokenPipe`] instead of a panic.
pub(crate) struct Output {
    out: BufWriter<Box<dyn Write>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        // What tests print is nobody's business; it would bury their results.
        let out: Box<dyn Write> = if cfg!(test) { Box::new(io::sink()) } else { Box::new(io::stdout().lock()) };
        Self { out: BufWriter::with_capacity(64 << 10, out) }
    }

    /// Writes a text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Writes a text and ends the line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.text(text)?;
        self.text("\n")
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(|error| failed(&error))
    }

    /// Flushes the text written so far.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> CliError {
    CliError::io("cannot write to standard output", error)
}

/// Prints a line to standard error, and ignores a failure, which nobody could be told.
pub(crate) fn note(text: &str) {
    if !cfg!(test) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// A text without control characters, so that no text of the catalogue moves the cursor or changes the colours of a terminal.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let unsafe_character = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(unsafe_character) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if unsafe_character(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn terminals_are_not_commanded() {
        assert_eq!(plain("Tea, 茶"), "Tea, 茶");
        assert_eq!(plain("a\u{1b}[31mb\r\n\u{9b}"), "a\\u{1b}[31mb\\r\\n\\u{9b}");
        assert_eq!(plain("\u{202e}evil"), "\\u{202e}evil");
    }
}
