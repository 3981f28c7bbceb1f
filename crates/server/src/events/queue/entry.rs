//! Entries of a stream, as Redis returns them.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use redis::Value;

use crate::{
    catalog::Invalidation,
    events::{Event, event::LONGEST, parse_event},
};

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    /// The fields, names and values in turn; `None` when the entry is no longer in the stream.
    pub(super) fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// The meaning of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// An event: drop these copies.
    Event(Vec<Invalidation>),
    /// The entry cannot be understood, for this reason.
    Poison(String),
    /// The entry is no longer in the stream.
    Trimmed,
}

/// The field with the event.
const EVENT: &[u8] = b"event";
/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1 << 10;

impl Entry {
    /// Parses the entry.
    pub(super) fn parse(&self) -> Parsed {
        let Some(fields) = &self.fields else { return Parsed::Trimmed };
        let Some((_, json)) = fields.iter().find(|(name, _)| name == EVENT) else {
            return Parsed::Poison("the entry has no field event".to_owned());
        };
        if json.len() > LONGEST {
            return Parsed::Poison(format!("the event may have {LONGEST} bytes, has {}", json.len()));
        }
        match parse_event(json) {
            Ok(Event { drops, .. }) => Parsed::Event(drops),
            Err(broken) => {
                let mut reason = broken.to_string();
                reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
                Parsed::Poison(reason)
            }
        }
    }

    /// Reads entries: a list of pairs of an id and a list of names and values in turn.
    pub(super) fn read_all(value: Value) -> Option<Vec<Self>> {
        match value {
            Value::Nil => Some(Vec::new()),
            Value::Array(entries) => entries.into_iter().map(Self::read).collect(),
            _ => None,
        }
    }

    fn read(value: Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
        let id = String::from_utf8(bytes(id)?).ok()?;
        let fields = match fields {
            Value::Nil => None,
            Value::Array(texts) => {
                let texts: Vec<_> = texts.into_iter().map(bytes).collect::<Option<_>>()?;
                let mut texts = texts.into_iter();
                let pairs = std::iter::from_fn(|| Some((texts.next()?, texts.next()?)));
                Some(pairs.collect())
            }
            _ => return None,
        };
        Some(Self { id, fields })
    }
}

/// A text as Redis returns it.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(fields: &[(&str, &str)]) -> Entry {
        let pair = |&(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        Entry { id: "1-0".to_owned(), fields: Some(fields.iter().map(pair).collect()) }
    }

    #[test]
    fn entries_are_read_as_redis_tells_them() {
        let told = Value::Array(vec![
            Value::Array(vec![text("1-0"), Value::Array(vec![text("event"), text("{}"), text("event"), text("x")])]),
            Value::Array(vec![text("2-0"), Value::Nil]),
        ]);
        let read = Entry::read_all(told).expect("entries");
        assert_eq!(read[0], entry(&[("event", "{}"), ("event", "x")]));
        assert_eq!(read[1], Entry { id: "2-0".to_owned(), fields: None });
        assert_eq!(Entry::read_all(Value::Nil), Some(Vec::new()));
        assert_eq!(Entry::read_all(Value::Array(vec![Value::Int(1)])), None);
    }

    #[test]
    fn what_an_entry_asks_for() {
        let good = entry(&[("trace", "x"), ("event", r#"{"type":"all.invalidated"}"#)]);
        assert_eq!(good.parse(), Parsed::Event(vec![Invalidation::All]));
        assert_eq!(Entry { fields: None, ..good }.parse(), Parsed::Trimmed);
        let long = "x".repeat(LONGEST + 1);
        for (fields, why) in [
            (&[][..], "the entry has no field event"),
            (&[("Event", "{}")], "the entry has no field event"),
            (&[("event", "{}")], "type: is required"),
            (&[("event", long.as_str())], "the event may have 262144 bytes, has 262145"),
        ] {
            assert_eq!(entry(fields).parse(), Parsed::Poison(why.to_owned()));
        }
        let many = format!(r#"{{"type":"tag.invalidated","data":{{"tags":[{}1]}}}}"#, "1,".repeat(999));
        let Parsed::Poison(reason) = entry(&[("event", many.as_str())]).parse() else { panic!("an event") };
        assert!(reason.len() <= LONGEST_REASON && reason.ends_with("; and 992 more"), "{reason}");
    }
}
