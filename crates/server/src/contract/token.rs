//! Tokens: opaque text that names a commit, and the sealing that page tokens share.
//!
//! A sealed text is unpadded URL-safe base64 of a version byte, the content, and 8 bytes of XXH3 over both, so that a token
//! that was cut, altered or made up is told from a real one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use larder_change::{Incarnation, Token};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(super) const COMMIT: u8 = 2;
/// The version of releases whose tokens had no salt. Such tokens are valid in the life of the database that made them.
pub(super) const UNSALTED: u8 = 1;

/// Writes a token.
pub fn encode_token(token: Token) -> String {
    seal(COMMIT, &numbers(&[token.incarnation.0, token.id, token.salt]))
}

/// Reads a token; `None` when the text is no token.
pub fn decode_token(text: &str) -> Option<Token> {
    parse(text).map(|(token, _)| token)
}

/// The token of a write. A stream of changes can start from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Names the commit.
    pub token: Token,
    /// Every change with a lower id was finished before the write.
    pub horizon: u64,
}

/// Writes the token of a write.
pub fn encode_stamp(Stamp { token, horizon }: Stamp) -> String {
    seal(COMMIT, &numbers(&[token.incarnation.0, token.id, token.salt, horizon]))
}

/// Reads the token of a write; `None` when the text is none.
pub(super) fn decode_stamp(text: &str) -> Option<Stamp> {
    let (token, horizon) = parse(text)?;
    Some(Stamp { token, horizon: horizon? })
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The commit, and the horizon if there is one.
fn parse(text: &str) -> Option<(Token, Option<u64>)> {
    let salted = unseal(COMMIT, text);
    let content = salted.clone().or_else(|| unseal(UNSALTED, text))?;
    let (numbers, []) = content.as_chunks::<8>() else { return None };
    let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
    let (incarnation, id) = (Incarnation(numbers.next()?), numbers.next()?);
    let salt = if salted.is_some() { numbers.next()? } else { 0 };
    let horizon = numbers.next();
    numbers.next().is_none().then_some((Token { incarnation, id, salt }, horizon))
}

/// Seals some bytes as text. `kind` names their meaning and version.
pub(super) fn seal(kind: u8, content: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(content.len() + 9);
    bytes.push(kind);
    bytes.extend_from_slice(content);
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Opens a sealed text; `None` when it is not of that kind.
pub(super) fn unseal(kind: u8, text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let end = bytes.len().checked_sub(8)?;
    let (content, sum) = bytes.split_at(end);
    if content.first() != Some(&kind) || checksum(content) != *sum {
        return None;
    }
    bytes.truncate(end);
    bytes.remove(0);
    Some(bytes)
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    xxh3_64_with_seed(bytes, 0x6c61_7264_6572).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_no_altered_one_does() {
        let token = Token { incarnation: Incarnation(0x0123_4567_89ab_cdef), id: 42, salt: 0xfedc_ba98_7654_3210 };
        let text = encode_token(token);
        assert_eq!(decode_token(&text), Some(token));
        for at in 0..text.len() {
            for other in ["A", "B", "_", "9"] {
                let mut altered = text.clone();
                altered.replace_range(at..=at, other);
                assert!(altered == text || decode_token(&altered).is_none(), "{altered}");
            }
        }
        for foreign in ["", "x", "not a token", &text[1..], &text[..text.len() - 1], &seal(3, &[0; 24])] {
            assert_eq!(decode_token(foreign), None, "{foreign}");
        }
        let before = seal(UNSALTED, &numbers(&[1, 2]));
        assert_eq!(decode_token(&before), Some(Token { incarnation: Incarnation(1), id: 2, salt: 0 }));
    }
}
