//! The writes of a session, which its reads must show.

use larder_cache::{Freshness, Token};
use larder_proto::serving::ReadOptions;

use super::{Read, Violations, decode_token};

/// Tokens that one read waits for. A session has more only if it has made more writes than this at once; then the read shows
/// every acknowledged write, which includes those of the session.
const MAX_TOKENS: usize = 32;

/// The commits that a read must show because its session made them. Usually there is one. Writes that overlap leave several,
/// because neither token covers the commit of the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    tokens: Vec<Token>,
    fully_consistent: bool,
}

impl Session {
    /// How fresh a read of the session must be.
    pub fn freshen(&self, read: Read) -> Read {
        let freshness = match self.tokens.last() {
            _ if self.fully_consistent => Freshness::FullyConsistent,
            Some(&token) => Freshness::AtLeast(token),
            None => read.freshness,
        };
        Read { freshness, ..read }
    }

    /// The commits that the read must show besides the one that [`Self::freshen`] demands.
    pub fn others(&self) -> &[Token] {
        self.tokens.split_last().map_or(&[], |(_, others)| others)
    }
}

/// Parses the tokens that `values` of the header `field` list, separated by commas. A read that chooses a consistency of its own
/// belongs to no session.
pub fn parse_session<'a>(
    field: &str,
    values: impl Iterator<Item = &'a [u8]>,
    read: Option<&ReadOptions>,
) -> Result<Session, Violations> {
    let mut session = Session::default();
    if read.is_some_and(|read| read.consistency.is_some()) {
        return Ok(session);
    }
    for text in values.flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii) {
        let token = std::str::from_utf8(text).ok().and_then(decode_token);
        let token = token.ok_or_else(|| Violations::one(field, "must list tokens of this service"))?;
        if !session.tokens.contains(&token) {
            session.tokens.push(token);
        }
        if session.tokens.len() > MAX_TOKENS {
            return Ok(Session { tokens: Vec::new(), fully_consistent: true });
        }
    }
    Ok(session)
}

#[cfg(test)]
mod tests {
    use larder_cache::Incarnation;
    use larder_proto::serving::read_options::Consistency;

    use super::*;
    use crate::contract::encode_token;

    fn token(id: u64) -> Token {
        Token { incarnation: Incarnation(7), id, salt: 1 }
    }

    fn parse(values: &[String], read: Option<&ReadOptions>) -> Result<Session, Violations> {
        parse_session("x", values.iter().map(String::as_bytes), read)
    }

    #[test]
    fn a_session_is_as_fresh_as_each_of_its_tokens() {
        let text = |id| encode_token(token(id));
        let session = parse(&[format!("{}, {}", text(1), text(2)), text(3), text(1)], None).expect("tokens");
        assert_eq!(session.freshen(Read::default()).freshness, Freshness::AtLeast(token(3)));
        assert_eq!(session.others(), [token(1), token(2)]);

        let none = parse(&[], None).expect("no token");
        assert_eq!((none.freshen(Read::default()), none.others()), (Read::default(), [].as_slice()));
        for wrong in ["", "x", &format!("{},", text(1))] {
            assert!(parse(&[wrong.to_owned()], None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_session_of_too_many_tokens_reads_everything() {
        let texts: Vec<_> = (0..=MAX_TOKENS as u64).map(|id| encode_token(token(id))).collect();
        let freshness = |session: &Session| session.freshen(Read::default()).freshness;
        let session = parse(&texts[1..], None).expect("tokens");
        assert_eq!((freshness(&session), session.others().len()), (Freshness::AtLeast(token(32)), MAX_TOKENS - 1));
        let session = parse(&texts, None).expect("tokens");
        assert_eq!((freshness(&session), session.others()), (Freshness::FullyConsistent, [].as_slice()));
    }

    #[test]
    fn a_read_that_chooses_for_itself_is_left_alone() {
        let own = ReadOptions { consistency: Some(Consistency::MinimizeLatency(true)), ..Default::default() };
        assert_eq!(parse(&["nothing".to_owned()], Some(&own)).ok(), Some(Session::default()));
        let other = ReadOptions { cache_only: true, ..Default::default() };
        assert_eq!(parse(&[encode_token(token(1))], Some(&other)).expect("a token").others(), []);
    }
}
