//! What has been read and is not committed yet, in order. Entries are numbered from 1, as several may be of one line.

use std::collections::VecDeque;

/// Entries that a window holds: several batches of the server.
const ENTRIES: usize = 2_000;
/// Bytes of products that a window holds; a server commits after far fewer.
const BYTES: usize = 16 << 20;

/// What is not committed yet.
#[derive(Debug)]
pub(super) struct Window<T> {
    entries: VecDeque<Entry<T>>,
    /// Entries that have been settled and taken out.
    gone: u64,
    bytes: usize,
    sent: usize,
}

/// One record.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// The line where it begins.
    pub(super) line: u64,
    /// The last line that nothing of the next one begins on.
    pub(super) last_line: u64,
    /// Where it ends in the file, in bytes.
    pub(super) end: u64,
    /// Its bytes, if they are kept.
    pub(super) raw: Vec<u8>,
    /// Bytes that it counts for.
    pub(super) bytes: usize,
    /// What it holds.
    pub(super) content: Content<T>,
}

/// What a record holds.
#[derive(Debug)]
pub(super) enum Content<T> {
    /// A product.
    Product(T),
    /// Something that is refused here: its id, as far as it is known, and the reason.
    Refused {
        /// The id.
        id: String,
        /// The reason.
        reason: String,
    },
}

impl<T> Window<T> {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), gone: 0, bytes: 0, sent: 0 }
    }

    /// Whether one more record may be read.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < ENTRIES && self.bytes < BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, entry: Entry<T>) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// The next product to send, and its number.
    pub(super) fn unsent(&mut self) -> Option<(u64, &T)> {
        while let Some(Entry { content: Content::Refused { .. }, .. }) = self.entries.get(self.sent) {
            self.sent += 1;
        }
        match self.entries.get(self.sent) {
            Some(Entry { content: Content::Product(product), .. }) => Some((self.gone + self.sent as u64 + 1, product)),
            _ => None,
        }
    }

    /// Notes that the product returned by [`Self::unsent`] has been sent.
    pub(super) fn mark_sent(&mut self) {
        self.sent += 1;
    }

    /// Notes that whatever was sent got lost with its connection.
    pub(super) fn unsend(&mut self) {
        self.sent = 0;
    }

    /// Whether products have been sent that nothing has been heard of.
    pub(super) fn awaits(&self) -> bool {
        self.entries.iter().take(self.sent).any(|entry| matches!(entry.content, Content::Product(_)))
    }

    /// The entry of a number.
    pub(super) fn find(&self, number: u64) -> Option<&Entry<T>> {
        let at = number.checked_sub(self.gone + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Takes the first entry if it is settled: sent and of a number up to `through`, or refused here.
    pub(super) fn settle(&mut self, through: u64) -> Option<Entry<T>> {
        let settled = match self.entries.front()?.content {
            Content::Refused { .. } => true,
            Content::Product(_) => self.sent > 0 && self.gone < through,
        };
        if !settled {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.gone += 1;
        self.bytes -= entry.bytes;
        self.sent = self.sent.saturating_sub(1);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: u64, product: bool) -> Entry<u64> {
        let refused = || Content::Refused { id: String::new(), reason: "bad".to_owned() };
        let content = if product { Content::Product(line * 10) } else { refused() };
        Entry { line, last_line: line, end: 0, raw: Vec::new(), bytes: 1, content }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let mut window = Window::new();
        for line in 1..=5 {
            window.push(entry(line, line != 3));
        }
        let mut sent = Vec::new();
        while let Some((line, _)) = window.unsent() {
            sent.push(line);
            window.mark_sent();
        }
        assert_eq!(sent, [1, 2, 4, 5]);
        assert!(window.awaits());

        let settled: Vec<u64> = std::iter::from_fn(|| window.settle(2)).map(|entry| entry.line).collect();
        assert_eq!(settled, [1, 2, 3], "a refused line is settled with those before it");
        assert!(window.find(3).is_none());

        window.unsend();
        assert!(!window.awaits());
        assert_eq!(window.unsent(), Some((4, &40)));
        assert!(window.settle(5).is_none(), "what was not sent is not settled");
        assert_eq!(window.find(5).map(|entry| entry.line), Some(5));
    }

    #[test]
    fn a_window_is_bounded() {
        let mut window = Window::new();
        while window.has_room() {
            let line = window.entries.len() as u64;
            window.push(entry(line, true));
        }
        assert_eq!(window.entries.len(), ENTRIES);
        let mut large = Window::new();
        large.push(Entry { bytes: BYTES, ..entry(1, true) });
        assert!(!large.has_room());
    }
}
