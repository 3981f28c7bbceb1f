//! The encoding of messages between replicas, besides changes.
//!
//! Messages are [versioned]. A message of a kind that this release does not know is unknown as a whole.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::time::Duration;

use bytes::Bytes;
use larder_change::{Incarnation, Token};

use super::membership::Introduction;
use crate::l2::versioned;

const FORMAT: u8 = 2;

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

/// The messages as they travel.
mod wire {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Envelope {
        #[prost(fixed64, tag = "1")]
        pub(super) sender: u64,
        #[prost(uint64, tag = "2")]
        pub(super) age_micros: u64,
        #[prost(oneof = "Message", tags = "3, 4, 5, 6, 7")]
        pub(super) message: Option<Message>,
    }

    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub(super) enum Message {
        #[prost(message, tag = "3")]
        Join(Introduction),
        #[prost(message, tag = "4")]
        Heartbeat(Introduction),
        #[prost(message, tag = "5")]
        Leave(()),
        #[prost(message, tag = "6")]
        Question(Question),
        #[prost(message, tag = "7")]
        Answer(Answer),
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Introduction {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) version: String,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Question {
        #[prost(fixed64, tag = "1")]
        pub(super) number: u64,
        #[prost(uint32, tag = "2")]
        pub(super) at_most_millis: u32,
        #[prost(oneof = "Query", tags = "3, 4")]
        pub(super) query: Option<Query>,
    }

    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub(super) enum Query {
        #[prost(message, tag = "3")]
        Applied(Token),
        #[prost(bytes = "bytes", tag = "4")]
        Server(Bytes),
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Token {
        #[prost(fixed64, tag = "1")]
        pub(super) incarnation: u64,
        #[prost(uint64, tag = "2")]
        pub(super) id: u64,
        #[prost(fixed64, tag = "3")]
        pub(super) salt: u64,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Answer {
        /// The number of the question.
        #[prost(fixed64, tag = "1")]
        pub(super) number: u64,
        #[prost(bytes = "bytes", optional, tag = "2")]
        pub(super) answer: Option<Bytes>,
    }
}

impl Envelope {
    pub(super) fn encode(&self) -> Vec<u8> {
        let message = match &self.message {
            PeerMessage::Join(introduction) => wire::Message::Join(introduction.to_wire()),
            PeerMessage::Heartbeat(introduction) => wire::Message::Heartbeat(introduction.to_wire()),
            PeerMessage::Leave => wire::Message::Leave(()),
            PeerMessage::Question { number, at_most, query } => wire::Message::Question(wire::Question {
                number: *number,
                at_most_millis: u32::try_from(at_most.as_millis()).unwrap_or(u32::MAX),
                query: Some(query.to_wire()),
            }),
            PeerMessage::Answer { number, answer } => {
                wire::Message::Answer(wire::Answer { number: *number, answer: answer.clone() })
            }
        };
        let age_micros = u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX);
        versioned::encode(FORMAT, &wire::Envelope { sender: self.sender, age_micros, message: Some(message) })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unknown> {
        let wire::Envelope { sender, age_micros, message } = versioned::decode(FORMAT, bytes).ok_or(Unknown)?;
        let message = match message.ok_or(Unknown)? {
            wire::Message::Join(introduction) => PeerMessage::Join(Introduction::from_wire(introduction)?),
            wire::Message::Heartbeat(introduction) => PeerMessage::Heartbeat(Introduction::from_wire(introduction)?),
            wire::Message::Leave(()) => PeerMessage::Leave,
            wire::Message::Question(wire::Question { number, at_most_millis, query }) => PeerMessage::Question {
                number,
                at_most: Duration::from_millis(at_most_millis.into()),
                query: Query::from_wire(query)?,
            },
            wire::Message::Answer(wire::Answer { number, answer }) => {
                PeerMessage::Answer { number, answer: answer.map(bounded).transpose()? }
            }
        };
        Ok(Self { sender, age: Duration::from_micros(age_micros), message })
    }
}

impl Query {
    fn to_wire(&self) -> wire::Query {
        match self {
            Self::Applied(Token { incarnation, id, salt }) => {
                wire::Query::Applied(wire::Token { incarnation: incarnation.0, id: *id, salt: *salt })
            }
            Self::Server(question) => wire::Query::Server(question.clone()),
        }
    }

    fn from_wire(query: Option<wire::Query>) -> Result<Self, Unknown> {
        Ok(match query.ok_or(Unknown)? {
            wire::Query::Applied(wire::Token { incarnation, id, salt }) => {
                Self::Applied(Token { incarnation: Incarnation(incarnation), id, salt })
            }
            wire::Query::Server(question) => Self::Server(bounded(question)?),
        })
    }
}

impl Introduction {
    fn to_wire(&self) -> wire::Introduction {
        wire::Introduction { name: self.name.clone(), version: self.version.clone() }
    }

    fn from_wire(introduction: wire::Introduction) -> Result<Self, Unknown> {
        let wire::Introduction { name, version } = introduction;
        let short = [&name, &version].iter().all(|text| text.len() <= Self::MOST);
        if short { Ok(Self { name, version }) } else { Err(Unknown) }
    }
}

fn bounded(bytes: Bytes) -> Result<Bytes, Unknown> {
    if bytes.len() > MOST_BYTES { Err(Unknown) } else { Ok(bytes) }
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
    fn what_a_later_release_adds_is_skipped() {
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        struct Later {
            #[prost(fixed64, tag = "1")]
            sender: u64,
            #[prost(message, tag = "5")]
            leave: Option<()>,
            #[prost(string, tag = "99")]
            news: String,
        }
        let mut later = Later { sender: 5, leave: Some(()), news: "n".to_owned() };
        let expected = Envelope { sender: 5, age: Duration::ZERO, message: PeerMessage::Leave };
        assert_eq!(Envelope::decode(&versioned::encode(FORMAT, &later)), Ok(expected));
        later.leave = None;
        let another_kind = versioned::encode(FORMAT, &later);
        assert_eq!(Envelope::decode(&another_kind), Err(Unknown), "a message of another kind is not guessed");
    }

    #[test]
    fn what_is_cut_too_large_or_of_another_format_is_unknown() {
        for envelope in envelopes() {
            let bytes = envelope.encode();
            for length in 0..bytes.len().min(200) {
                assert_eq!(Envelope::decode(&bytes[..length]), Err(Unknown), "{length} bytes");
            }
            for format in [FORMAT - 1, FORMAT + 1] {
                let mut other = bytes.clone();
                other[0] = format;
                assert_eq!(Envelope::decode(&other), Err(Unknown));
            }
            let mut longer = bytes;
            longer.push(0);
            assert_eq!(Envelope::decode(&longer), Err(Unknown));
        }
        let too_large = Bytes::from(vec![1; MOST_BYTES + 1]);
        let query = Query::Server(too_large.clone());
        let long = Introduction { name: "x".repeat(Introduction::MOST + 1), version: String::new() };
        for message in [
            PeerMessage::Question { number: 1, at_most: Duration::ZERO, query },
            PeerMessage::Answer { number: 1, answer: Some(too_large) },
            PeerMessage::Join(long),
        ] {
            assert_eq!(Envelope::decode(&Envelope { sender: 1, age: Duration::ZERO, message }.encode()), Err(Unknown));
        }
    }

    #[test]
    fn the_format_of_earlier_releases_is_refused() {
        // Version 1: sender and age of 8 bytes each, then the kind; 3 was a leave.
        let leave = [&[1][..], &[5; 16], &[3]].concat();
        assert_eq!(Envelope::decode(&leave), Err(Unknown));
    }
}
