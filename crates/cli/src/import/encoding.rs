//! What a file begins with: a byte order mark is passed over, and what is no UTF-8 text is refused with a way to make it so.

use std::io::{self, Chain, Cursor, Read};

use super::super::{CliError, error::Exit};

/// The longest of the beginnings that are known.
const LONGEST: usize = 4;

/// A file from its beginning.
pub(super) type Text<R> = Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes of a file.
pub(super) fn text<R: Read>(mut reader: R) -> Result<Text<R>, CliError> {
    let mut first = Vec::new();
    reader
        .by_ref()
        .take(LONGEST as u64)
        .read_to_end(&mut first)
        .map_err(|error| CliError::io("cannot read the file", &error))?;
    if let Some((what, hint)) = foreign(&first) {
        return Err(CliError::new(Exit::Data, format!("the file is {what}, not UTF-8 text")).hint(hint));
    }
    if first.starts_with(b"\xEF\xBB\xBF") {
        first.drain(..3);
    }
    Ok(Cursor::new(first).chain(reader))
}

/// The first byte of a text that is not blank, among the first few.
pub(super) fn first_byte<R: Read>(text: Text<R>) -> io::Result<(Option<u8>, Text<R>)> {
    let (mut first, mut reader) = text.into_inner();
    let mut seen = Vec::new();
    first.read_to_end(&mut seen)?;
    let mut byte = [0];
    while seen.trim_ascii().is_empty() && reader.read(&mut byte)? == 1 {
        seen.push(byte[0]);
    }
    Ok((seen.trim_ascii_start().first().copied(), Cursor::new(seen).chain(reader)))
}

/// What a file is that begins so, if it is no text, and what to do.
fn foreign(first: &[u8]) -> Option<(&'static str, &'static str)> {
    const UTF_16: (&str, &str) =
        ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE > utf-8.csv (a spreadsheet saves it as \"CSV UTF-8\")");
    match first {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [1..=255, 0, 1..=255, 0] | [0, 1..=255, 0, 1..=255] => Some(UTF_16),
        [0x1F, 0x8B, ..] => {
            Some(("compressed by gzip", "unpack it: gunzip -c FILE | larder import - --format csv (or json)"))
        }
        [0x28, 0xB5, 0x2F, 0xFD] => {
            Some(("compressed by zstd", "unpack it: zstd -dc FILE | larder import - --format csv (or json)"))
        }
        [b'P', b'K', 3, 4] => Some(("a ZIP archive or an Excel workbook", "unpack it, or save it as \"CSV UTF-8\"")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        match text(bytes) {
            Ok(mut text) => {
                let mut all = Vec::new();
                text.read_to_end(&mut all).unwrap();
                Ok(all)
            }
            Err(CliError::Failed(failure)) => Err(failure.message),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for text in ["", "i", "id", "id,name\n", "\u{feff}", "\u{feff}id,name", "äöü"] {
            assert_eq!(read(text.as_bytes()).unwrap(), text.trim_start_matches('\u{feff}').as_bytes());
        }
        let wide = |bytes: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for utf_16 in [
            wide(u16::to_le_bytes, "\u{feff}id,name"),
            wide(u16::to_be_bytes, "\u{feff}id,name"),
            wide(u16::to_le_bytes, "id,name"),
            wide(u16::to_be_bytes, "id,name"),
        ] {
            assert_eq!(read(&utf_16).unwrap_err(), "the file is UTF-16, not UTF-8 text");
        }
        assert!(read(b"\x1f\x8b\x08\0").unwrap_err().contains("gzip"));
        assert!(read(b"PK\x03\x04").unwrap_err().contains("Excel"));
    }

    #[test]
    fn the_first_byte_is_only_looked_at() {
        for (bytes, first) in [(" \n\t\n  {x}", Some(b'{')), ("id,name", Some(b'i')), ("  ", None), ("", None)] {
            let (byte, mut rest) = first_byte(text(bytes.as_bytes()).unwrap()).unwrap();
            let mut all = String::new();
            rest.read_to_string(&mut all).unwrap();
            assert_eq!((byte, all.as_str()), (first, bytes));
        }
    }
}
