//! The credential in a request's headers.

use base64::Engine as _;
use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::config::BASE64;

/// What a request brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented {
    Nothing,
    Token(Zeroizing<Vec<u8>>),
    /// A header that holds no token.
    Malformed,
}

/// Reads the token of a request: `Authorization: Bearer TOKEN` (RFC 6750). A browser asks for a password instead, and sends it by
/// `Basic` (RFC 7617): with `basic`, the password is the token, under any user name.
pub(super) fn presented(headers: &HeaderMap, basic: bool) -> Presented {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else { return Presented::Nothing };
    let parts = value.to_str().ok().filter(|_| more.is_none()).and_then(|value| value.split_once(' '));
    let token = match parts {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim().as_bytes().to_vec()),
        Some((scheme, text)) if basic && scheme.eq_ignore_ascii_case("basic") => password(text.trim()),
        _ => None,
    };
    match token {
        Some(token) if !token.is_empty() => Presented::Token(Zeroizing::new(token)),
        _ => Presented::Malformed,
    }
}

fn password(text: &str) -> Option<Vec<u8>> {
    let decoded = Zeroizing::new(BASE64.decode(text).ok()?);
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str], basic: bool) -> Presented {
        presented(&values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect(), basic)
    }

    #[test]
    fn tokens_are_read_from_one_header() {
        let token = |text: &str| Presented::Token(Zeroizing::new(text.as_bytes().to_vec()));
        assert_eq!(read(&[], true), Presented::Nothing);
        assert_eq!(read(&["Bearer abc"], false), token("abc"));
        assert_eq!(read(&["bearer  abc "], false), token("abc"));
        // user:pass:word
        assert_eq!(read(&["Basic dXNlcjpwYXNzOndvcmQ="], true), token("pass:word"));
        assert_eq!(read(&["Basic dXNlcjpwYXNzOndvcmQ="], false), Presented::Malformed);
        for wrong in ["", "Bearer", "Bearer ", "abc", "Digest abc", "Basic ?", "Basic dXNlcg==", "Basic dXNlcjo="] {
            assert_eq!(read(&[wrong], true), Presented::Malformed, "{wrong}");
        }
        assert_eq!(read(&["Bearer abc", "Bearer abc"], true), Presented::Malformed);
    }
}
