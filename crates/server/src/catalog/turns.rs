//! Whose turn it is to write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_storage::StorageError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Calls that may wait for their turn; further ones are refused. A longer queue would outlast the wait.
const MOST_WAITING: usize = 4_096;
/// How long a write waits for its turn, as it then waits for a connection.
const WAIT: Duration = Duration::from_secs(5);
/// Writes that have their turn, for each connection: the second one keeps the connection busy when the first has ended.
const FOR_EACH_CONNECTION: usize = 2;

/// The turns of writes, in the order of their coming.
#[derive(Debug)]
pub(super) struct WriteTurns {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Which writes wait for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The write of a call. It is refused when too many wait.
    Call,
    /// A batch of an import, of which there are few at once. It waits as long as it takes.
    Import,
    /// An invalidation, by which operators and other systems put things right. It waits for no other write.
    Invalidation,
}

impl WriteTurns {
    pub(super) fn new(connections: usize) -> Self {
        let turns = (connections * FOR_EACH_CONNECTION).clamp(1, Semaphore::MAX_PERMITS);
        Self { turns: Arc::new(Semaphore::new(turns)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn, which lasts until the permit is dropped. `None` for a write that needs none.
    pub(super) async fn turn(&self, rank: Rank) -> Result<Option<OwnedSemaphorePermit>, StorageError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = match rank {
            Rank::Invalidation => return Ok(None),
            Rank::Import => turn.await,
            Rank::Call => {
                let before = self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting(&self.waiting);
                if before >= MOST_WAITING {
                    return Err(StorageError::Overloaded);
                }
                timeout(WAIT, turn).await.map_err(|elapsed| StorageError::Timeout(elapsed.into()))?
            }
        };
        turn.map(Some).map_err(|closed| StorageError::Unavailable(closed.into()))
    }
}

/// A waiting write, counted until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_wait_in_a_queue_of_bounded_length_and_time() {
        let turns = WriteTurns::new(1);
        let held = [turns.turn(Rank::Call).await.unwrap(), turns.turn(Rank::Import).await.unwrap()];
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(turns.turn(Rank::Call))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(matches!(turns.turn(Rank::Call).await, Err(StorageError::Overloaded)));
        assert!(turns.turn(Rank::Invalidation).await.unwrap().is_none());
        let mut import = Box::pin(turns.turn(Rank::Import));
        let ended = join_all(waiting).await;
        assert!(ended.iter().all(|turn| matches!(turn, Err(StorageError::Timeout(_)))));
        assert!((&mut import).now_or_never().is_none());
        drop(held);
        assert!(import.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_caller_who_leaves_gives_up_its_turn() {
        let turns = WriteTurns::new(1);
        let held = [turns.turn(Rank::Call).await.unwrap(), turns.turn(Rank::Call).await.unwrap()];
        let gone = Box::pin(turns.turn(Rank::Call));
        assert!(gone.now_or_never().is_none());
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
        drop(held);
        assert!(turns.turn(Rank::Call).now_or_never().is_some());
    }
}
