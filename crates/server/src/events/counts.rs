//! What became of events.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of events since the start, by what became of them.
#[derive(Debug, Default)]
pub(crate) struct EventCounts {
    webhooks: [AtomicU64; WEBHOOKS.len()],
    queue: [AtomicU64; QUEUE.len()],
}

/// What became of a webhook.
#[derive(Debug, Clone, Copy)]
pub(super) enum WebhookOutcome {
    /// Its rows are committed.
    Accepted,
    /// It came before, and was accepted then.
    Repeated,
    /// It is not genuine, not right, or a copy.
    Refused,
    /// It was not written down; its sender tries again.
    Failed,
}

/// What became of an entry of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum QueueOutcome {
    /// Its rows are committed.
    Accepted,
    /// It was put aside.
    Buried,
}

/// The outcomes in metrics, in the order of [`WebhookOutcome`].
const WEBHOOKS: [&str; 4] = ["accepted", "repeated", "refused", "failed"];
/// The outcomes in metrics, in the order of [`QueueOutcome`].
const QUEUE: [&str; 2] = ["accepted", "buried"];

impl EventCounts {
    pub(super) fn webhook(&self, outcome: WebhookOutcome) {
        self.webhooks[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn entries(&self, outcome: QueueOutcome, entries: usize) {
        self.queue[outcome as usize].fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// The webhooks of each outcome.
    pub(crate) fn webhooks(&self) -> impl Iterator<Item = (&'static str, u64)> {
        read(WEBHOOKS, &self.webhooks)
    }

    /// The entries of the queue of each outcome.
    pub(crate) fn queue(&self) -> impl Iterator<Item = (&'static str, u64)> {
        read(QUEUE, &self.queue)
    }
}

fn read<const N: usize>(
    names: [&'static str; N],
    counts: &[AtomicU64; N],
) -> impl Iterator<Item = (&'static str, u64)> {
    names.into_iter().zip(counts.iter().map(|count| count.load(Ordering::Relaxed)))
}
