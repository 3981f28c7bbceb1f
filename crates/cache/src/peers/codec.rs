//! What replicas say to each other besides changes.
//!
//! Little-endian: 1 byte version of the format, 8 the sender, 8 its age in microseconds, 1 kind; then for a hello and a presence
//! the name and the version of its program, each as 2 length and text; nothing for a goodbye; for a question 8 its number, 4 how
//! long it may take in milliseconds, 1 what it is about, and for a commit 8 incarnation, 8 id and 8 salt, else what is asked; for an
//! answer 8 the number of the question, 1 whether there is one, and it.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};

use crate::{Incarnation, Token, peers::membership::Introduction};

const FORMAT: u8 = 1;
const HELLO: u8 = 1;
const PRESENT: u8 = 2;
const GOODBYE: u8 = 3;
const QUESTION: u8 = 4;
const ANSWER: u8 = 5;
/// 1 was that of a commit without a salt.
const OF_COMMIT: u8 = 3;
const OF_SERVER: u8 = 2;

/// The largest question and the largest answer, in bytes.
pub(crate) const MOST_BYTES: usize = 256 << 10;

/// Something said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) sender: u64,
    /// How long ago the sender had started, by its own clock.
    pub(crate) age: Duration,
    pub(crate) said: PeerMessage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerMessage {
    /// It listens from now on, and wants to know who else does.
    Join(Introduction),
    /// It is there.
    Heartbeat(Introduction),
    /// It ends.
    Leave,
    Question {
        number: u64,
        /// How long it is of interest.
        at_most: Duration,
        question: Question,
    },
    Answer {
        number: u64,
        /// `None` when there is none, and nothing more is to be waited for.
        answer: Option<Bytes>,
    },
}

/// Something asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// To answer once what was learned covers a commit.
    Learned(Token),
    /// What the cache does not understand.
    Server(Bytes),
}

/// It cannot be read: a later release said it, or it is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown;

impl Envelope {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_u8(FORMAT);
        out.put_u64_le(self.sender);
        out.put_u64_le(u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX));
        match &self.said {
            PeerMessage::Join(introduction) => put_introduction(&mut out, HELLO, introduction),
            PeerMessage::Heartbeat(introduction) => put_introduction(&mut out, PRESENT, introduction),
            PeerMessage::Leave => out.put_u8(GOODBYE),
            PeerMessage::Question { number, at_most, question } => {
                out.put_u8(QUESTION);
                out.put_u64_le(*number);
                out.put_u32_le(u32::try_from(at_most.as_millis()).unwrap_or(u32::MAX));
                match question {
                    Question::Learned(token) => {
                        out.put_u8(OF_COMMIT);
                        out.put_u64_le(token.incarnation.0);
                        out.put_u64_le(token.id);
                        out.put_u64_le(token.salt);
                    }
                    Question::Server(question) => {
                        out.put_u8(OF_SERVER);
                        out.put_slice(question);
                    }
                }
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

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unknown> {
        let mut rest = bytes;
        let bytes = &mut rest;
        if u8(bytes)? != FORMAT {
            return Err(Unknown);
        }
        let sender = u64(bytes)?;
        let age = Duration::from_micros(u64(bytes)?);
        let said = match u8(bytes)? {
            HELLO => PeerMessage::Join(introduction(bytes)?),
            PRESENT => PeerMessage::Heartbeat(introduction(bytes)?),
            GOODBYE => PeerMessage::Leave,
            QUESTION => PeerMessage::Question {
                number: u64(bytes)?,
                at_most: Duration::from_millis(bytes.try_get_u32_le().map_err(|_| Unknown)?.into()),
                question: match u8(bytes)? {
                    OF_COMMIT => Question::Learned(Token {
                        incarnation: Incarnation(u64(bytes)?),
                        id: u64(bytes)?,
                        salt: u64(bytes)?,
                    }),
                    OF_SERVER => Question::Server(all(bytes)?),
                    _ => return Err(Unknown),
                },
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
        if bytes.is_empty() { Ok(Self { sender, age, said }) } else { Err(Unknown) }
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

/// What is left, if it is not too much.
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

    fn words() -> Vec<Envelope> {
        let introduction = || Introduction::new("käse:50051", "1.2.3");
        let token = Token { incarnation: Incarnation(7), id: 8, salt: 9 };
        let question = |question| PeerMessage::Question { number: 9, at_most: Duration::from_millis(250), question };
        let all = [
            PeerMessage::Join(introduction()),
            PeerMessage::Heartbeat(Introduction::default()),
            PeerMessage::Leave,
            question(Question::Learned(token)),
            question(Question::Server(Bytes::from_static(b"who?"))),
            question(Question::Server(Bytes::new())),
            PeerMessage::Answer { number: 9, answer: None },
            PeerMessage::Answer { number: 9, answer: Some(Bytes::from_static(b"me")) },
            PeerMessage::Answer { number: 9, answer: Some(Bytes::from(vec![1; MOST_BYTES])) },
        ];
        all.into_iter().map(|said| Envelope { sender: 5, age: Duration::from_micros(123_456), said }).collect()
    }

    #[test]
    fn what_is_said_is_heard() {
        for word in words() {
            assert_eq!(Envelope::decode(&word.encode()), Ok(word));
        }
    }

    #[test]
    fn what_is_cut_too_large_or_of_another_format_is_unknown() {
        for word in words() {
            let bytes = word.encode();
            // What the server asks and answers ends where the message does.
            let open = match word.said {
                PeerMessage::Question { question: Question::Server(asked), .. } => asked.len(),
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
        for said in [large, PeerMessage::Join(long)] {
            assert_eq!(Envelope::decode(&Envelope { sender: 1, age: Duration::ZERO, said }.encode()), Err(Unknown));
        }
        let mut longer = Envelope { sender: 1, age: Duration::ZERO, said: PeerMessage::Leave }.encode();
        longer.push(0);
        assert_eq!(Envelope::decode(&longer), Err(Unknown));
    }
}
