//! The encoding of messages between replicas, besides changes.
//!
//! Little-endian: 1 byte format version, 8 sender, 8 age of the sender in microseconds, 1 kind. A join and a heartbeat continue
//! with the name and the program version of the sender, each as 2 length and text. A leave ends here. A question continues with 8
//! number, 4 time limit in milliseconds, 1 kind of query, and then 8 incarnation, 8 id and 8 salt of a commit, or the question of
//! the server. An answer continues with 8 number of the question, 1 whether there is an answer, and the answer.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use larder_change::{Incarnation, Token};

use super::membership::Introduction;

const FORMAT: u8 = 1;
const JOIN: u8 = 1;
const HEARTBEAT: u8 = 2;
const LEAVE: u8 = 3;
const QUESTION: u8 = 4;
const ANSWER: u8 = 5;
/// 1 was the query for a commit without a salt.
const OF_COMMIT: u8 = 3;
const OF_SERVER: u8 = 2;

/// The largest question and the largest answer, in bytes.
pub(super) const MOST_BYTES: usize = 256 << 10;

/// A message and its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) sender: u64,
    /// How long ago the sender started, by its own clock.
    pub(super) age: Duration,
    pub(super) message: PeerMessage,
}

/// A message to other replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PeerMessage {
    /// The sender listens from now on, and wants to know which replicas do.
    Join(Introduction),
    /// The sender is still there.
    Heartbeat(Introduction),
    /// The sender ends.
    Leave,
    /// The sender wants an answer.
    Question {
        number: u64,
        /// How long the sender waits.
        at_most: Duration,
        query: Query,
    },
    /// The sender answers.
    Answer {
        number: u64,
        /// `None` if the sender has no answer and will have none.
        answer: Option<Bytes>,
    },
}

/// What a question asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Query {
    /// An answer as soon as a commit is applied.
    Applied(Token),
    /// An answer of the server. The cache does not interpret the question.
    Server(Bytes),
}

/// The bytes cannot be decoded: a later release or another program sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown;

impl Envelope {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_u8(FORMAT);
        out.put_u64_le(self.sender);
        out.put_u64_le(u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX));
        match &self.message {
            PeerMessage::Join(introduction) => put_introduction(&mut out, JOIN, introduction),
            PeerMessage::Heartbeat(introduction) => put_introduction(&mut out, HEARTBEAT, introduction),
            PeerMessage::Leave => out.put_u8(LEAVE),
            PeerMessage::Question { number, at_most, query } => {
                out.put_u8(QUESTION);
                out.put_u64_le(*number);
                out.put_u32_le(u32::try_from(at_most.as_millis()).unwrap_or(u32::MAX));
                put_query(&mut out, query);
            }
            PeerMessage::Answer { number, answer } => {
                out.put_u8(ANSWER);
                out.put_u64_le(*number);
                out.put_u8(u8::from(answer.is_some()));
                out.put_slice(answer.as_deref().unwrap_or_default());
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unknown> {
        let mut rest = bytes;
        let bytes = &mut rest;
        if u8(bytes)? != FORMAT {
            return Err(Unknown);
        }
        let sender = u64(bytes)?;
        let age = Duration::from_micros(u64(bytes)?);
        let message = match u8(bytes)? {
            JOIN => PeerMessage::Join(introduction(bytes)?),
            HEARTBEAT => PeerMessage::Heartbeat(introduction(bytes)?),
            LEAVE => PeerMessage::Leave,
            QUESTION => PeerMessage::Question {
                number: u64(bytes)?,
                at_most: Duration::from_millis(bytes.try_get_u32_le().map_err(|_| Unknown)?.into()),
                query: query(bytes)?,
            },
            ANSWER => PeerMessage::Answer {
                number: u64(bytes)?,
                answer: match u8(bytes)? {
                    0 => None,
                    1 => Some(all(bytes)?),
                    _ => return Err(Unknown),
                },
            },
            _ => return Err(Unknown),
        };
        if bytes.is_empty() { Ok(Self { sender, age, message }) } else { Err(Unknown) }
    }
}

fn put_query(out: &mut Vec<u8>, query: &Query) {
    match query {
        Query::Applied(token) => {
            out.put_u8(OF_COMMIT);
            out.put_u64_le(token.incarnation.0);
            out.put_u64_le(token.id);
            out.put_u64_le(token.salt);
        }
        Query::Server(question) => {
            out.put_u8(OF_SERVER);
            out.put_slice(question);
        }
    }
}

fn query(bytes: &mut &[u8]) -> Result<Query, Unknown> {
    match u8(bytes)? {
        OF_COMMIT => {
            Ok(Query::Applied(Token { incarnation: Incarnation(u64(bytes)?), id: u64(bytes)?, salt: u64(bytes)? }))
        }
        OF_SERVER => Ok(Query::Server(all(bytes)?)),
        _ => Err(Unknown),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "texts of an introduction are short")]
fn put_introduction(out: &mut Vec<u8>, kind: u8, introduction: &Introduction) {
    out.put_u8(kind);
    for text in [&introduction.name, &introduction.version] {
        out.put_u16_le(text.len() as u16);
        out.put_slice(text.as_bytes());
    }
}

fn introduction(bytes: &mut &[u8]) -> Result<Introduction, Unknown> {
    let mut text = || {
        let length = bytes.try_get_u16_le().map_err(|_| Unknown)?.into();
        let (text, rest) = bytes.split_at_checked(length).ok_or(Unknown)?;
        *bytes = rest;
        let text = std::str::from_utf8(text).map_err(|_| Unknown)?;
        if text.len() > Introduction::MOST { Err(Unknown) } else { Ok(text.to_owned()) }
    };
    Ok(Introduction { name: text()?, version: text()? })
}

/// The remaining bytes, up to [`MOST_BYTES`].
fn all(bytes: &mut &[u8]) -> Result<Bytes, Unknown> {
    let all = std::mem::take(bytes);
    if all.len() > MOST_BYTES { Err(Unknown) } else { Ok(Bytes::copy_from_slice(all)) }
}

fn u8(bytes: &mut &[u8]) -> Result<u8, Unknown> {
    bytes.try_get_u8().map_err(|_| Unknown)
}

fn u64(bytes: &mut &[u8]) -> Result<u64, Unknown> {
    bytes.try_get_u64_le().map_err(|_| Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelopes() -> Vec<Envelope> {
        let introduction = || Introduction::new("käse:50051", "1.2.3");
        let token = Token { incarnation: Incarnation(7), id: 8, salt: 9 };
        let question = |query| PeerMessage::Question { number: 9, at_most: Duration::from_millis(250), query };
        let all = [
            PeerMessage::Join(introduction()),
            PeerMessage::Heartbeat(Introduction::default()),
            PeerMessage::Leave,
            question(Query::Applied(token)),
            question(Query::Server(Bytes::from_static(b"who?"))),
            question(Query::Server(Bytes::new())),
            PeerMessage::Answer { number: 9, answer: None },
            PeerMessage::Answer { number: 9, answer: Some(Bytes::from_static(b"me")) },
            PeerMessage::Answer { number: 9, answer: Some(Bytes::from(vec![1; MOST_BYTES])) },
        ];
        all.into_iter().map(|message| Envelope { sender: 5, age: Duration::from_micros(123_456), message }).collect()
    }

    #[test]
    fn what_is_said_is_heard() {
        for envelope in envelopes() {
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }

    #[test]
    fn what_is_cut_too_large_or_of_another_format_is_unknown() {
        for envelope in envelopes() {
            let bytes = envelope.encode();
            // What the server asks and answers ends where the message does.
            let open = match envelope.message {
                PeerMessage::Question { query: Query::Server(asked), .. } => asked.len(),
                PeerMessage::Answer { answer: Some(answer), .. } => answer.len(),
                _ => 0,
            };
            for length in 0..(bytes.len() - open).min(200) {
                assert_eq!(Envelope::decode(&bytes[..length]), Err(Unknown), "{length} bytes");
            }
            for (place, value) in [(0, FORMAT + 1), (17, 99)] {
                let mut other = bytes.clone();
                other[place] = value;
                assert_eq!(Envelope::decode(&other), Err(Unknown));
            }
        }
        let large = PeerMessage::Answer { number: 1, answer: Some(Bytes::from(vec![1; MOST_BYTES + 1])) };
        let long = Introduction { name: "x".repeat(Introduction::MOST + 1), version: String::new() };
        for message in [large, PeerMessage::Join(long)] {
            assert_eq!(Envelope::decode(&Envelope { sender: 1, age: Duration::ZERO, message }.encode()), Err(Unknown));
        }
        let mut longer = Envelope { sender: 1, age: Duration::ZERO, message: PeerMessage::Leave }.encode();
        longer.push(0);
        assert_eq!(Envelope::decode(&longer), Err(Unknown));
    }
}
