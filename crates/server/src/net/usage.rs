//! What a connection is being used for.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use tokio::sync::Notify;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The client has not sent its whole preface and settings.
    Silent,
    /// The client has, and no call.
    Greeted,
    /// The client has had a call.
    Called,
}

/// The use of one connection, as its thread and the listener see it.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    calls: AtomicUsize,
    greeted: AtomicBool,
    called: AtomicBool,
    #[cfg(test)]
    ending: AtomicBool,
    end: Notify,
    /// Bytes of replies that were handed to HTTP/2 and are not on the wire.
    unsent: AtomicUsize,
    /// Pieces of replies that have left.
    sent: AtomicU64,
    /// Replies that wait until unsent bytes have left.
    waiting: Mutex<Vec<Waker>>,
}

/// A call in progress, until the last byte of its reply is on the wire.
#[derive(Debug)]
pub(crate) struct CallGuard(Arc<Usage>);

impl Usage {
    pub(crate) fn stage(&self) -> Stage {
        if self.called.load(Ordering::Relaxed) {
            Stage::Called
        } else if self.greeted.load(Ordering::Relaxed) {
            Stage::Greeted
        } else {
            Stage::Silent
        }
    }

    pub(crate) fn greet(&self) {
        self.greeted.store(true, Ordering::Relaxed);
    }

    /// Whether no call is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn begin(self: &Arc<Self>) -> CallGuard {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.called.store(true, Ordering::Relaxed);
        CallGuard(Arc::clone(self))
    }

    /// Tells the connection to end.
    pub(crate) fn end(&self) {
        #[cfg(test)]
        self.ending.store(true, Ordering::Relaxed);
        self.end.notify_one();
    }

    /// Whether the connection was told to end.
    #[cfg(test)]
    pub(crate) fn has_to_end(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits until the connection is told to end.
    pub(crate) async fn told_to_end(&self) {
        self.end.notified().await;
    }
}

impl Usage {
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Pieces of replies that have left so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Counts bytes that HTTP/2 gets.
    pub(crate) fn hold(&self, bytes: usize) {
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that have left, and wakes the replies that wait for that.
    pub(crate) fn release(&self, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
        let woken = mem::take(&mut *waiting);
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether at most `most` bytes are unsent. If not, `waker` is woken when some have left.
    pub(crate) fn has_room(&self, most: usize, waker: &Waker) -> bool {
        if self.unsent() <= most {
            return true;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.unsent() <= most {
            return true;
        }
        waiting.push(waker.clone());
        false
    }
}

impl CallGuard {
    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.0
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
