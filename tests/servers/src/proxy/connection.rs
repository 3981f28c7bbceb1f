//! One connection: what its client asks, what Redis says, and what becomes of it.

use std::{collections::VecDeque, future::pending, io, sync::Mutex};

use rand::{Rng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    Core, Faults, Link,
    command::{Expect, Unasked},
    delivery::Delivery,
    locked,
    requests::Requests,
};
use crate::resp::{self, Frame, Malformed, Value};

/// How much is read at once, at the least.
pub(super) const READ: usize = 16 << 10;

/// Passes on what either side says until one of them ends.
pub(super) async fn run(
    core: &Core,
    link: &Link,
    client: TcpStream,
    server: TcpStream,
    rng: SmallRng,
) -> io::Result<()> {
    let state = Mutex::new(State { awaited: VecDeque::new(), rng });
    let own = Notify::new();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = Requests { core, link, state: &state, own: &own };
    let replies = Replies { core, link, state: &state, own: &own, delivery: Delivery::default(), silent: false };
    tokio::select! {
        result = requests.run(from_client, to_server) => result,
        result = replies.run(from_server, to_client) => result,
    }
}

/// What both directions know.
pub(super) struct State {
    pub(super) awaited: VecDeque<Expect>,
    pub(super) rng: SmallRng,
}

/// What a message of the server is.
enum Said {
    Push,
    /// A reply that the faults of replies spare.
    Spared,
    Reply(Expect),
}

struct Replies<'a> {
    core: &'a Core,
    link: &'a Link,
    state: &'a Mutex<State>,
    own: &'a Notify,
    delivery: Delivery,
    /// Nothing is passed on any more.
    silent: bool,
}

impl Replies<'_> {
    async fn run(mut self, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) -> io::Result<()> {
        let mut read = Vec::with_capacity(READ);
        let mut ended = false;
        loop {
            self.answer_own();
            let next = self.delivery.next();
            if ended && next.is_none() {
                if self.is_silent() {
                    // The end of a connection is news that would not come through.
                    pending::<()>().await;
                }
                return Ok(());
            }
            tokio::select! {
                count = server.read_buf(&mut read), if !ended && self.delivery.has_room() => {
                    ended = !count.is_ok_and(|count| count > 0);
                    let length = self.take(&read)?;
                    read.drain(..length);
                    read.reserve(READ);
                }
                () = self.own.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let due = self.delivery.take(Instant::now());
                    client.write_all(&due.bytes).await?;
                    if due.last {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn is_silent(&self) -> bool {
        let faults = *locked(&self.core.faults);
        self.silent || faults.reply_black_hole >= 1.0 || (faults.subscriber_black_hole && self.link.subscribed())
    }

    /// Deals with the complete messages, and returns how many bytes they are.
    fn take(&mut self, read: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        let faults = *locked(&self.core.faults);
        while let Some(frame) = resp::parse(&read[at..])? {
            at += frame.raw.len();
            self.answer_own();
            self.deal(&frame, &faults);
        }
        Ok(at)
    }

    /// Answers the commands that were held back, as far as those before them are answered.
    fn answer_own(&mut self) {
        let mut state = locked(self.state);
        while state.awaited.pop_front_if(|first| *first == Expect::Own).is_some() {
            self.delivery.reply(b"+OK\r\n".to_vec(), Instant::now(), false);
        }
    }

    fn deal(&mut self, frame: &Frame<'_>, faults: &Faults) {
        let said = self.said(frame);
        self.core.count(|counts| match said {
            Said::Push => counts.pushes += 1,
            Said::Spared | Said::Reply(_) => counts.replies += 1,
        });
        if faults.subscriber_black_hole && self.link.subscribed() {
            // Were a reply to come through after one that did not, it would be taken for that one's.
            self.silent |= !matches!(said, Said::Push);
            return self.swallow();
        }
        if self.silent {
            return self.swallow();
        }
        match said {
            Said::Push => self.push(frame, faults),
            Said::Spared => self.delivery.reply(frame.raw.to_vec(), Instant::now(), false),
            Said::Reply(expect) => self.reply(frame, &expect, faults),
        }
    }

    /// Tells pushes from replies, and what the latter answer.
    fn said(&self, frame: &Frame<'_>) -> Said {
        let mut state = locked(self.state);
        let unasked = match &frame.value {
            Value::Push(_) => true,
            Value::List(_) => self.link.subscribed(),
            _ => false,
        };
        if unasked {
            let first = frame.value.elements().first().and_then(|first| first.value.text());
            match first.and_then(Unasked::read) {
                Some(Unasked::Confirmation) => {
                    if let Some(Expect::Confirmations(left)) = state.awaited.front_mut() {
                        *left -= 1;
                        if *left == 0 {
                            state.awaited.pop_front();
                        }
                    }
                    return Said::Spared;
                }
                Some(Unasked::Push) => return Said::Push,
                None if matches!(frame.value, Value::Push(_)) => return Said::Push,
                None => {}
            }
        }
        match state.awaited.pop_front().unwrap_or(Expect::Reply) {
            Expect::Confirmations(_) => Said::Spared,
            Expect::Pong if self.link.subscribed() => Said::Spared,
            expect => Said::Reply(expect),
        }
    }

    fn push(&mut self, frame: &Frame<'_>, faults: &Faults) {
        if faults.push_black_hole {
            return self.swallow();
        }
        let (drop, duplicate, swap) = {
            let rng = &mut locked(self.state).rng;
            (
                rng.random_bool(faults.push_drop),
                rng.random_bool(faults.push_duplicate),
                rng.random_bool(faults.push_swap),
            )
        };
        if drop {
            return self.core.count(|counts| counts.pushes_dropped += 1);
        }
        if !faults.push_delay.is_zero() {
            self.core.count(|counts| counts.pushes_delayed += 1);
        }
        let mut bytes = frame.raw.to_vec();
        if duplicate {
            self.core.count(|counts| counts.pushes_duplicated += 1);
            bytes.extend(frame.raw);
        }
        let due = Instant::now() + faults.push_delay;
        if swap && self.delivery.is_holding_none() {
            self.core.count(|counts| counts.pushes_swapped += 1);
            self.delivery.hold(bytes, due);
        } else {
            self.delivery.push(bytes, due);
        }
    }

    fn reply(&mut self, frame: &Frame<'_>, expect: &Expect, faults: &Faults) {
        let (hole, cut) = {
            let rng = &mut locked(self.state).rng;
            (rng.random_bool(faults.reply_black_hole), rng.random_bool(faults.reply_cut))
        };
        if hole {
            self.silent = true;
            return self.swallow();
        }
        if !faults.reply_delay.is_zero() {
            self.core.count(|counts| counts.replies_delayed += 1);
        }
        let mut bytes = self.replayed(frame, expect, faults).unwrap_or_else(|| frame.raw.to_vec());
        if cut {
            self.core.count(|counts| counts.replies_cut += 1);
            bytes.truncate(bytes.len() / 2);
        }
        self.delivery.reply(bytes, Instant::now() + faults.reply_delay, cut);
    }

    /// The reply with other values in it, if any was replaced.
    fn replayed(&self, frame: &Frame<'_>, expect: &Expect, faults: &Faults) -> Option<Vec<u8>> {
        if faults.replay == 0.0 {
            return None;
        }
        match (expect, &frame.value) {
            (Expect::Value(key), _) => self.other(key, frame, faults),
            (Expect::Values(keys), Value::List(values)) if keys.len() == values.len() => {
                let others: Vec<_> =
                    keys.iter().zip(values).map(|(key, value)| self.other(key, value, faults)).collect();
                others.iter().any(Option::is_some).then(|| {
                    let mut bytes = format!("*{}\r\n", values.len()).into_bytes();
                    for (other, value) in others.iter().zip(values) {
                        bytes.extend(other.as_deref().unwrap_or(value.raw));
                    }
                    bytes
                })
            }
            _ => None,
        }
    }

    fn other(&self, key: &[u8], frame: &Frame<'_>, faults: &Faults) -> Option<Vec<u8>> {
        let current = match frame.value {
            Value::Bulk(value) => Some(value),
            Value::Null => None,
            // An error, or the promise of a transaction.
            _ => return None,
        };
        let rng = &mut locked(self.state).rng;
        if !rng.random_bool(faults.replay) {
            return None;
        }
        let memory = locked(&self.core.memory);
        let other = memory.other(key, current, faults.replay_age, Instant::now().into_std(), rng)?;
        self.core.count(|counts| counts.replayed += 1);
        Some(resp::bulk(other))
    }

    fn swallow(&mut self) {
        if self.silent {
            self.delivery.clear();
        }
        self.core.count(|counts| counts.swallowed += 1);
    }
}
