//! What waits to be written to a client, and when its time comes.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How long a push that was to change places waits for another one.
const SWAP_LIMIT: Duration = Duration::from_millis(500);
/// How many messages may wait before no more are read.
const WAITING: usize = 10_000;

/// The messages of one connection that were read and not yet written. Replies keep their order among themselves, pushes
/// theirs, but a late one of one kind does not hold up the other.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    replies: VecDeque<Message>,
    pushes: VecDeque<Message>,
    held: Option<Message>,
}

#[derive(Debug)]
struct Message {
    due: Instant,
    bytes: Vec<u8>,
    last: bool,
}

/// What is to be written now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) bytes: Vec<u8>,
    /// Whether the connection ends behind it.
    pub(super) last: bool,
}

impl Delivery {
    /// Adds a reply. `last` ends the connection behind it.
    pub(super) fn reply(&mut self, bytes: Vec<u8>, due: Instant, last: bool) {
        self.replies.push_back(Message { due, bytes, last });
    }

    /// Adds a push, and behind it the one that was held back for it.
    pub(super) fn push(&mut self, bytes: Vec<u8>, due: Instant) {
        self.pushes.push_back(Message { due, bytes, last: false });
        if let Some(held) = self.held.take() {
            self.pushes.push_back(Message { due, ..held });
        }
    }

    /// Whether no push is held back.
    pub(super) fn is_holding_none(&self) -> bool {
        self.held.is_none()
    }

    /// Holds a push back until another one comes.
    pub(super) fn hold(&mut self, bytes: Vec<u8>, due: Instant) {
        debug_assert!(self.is_holding_none(), "two pushes held back");
        self.held = Some(Message { due: due + SWAP_LIMIT, bytes, last: false });
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.replies.len() + self.pushes.len() < WAITING
    }

    /// When the next message is due.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.replies.front(), self.pushes.front(), self.held.as_ref()].into_iter().flatten().map(|one| one.due).min()
    }

    /// Takes everything that is due.
    pub(super) fn take(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if let Some(held) = self.held.take_if(|held| held.due <= now) {
            self.pushes.push_back(held);
        }
        while let Some(push) = self.pushes.pop_front_if(|push| push.due <= now) {
            due.bytes.extend(push.bytes);
        }
        while let Some(reply) = self.replies.pop_front_if(|reply| reply.due <= now) {
            due.bytes.extend(reply.bytes);
            if reply.last {
                due.last = true;
                break;
            }
        }
        due
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
