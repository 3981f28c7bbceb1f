//! What a command is about, as far as faults depend on it.

/// What the reply to a command will be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Nothing that matters here.
    Reply,
    /// The value of a key.
    Value(Vec<u8>),
    /// The values of several keys.
    Values(Vec<Vec<u8>>),
    /// What tells whether the connection lives.
    Pong,
    /// None of Redis: its command was held back, and is answered here.
    Own,
    /// So many confirmations of subscriptions or of their end.
    Confirmations(usize),
}

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command<'a> {
    pub(super) expect: Expect,
    /// Whether it makes its connection one that has subscribed.
    pub(super) subscribes: bool,
    /// The keys and values that it sets.
    pub(super) sets: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Command<'a> {
    /// Reads the words of a command.
    pub(super) fn read(words: &[&'a [u8]]) -> Self {
        let mut command = Self { expect: Expect::Reply, subscribes: false, sets: Vec::new() };
        let Some((name, arguments)) = words.split_first() else {
            return command;
        };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"GET", &[key]) => command.expect = Expect::Value(key.to_vec()),
            (b"MGET", keys) => command.expect = Expect::Values(keys.iter().map(|key| key.to_vec()).collect()),
            (b"SET" | b"SETNX" | b"GETSET", &[key, value, ..]) | (b"SETEX" | b"PSETEX", &[key, _, value]) => {
                command.sets.push((key, value));
            }
            (b"MSET" | b"MSETNX", pairs) => {
                command.sets.extend(pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            (b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE", channels) => {
                command.subscribes = true;
                command.expect = Expect::Confirmations(channels.len().max(1));
            }
            // Without channels it means all of them; what confirms the second and further ones is then awaited by nobody.
            (b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE", channels) => {
                command.expect = Expect::Confirmations(channels.len().max(1));
            }
            (b"PING", _) => command.expect = Expect::Pong,
            _ => {}
        }
        command
    }
}

/// What a message is that may have come unasked: the first word tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unasked {
    Confirmation,
    Push,
}

impl Unasked {
    pub(super) fn read(first: &[u8]) -> Option<Self> {
        match first {
            b"message" | b"pmessage" | b"smessage" => Some(Self::Push),
            b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe" | b"sunsubscribe" => {
                Some(Self::Confirmation)
            }
            _ => None,
        }
    }
}
