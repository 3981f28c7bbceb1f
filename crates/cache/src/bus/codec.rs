//! The encoding of messages on the bus: changes, never values.
//!
//! Messages are [versioned]. A change that an earlier release cannot apply needs another kind of subject: there the whole message
//! counts as unknown, and the change log has its changes.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use larder_change::{Cause, Incarnation, TraceContext};
use prost::Message as _;

use crate::{
    l2::versioned,
    validity::{Change, Subject},
};

const FORMAT: u8 = 3;
/// The bytes of changes after which the next message begins.
const LARGE: usize = 256 << 10;
/// The largest message that is read, in bytes. The last change of a message may exceed [`LARGE`] by far less than this, unless
/// somebody wrote its product past Larder; the change log has every change.
const MOST: usize = 1 << 20;

/// A message on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) incarnation: Incarnation,
    pub(crate) sender: u64,
    pub(crate) sent_micros: u64,
    pub(crate) changes: Vec<Change>,
}

/// The message cannot be decoded: a later release or another program sent it. The change log holds its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown;

/// The messages as they travel.
mod wire {
    /// All of a message behind its version.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Message {
        #[prost(fixed64, tag = "1")]
        pub(super) incarnation: u64,
        /// The replica.
        #[prost(fixed64, tag = "2")]
        pub(super) sender: u64,
        /// Microseconds since 1970 by the sender's clock, for measuring alone.
        #[prost(uint64, tag = "3")]
        pub(super) sent_micros: u64,
        #[prost(message, repeated, tag = "4")]
        pub(super) changes: Vec<Change>,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Change {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(fixed64, tag = "2")]
        pub(super) salt: u64,
        #[prost(oneof = "Subject", tags = "3, 4, 5, 6, 7")]
        pub(super) subject: Option<Subject>,
        /// When the change was logged: microseconds since 1970 by the clock of the database.
        #[prost(uint64, optional, tag = "8")]
        pub(super) logged_micros: Option<u64>,
        /// The trace of the write, 16 bytes, and its span, 8 bytes, big-endian. Both are empty unless the write is traced.
        #[prost(bytes = "bytes", tag = "9")]
        pub(super) trace_id: bytes::Bytes,
        #[prost(bytes = "bytes", tag = "10")]
        pub(super) span_id: bytes::Bytes,
    }

    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub(super) enum Subject {
        #[prost(message, tag = "3")]
        Entry(Entry),
        #[prost(string, tag = "4")]
        Key(String),
        #[prost(string, tag = "5")]
        Term(String),
        #[prost(string, tag = "6")]
        Pattern(String),
        #[prost(bool, tag = "7")]
        All(bool),
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Entry {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(int64, tag = "2")]
        pub(super) version: i64,
        #[prost(string, repeated, tag = "3")]
        pub(super) terms: Vec<String>,
    }
}

/// Encodes changes as messages of bounded size.
pub(crate) fn encode(incarnation: Incarnation, sender: u64, sent_micros: u64, changes: &[Change]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let empty = || wire::Message { incarnation: incarnation.0, sender, sent_micros, changes: Vec::new() };
    let (mut message, mut bytes) = (empty(), 0);
    for change in changes.iter().map(to_wire) {
        bytes += change.encoded_len();
        message.changes.push(change);
        if bytes >= LARGE {
            messages.push(versioned::encode(FORMAT, &message));
            (message, bytes) = (empty(), 0);
        }
    }
    if !message.changes.is_empty() {
        messages.push(versioned::encode(FORMAT, &message));
    }
    messages
}

/// Decodes a message.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message, Unknown> {
    if bytes.len() > MOST {
        return Err(Unknown);
    }
    let wire::Message { incarnation, sender, sent_micros, changes } =
        versioned::decode(FORMAT, bytes).ok_or(Unknown)?;
    let changes = changes.into_iter().map(from_wire).collect::<Result<_, _>>()?;
    Ok(Message { incarnation: Incarnation(incarnation), sender, sent_micros, changes })
}

fn to_wire(change: &Change) -> wire::Change {
    let Change { id, salt, subject, cause: Cause { trace, logged_micros } } = change;
    let subject = match subject {
        Subject::Entry { key, version, terms } => {
            wire::Subject::Entry(wire::Entry { key: key.clone(), version: *version, terms: terms.clone() })
        }
        Subject::Key(key) => wire::Subject::Key(key.clone()),
        Subject::Term(term) => wire::Subject::Term(term.clone()),
        Subject::Pattern(pattern) => wire::Subject::Pattern(pattern.clone()),
        Subject::All => wire::Subject::All(true),
    };
    let (trace_id, span_id) = match trace {
        Some(trace) => (trace.trace_id.to_be_bytes().to_vec(), trace.span_id.to_be_bytes().to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    wire::Change {
        id: *id,
        salt: *salt,
        subject: Some(subject),
        logged_micros: *logged_micros,
        trace_id: trace_id.into(),
        span_id: span_id.into(),
    }
}

fn from_wire(change: wire::Change) -> Result<Change, Unknown> {
    let subject = match change.subject.ok_or(Unknown)? {
        wire::Subject::Entry(wire::Entry { key, version, terms }) => Subject::Entry { key, version, terms },
        wire::Subject::Key(key) => Subject::Key(key),
        wire::Subject::Term(term) => Subject::Term(term),
        wire::Subject::Pattern(pattern) => Subject::Pattern(pattern),
        wire::Subject::All(_) => Subject::All,
    };
    let trace = TraceContext::from_bytes(&change.trace_id, &change.span_id);
    let cause = Cause { trace, logged_micros: change.logged_micros };
    Ok(Change { id: change.id, salt: change.salt, subject, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change> {
        let terms = vec!["category:käse".to_owned(), "tag:x".to_owned()];
        let trace = Some(TraceContext { trace_id: 1 << 100, span_id: 7, sampled: true });
        let cause = Cause { trace, logged_micros: Some(1_800_000_000_000_000) };
        vec![
            Change {
                id: 1,
                salt: 9,
                subject: Subject::Entry { key: "product:a".to_owned(), version: -7, terms },
                cause: Cause::default(),
            },
            Change { id: 2, salt: u64::MAX, subject: Subject::Key("product:b".to_owned()), cause },
            Change { id: 3, salt: 0, subject: Subject::Term("tag:t".to_owned()), cause: Cause::default() },
            Change { id: 4, salt: 1, subject: Subject::Pattern("product:*".to_owned()), cause: Cause::default() },
            Change { id: u64::MAX, salt: 2, subject: Subject::All, cause: Cause::default() },
        ]
    }

    #[test]
    fn what_is_sent_is_read() {
        let messages = encode(Incarnation(5), 6, 7, &changes());
        let expected = Message { incarnation: Incarnation(5), sender: 6, sent_micros: 7, changes: changes() };
        assert_eq!(messages.len(), 1);
        assert_eq!(decode(&messages[0]), Ok(expected));
        assert!(encode(Incarnation(5), 6, 7, &[]).is_empty());
    }

    #[test]
    fn many_changes_are_several_messages() {
        let long = Change { id: 1, salt: 0, subject: Subject::Key("k".repeat(1_000)), cause: Cause::default() };
        let all = vec![long; 1_000];
        let messages = encode(Incarnation(1), 2, 3, &all);
        assert!(messages.len() > 1 && messages.iter().all(|message| message.len() < LARGE + 2_000));
        let read: usize = messages.iter().map(|message| decode(message).unwrap().changes.len()).sum();
        assert_eq!(read, 1_000);
    }

    #[test]
    fn what_a_later_release_adds_is_skipped() {
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        struct Later {
            #[prost(message, repeated, tag = "4")]
            changes: Vec<LaterChange>,
            #[prost(string, tag = "99")]
            news: String,
        }
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        struct LaterChange {
            #[prost(uint64, tag = "1")]
            id: u64,
            #[prost(string, tag = "4")]
            key: String,
            #[prost(string, tag = "98")]
            other: String,
        }
        let mut change = LaterChange { id: 7, key: "product:a".to_owned(), other: "x".to_owned() };
        let framed = |change: &LaterChange| {
            let later = Later { changes: vec![change.clone()], news: "n".to_owned() };
            [vec![FORMAT], later.encode_length_delimited_to_vec()].concat()
        };
        let subject = Subject::Key("product:a".to_owned());
        let expected = Change { id: 7, salt: 0, subject, cause: Cause::default() };
        assert_eq!(decode(&framed(&change)).unwrap().changes, [expected]);
        change.key = String::new();
        assert_eq!(decode(&framed(&change)), Err(Unknown), "a subject of another kind is not left out");
    }

    #[test]
    fn what_is_cut_longer_or_of_another_format_is_unknown() {
        let message = encode(Incarnation(5), 6, 7, &changes()).remove(0);
        for length in 0..message.len() {
            assert_eq!(decode(&message[..length]), Err(Unknown), "{length} bytes");
        }
        let mut longer = message.clone();
        longer.push(0);
        assert_eq!(decode(&longer), Err(Unknown));
        let mut other = message;
        for format in [FORMAT - 1, FORMAT + 1] {
            other[0] = format;
            assert_eq!(decode(&other), Err(Unknown));
        }
    }
}
