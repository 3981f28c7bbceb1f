//! What a proxy may be told to do, and what it has done.

use std::time::Duration;

/// What a proxy does to what passes through it; by default nothing. Numbers are probabilities, from 0 (never) to 1
/// (always), drawn for each message.
///
/// A *push* is a message of a channel. A *reply* is what answers a command, but for two kinds that the faults of replies
/// spare, so that a subscription can be hurt and be spared on its own: what confirms a subscription, and the answer to a
/// PING on a connection that has subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// A push is lost.
    pub push_drop: f64,
    /// A push comes twice.
    pub push_duplicate: f64,
    /// A push comes after the next one of its connection, or half a second late when there is none until then.
    pub push_swap: f64,
    /// Every push comes this much later. Replies do not wait for it.
    pub push_delay: Duration,
    /// No push comes through any more; everything else on the connection does.
    pub push_black_hole: bool,
    /// Nothing at all comes through any more to a connection that has subscribed, not even the end of it: the connection
    /// is open and silent. One whose reply was swallowed stays silent when this is switched off again.
    pub subscriber_black_hole: bool,
    /// Every reply comes this much later, in order.
    pub reply_delay: Duration,
    /// A reply is swallowed, and with it everything that would follow on its connection, which stays open: the command
    /// was accepted and carried out, and its sender is never told.
    pub reply_black_hole: f64,
    /// A reply ends in its middle, and the connection with it.
    pub reply_cut: f64,
    /// The value in the reply to a GET, and each value in that to an MGET, is replaced by another one that was once SET
    /// for the key through this proxy, also when Redis has none (any more).
    pub replay: f64,
    /// How long ago a value was SET before it is replayed.
    pub replay_age: Duration,
    /// A new connection is closed as soon as it is there.
    pub refuse: f64,
}

impl Faults {
    pub(super) fn check(&self) {
        let all = [
            self.push_drop,
            self.push_duplicate,
            self.push_swap,
            self.reply_black_hole,
            self.reply_cut,
            self.replay,
            self.refuse,
        ];
        assert!(all.iter().all(|chance| (0.0..=1.0).contains(chance)), "a probability is between 0 and 1: {self:?}");
    }
}

/// What a proxy has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that were taken.
    pub connections: u64,
    /// Connections that were closed at once.
    pub refused: u64,
    /// Connections that were cut by [`cut_all`](super::Proxy::cut_all) or [`cut_subscribers`](super::Proxy::cut_subscribers).
    pub cut: u64,
    /// Commands that clients sent.
    pub commands: u64,
    /// Replies that Redis sent, confirmations of subscriptions among them.
    pub replies: u64,
    /// Pushes that Redis sent.
    pub pushes: u64,
    /// Pushes that were lost.
    pub pushes_dropped: u64,
    /// Pushes that were sent twice.
    pub pushes_duplicated: u64,
    /// Pushes that were held back for the next one.
    pub pushes_swapped: u64,
    /// Pushes that came late.
    pub pushes_delayed: u64,
    /// Messages, replies and pushes alike, that went into a black hole.
    pub swallowed: u64,
    /// Replies that came late.
    pub replies_delayed: u64,
    /// Replies that ended in their middle.
    pub replies_cut: u64,
    /// Values that were replaced by other ones.
    pub replayed: u64,
}
