//! The encoding of messages on the bus: changes, never values.
//!
//! Little-endian: 1 byte format version, 8 incarnation, 8 sender, 8 time of sending (microseconds since 1970 by the sender's clock,
//! for measuring alone), 4 number of changes. Each change follows as 8 id, 8 salt, 1 kind, 4 length of a text and the text; a change
//! of an entry continues with 8 version, 2 number of terms, and each term as 4 length and text.

use bytes::{Buf, BufMut};

use crate::change::{Change, Incarnation, Subject};

const FORMAT: u8 = 2;
const ENTRY: u8 = 1;
const KEY: u8 = 2;
const TERM: u8 = 3;
const ALL: u8 = 4;
const PATTERN: u8 = 5;
/// The bytes of changes after which the next message begins.
const LARGE: usize = 256 << 10;

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

/// Encodes changes as messages of bounded size.
pub(crate) fn encode(incarnation: Incarnation, sender: u64, sent_micros: u64, changes: &[Change]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut body = Vec::new();
    let mut count: u32 = 0;
    let mut finish = |body: &mut Vec<u8>, count: &mut u32| {
        let mut message = Vec::with_capacity(29 + body.len());
        message.put_u8(FORMAT);
        message.put_u64_le(incarnation.0);
        message.put_u64_le(sender);
        message.put_u64_le(sent_micros);
        message.put_u32_le(*count);
        message.append(body);
        *count = 0;
        messages.push(message);
    };
    for change in changes.iter().filter(|change| fits(change)) {
        put_change(&mut body, change);
        count += 1;
        if body.len() >= LARGE {
            finish(&mut body, &mut count);
        }
    }
    if count > 0 {
        finish(&mut body, &mut count);
    }
    messages
}

/// Decodes a message.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Message, Unknown> {
    let bytes = &mut bytes;
    if bytes.try_get_u8().map_err(|_| Unknown)? != FORMAT {
        return Err(Unknown);
    }
    let incarnation = Incarnation(u64(bytes)?);
    let sender = u64(bytes)?;
    let sent_micros = u64(bytes)?;
    let count = bytes.try_get_u32_le().map_err(|_| Unknown)?;
    let mut changes = Vec::with_capacity((count as usize).min(1_024));
    for _ in 0..count {
        changes.push(get_change(bytes)?);
    }
    if bytes.is_empty() { Ok(Message { incarnation, sender, sent_micros, changes }) } else { Err(Unknown) }
}

/// Whether a message has room for a whole change. A change must not be truncated, since its receiver takes it for complete. A
/// product has far fewer categories and tags; the follower finds a change that is omitted.
fn fits(change: &Change) -> bool {
    !matches!(&change.subject, Subject::Entry { terms, .. } if terms.len() > usize::from(u16::MAX))
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    out.put_u64_le(change.id);
    out.put_u64_le(change.salt);
    match &change.subject {
        Subject::Entry { key, version, terms } => {
            out.put_u8(ENTRY);
            put_text(out, key);
            out.put_i64_le(*version);
            out.put_u16_le(u16::try_from(terms.len()).unwrap_or(u16::MAX));
            for term in terms {
                put_text(out, term);
            }
        }
        Subject::Key(key) => {
            out.put_u8(KEY);
            put_text(out, key);
        }
        Subject::Term(term) => {
            out.put_u8(TERM);
            put_text(out, term);
        }
        Subject::Pattern(pattern) => {
            out.put_u8(PATTERN);
            put_text(out, pattern);
        }
        Subject::All => {
            out.put_u8(ALL);
            put_text(out, "");
        }
    }
}

fn get_change(bytes: &mut &[u8]) -> Result<Change, Unknown> {
    let (id, salt) = (u64(bytes)?, u64(bytes)?);
    let kind = bytes.try_get_u8().map_err(|_| Unknown)?;
    let text = get_text(bytes)?;
    let subject = match kind {
        ENTRY => {
            let version = bytes.try_get_i64_le().map_err(|_| Unknown)?;
            let count = bytes.try_get_u16_le().map_err(|_| Unknown)?;
            let terms = (0..count).map(|_| get_text(bytes)).collect::<Result<_, _>>()?;
            Subject::Entry { key: text, version, terms }
        }
        KEY => Subject::Key(text),
        TERM => Subject::Term(text),
        PATTERN => Subject::Pattern(text),
        ALL => Subject::All,
        _ => return Err(Unknown),
    };
    Ok(Change { id, salt, subject })
}

fn u64(bytes: &mut &[u8]) -> Result<u64, Unknown> {
    bytes.try_get_u64_le().map_err(|_| Unknown)
}

#[expect(clippy::cast_possible_truncation, reason = "texts are keys, terms and patterns of at most some kilobytes")]
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u32_le(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn get_text(bytes: &mut &[u8]) -> Result<String, Unknown> {
    let length = bytes.try_get_u32_le().map_err(|_| Unknown)? as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or(Unknown)?;
    *bytes = rest;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change> {
        let terms = vec!["category:käse".to_owned(), "tag:x".to_owned()];
        vec![
            Change { id: 1, salt: 9, subject: Subject::Entry { key: "product:a".to_owned(), version: -7, terms } },
            Change { id: 2, salt: u64::MAX, subject: Subject::Key("product:b".to_owned()) },
            Change { id: 3, salt: 0, subject: Subject::Term("tag:t".to_owned()) },
            Change { id: 4, salt: 1, subject: Subject::Pattern("product:*".to_owned()) },
            Change { id: u64::MAX, salt: 2, subject: Subject::All },
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
        let long = Change { id: 1, salt: 0, subject: Subject::Key("k".repeat(1_000)) };
        let all = vec![long; 1_000];
        let messages = encode(Incarnation(1), 2, 3, &all);
        assert!(messages.len() > 1 && messages.iter().all(|message| message.len() < LARGE + 2_000));
        let read: usize = messages.iter().map(|message| decode(message).unwrap().changes.len()).sum();
        assert_eq!(read, 1_000);
    }

    #[test]
    fn what_does_not_fit_as_a_whole_is_left_out() {
        let with = |count: usize| {
            let terms = vec!["t".to_owned(); count];
            Change { id: 1, salt: 0, subject: Subject::Entry { key: "product:a".to_owned(), version: 1, terms } }
        };
        assert!(encode(Incarnation(1), 2, 3, &[with(65_536)]).is_empty());
        let messages = encode(Incarnation(1), 2, 3, &[with(65_536), with(65_535)]);
        assert_eq!(decode(&messages[0]).unwrap().changes, [with(65_535)]);
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
        other[0] = FORMAT + 1;
        assert_eq!(decode(&other), Err(Unknown));
    }
}
