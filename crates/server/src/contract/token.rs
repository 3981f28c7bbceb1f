//! Tokens: opaque text that names a commit, and the sealing that page tokens share.
//!
//! A sealed text is unpadded URL-safe base64 of a version byte, the content, and 8 bytes of XXH3 over both, so that a token
//! that was cut, altered or made up is told from a real one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use larder_cache::{Incarnation, Token};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const COMMIT: u8 = 1;
const COMMIT_LEN: usize = 16;
const STAMP_LEN: usize = 24;

/// Writes a token.
pub fn encode_token(token: Token) -> String {
    let mut content = Vec::with_capacity(COMMIT_LEN);
    content.extend_from_slice(&token.incarnation.0.to_be_bytes());
    content.extend_from_slice(&token.id.to_be_bytes());
    seal(COMMIT, &content)
}

/// Reads a token; `None` when it is none.
pub fn decode_token(text: &str) -> Option<Token> {
    parse(&unseal(COMMIT, text)?).map(|(token, _)| token)
}

/// The token of a write, with what a stream of changes needs that starts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Names the commit.
    pub token: Token,
    /// Every change of a lower id was finished when the write was made.
    pub horizon: u64,
}

/// Writes the token of a write.
pub fn encode_stamp(Stamp { token, horizon }: Stamp) -> String {
    let mut content = Vec::with_capacity(STAMP_LEN);
    for number in [token.incarnation.0, token.id, horizon] {
        content.extend_from_slice(&number.to_be_bytes());
    }
    seal(COMMIT, &content)
}

/// Reads the token of a write; `None` when it is none.
pub(super) fn decode_stamp(text: &str) -> Option<Stamp> {
    let (token, horizon) = parse(&unseal(COMMIT, text)?)?;
    Some(Stamp { token, horizon: horizon? })
}

/// The commit, and the horizon if there is one.
fn parse(content: &[u8]) -> Option<(Token, Option<u64>)> {
    let (numbers, []) = content.as_chunks::<8>() else { return None };
    let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
    let token = Token { incarnation: Incarnation(numbers.next()?), id: numbers.next()? };
    let horizon = numbers.next();
    numbers.next().is_none().then_some((token, horizon))
}

/// Makes a text of some bytes. `kind` tells what they are, and their version.
pub(super) fn seal(kind: u8, content: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(content.len() + 9);
    bytes.push(kind);
    bytes.extend_from_slice(content);
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Takes the bytes out of such a text; `None` when it is none of that kind.
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
        let token = Token { incarnation: Incarnation(0x0123_4567_89ab_cdef), id: 42 };
        let text = encode_token(token);
        assert_eq!(decode_token(&text), Some(token));
        for at in 0..text.len() {
            for other in ["A", "B", "_", "9"] {
                let mut altered = text.clone();
                altered.replace_range(at..=at, other);
                assert!(altered == text || decode_token(&altered).is_none(), "{altered}");
            }
        }
        for foreign in ["", "x", "not a token", &text[1..], &text[..text.len() - 1], &seal(2, &[0; 16])] {
            assert_eq!(decode_token(foreign), None, "{foreign}");
        }
    }
}
