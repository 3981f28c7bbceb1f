//! What a client asks of Redis.

use std::{
    io,
    ops::Range,
    sync::{Mutex, atomic::Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::Notify,
    time::Instant,
};

use super::{
    Core, Link,
    command::{Command, Expect},
    connection::{READ, State},
    locked,
    traps::Sprung,
};
use crate::resp::{self, Malformed};

/// The longest command in the old form, a line of words.
const LONGEST_LINE: usize = 64 << 10;

/// The direction from a client to Redis.
pub(super) struct Requests<'a> {
    pub(super) core: &'a Core,
    pub(super) link: &'a Link,
    pub(super) state: &'a Mutex<State>,
    /// Told when there is something to be answered here.
    pub(super) own: &'a Notify,
}

/// What was read of the complete commands.
#[derive(Default)]
struct Taken {
    /// So many bytes are dealt with.
    length: usize,
    /// Of those, the ones that are not passed on.
    held: Vec<Range<usize>>,
    /// Nothing behind them is passed on.
    lost: bool,
}

impl Requests<'_> {
    /// Passes on what the client says until it ends.
    pub(super) async fn run(self, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> io::Result<()> {
        let mut read = Vec::with_capacity(READ);
        let mut lost = false;
        while client.read_buf(&mut read).await? > 0 {
            let taken = self.take(&read)?;
            let mut from = 0;
            let end = taken.length..taken.length;
            for held in taken.held.into_iter().chain(std::iter::once(end)) {
                // Whether the client learns that the server is gone is for the other direction to decide.
                lost = lost || server.write_all(&read[from..held.start]).await.is_err();
                from = held.end;
            }
            if taken.lost {
                return swallow(client).await;
            }
            read.drain(..taken.length);
            read.reserve(READ);
        }
        Ok(())
    }

    /// Notes the complete commands, before their replies can come.
    fn take(&self, read: &[u8]) -> Result<Taken, Malformed> {
        let mut taken = Taken::default();
        while let Some((length, sprung)) = self.take_one(&read[taken.length..])? {
            let end = taken.length + length;
            match sprung {
                Sprung::No => {}
                Sprung::Held => taken.held.push(taken.length..end),
                Sprung::Lost => {
                    taken.lost = true;
                    break;
                }
            }
            taken.length = end;
        }
        Ok(taken)
    }

    fn take_one(&self, read: &[u8]) -> Result<Option<(usize, Sprung)>, Malformed> {
        if read.is_empty() {
            return Ok(None);
        }
        if read[0] != b'*' {
            return match read.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    let words: Vec<_> =
                        read[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
                    self.note(&words);
                    Ok(Some((end + 1, Sprung::No)))
                }
                None if read.len() > LONGEST_LINE => Err(Malformed),
                None => Ok(None),
            };
        }
        let Some(frame) = resp::parse(read)? else {
            return Ok(None);
        };
        let words: Vec<_> = frame.value.elements().iter().filter_map(|word| word.value.text()).collect();
        let sprung = locked(&self.core.traps).see(&words, frame.raw);
        match sprung {
            Sprung::No => self.note(&words),
            Sprung::Held => {
                locked(self.state).awaited.push_back(Expect::Own);
                self.own.notify_one();
            }
            Sprung::Lost => {}
        }
        Ok(Some((frame.raw.len(), sprung)))
    }

    fn note(&self, words: &[&[u8]]) {
        // An empty line is no command and has no reply.
        if words.is_empty() {
            return;
        }
        self.core.count(|counts| counts.commands += 1);
        let command = Command::read(words);
        if command.subscribes {
            self.link.subscribed.store(true, Ordering::Relaxed);
        }
        let mut state = locked(self.state);
        if !command.sets.is_empty() {
            let mut memory = locked(&self.core.memory);
            for (key, value) in command.sets {
                memory.set(key, value, Instant::now().into_std(), &mut state.rng);
            }
        }
        state.awaited.push_back(command.expect);
    }
}

/// Takes whatever comes, and returns at its end.
async fn swallow(mut client: OwnedReadHalf) -> io::Result<()> {
    let mut lost = vec![0; READ];
    while client.read(&mut lost).await? > 0 {}
    Ok(())
}
