//! Messages that have begun and not ended: how much room they take, and how long.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::body::PREFIX;

/// Bytes of all unfinished messages together.
const ROOM: usize = 64 << 20;
/// A message of this size always has room, so that large ones do not keep small ones out.
const SMALL: usize = 64 << 10;

/// The room for unfinished messages, and the time for each.
#[derive(Debug, Clone)]
pub(super) struct Room {
    taken: Arc<AtomicUsize>,
    time: Duration,
}

impl Room {
    pub(super) fn new(time: Duration) -> Self {
        Self { taken: Arc::default(), time }
    }
}

/// The unfinished message of one body.
#[derive(Debug)]
pub(super) struct Unfinished {
    room: Room,
    prefix: [u8; PREFIX],
    prefix_read: usize,
    left: usize,
    /// Bytes of the message that have come.
    read: usize,
    /// Bytes that are counted in the room.
    counted: usize,
    /// Runs while the message is awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Unfinished {
    pub(super) fn new(room: Room) -> Self {
        Self { room, prefix: [0; PREFIX], prefix_read: 0, left: 0, read: 0, counted: 0, timer: None }
    }

    /// Takes the next bytes of the body; false when there is no room for them.
    pub(super) fn take(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            if self.prefix_read < PREFIX {
                let read = data.len().min(PREFIX - self.prefix_read);
                self.prefix[self.prefix_read..][..read].copy_from_slice(&data[..read]);
                self.prefix_read += read;
                data = &data[read..];
                if self.prefix_read < PREFIX {
                    break;
                }
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
            }
            let read = data.len().min(self.left);
            self.left -= read;
            self.read += read;
            data = &data[read..];
            if self.left == 0 {
                (self.prefix_read, self.read, self.timer) = (0, 0, None);
            }
        }
        self.count(self.read)
    }

    /// Counts the bytes of the message in the room.
    fn count(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL && self.counted == 0 {
            return true;
        }
        self.room.taken.fetch_sub(self.counted, Ordering::Relaxed);
        let before = self.room.taken.fetch_add(bytes, Ordering::Relaxed);
        self.counted = bytes;
        bytes <= SMALL || before + bytes <= ROOM
    }

    /// Waits for the rest of the message; ready when that has taken too long.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.prefix_read == 0 {
            return Poll::Pending;
        }
        let time = self.room.time;
        self.timer.get_or_insert_with(|| Box::pin(sleep(time))).as_mut().poll(cx)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(length: u32, came: usize) -> Vec<u8> {
        [&[0][..], &length.to_be_bytes(), &vec![7; came]].concat()
    }

    #[test]
    fn large_unfinished_messages_take_room_until_they_end() {
        let room = Room::new(Duration::from_secs(1));
        let mut held = Vec::new();
        while held.len() < 100 {
            let mut message = Unfinished::new(room.clone());
            let fits = message.take(&begun(4 << 20, 3 << 20));
            held.push(message);
            if !fits {
                break;
            }
        }
        assert_eq!(held.len(), 22, "of 3 MiB each");
        let mut small = Unfinished::new(room.clone());
        assert!(small.take(&begun(100_000, SMALL)));
        held.pop();
        for message in &mut held {
            assert!(message.take(&vec![7; 1 << 20]));
        }
        assert_eq!(room.taken.load(Ordering::Relaxed), 0, "none is unfinished");
        drop(held);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn messages_end_where_they_say_however_they_are_cut() {
        let body = [begun(300, 300), begun(0, 0), begun(70_000, 70_000)].concat();
        for piece in [1, 3, 5, 1_000, body.len()] {
            let mut message = Unfinished::new(Room::new(Duration::from_secs(1)));
            for data in body.chunks(piece) {
                assert!(message.take(data));
            }
            assert_eq!((message.prefix_read, message.left, message.counted), (0, 0, 0), "{piece}");
        }
    }
}
