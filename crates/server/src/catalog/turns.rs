//! Whose turn it is to write.

use std::{sync::Arc, time::Duration};

use larder_cache::{
    TooMany, Turn as CallTurn, Turns,
    trace::{self, ActiveSpan, SpanKind},
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

/// The turns of writes.
#[derive(Debug)]
pub(super) struct WriteTurns {
    calls: Arc<Turns>,
    /// Imports have turns of their own, so that newer calls do not keep them waiting for ever.
    imports: Arc<Semaphore>,
}

/// The turn of a write, until it is dropped.
#[derive(Debug)]
pub(super) enum Turn {
    Call(#[expect(dead_code, reason = "held for its end")] CallTurn),
    Import(#[expect(dead_code, reason = "held for its end")] OwnedSemaphorePermit),
    /// A write that waits for no other.
    Free,
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
        Self {
            calls: Turns::new(connections * FOR_EACH_CONNECTION, MOST_WAITING),
            imports: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Whether a write would be refused now.
    pub(super) fn are_too_many(&self, rank: Rank) -> bool {
        rank == Rank::Call && !self.calls.have_room()
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self, rank: Rank) -> Result<Turn, StorageError> {
        match rank {
            Rank::Invalidation => Ok(Turn::Free),
            Rank::Import => {
                if let Ok(turn) = Arc::clone(&self.imports).try_acquire_owned() {
                    return Ok(Turn::Import(turn));
                }
                let _wait = wait_span();
                let turn = Arc::clone(&self.imports).acquire_owned().await;
                turn.map(Turn::Import).map_err(|closed| StorageError::Unavailable(closed.into()))
            }
            Rank::Call => {
                if let Some(turn) = self.calls.try_turn() {
                    return Ok(Turn::Call(turn));
                }
                let wait = wait_span();
                let turn = timeout(WAIT, self.calls.turn()).await.map_err(|elapsed| {
                    wait.fail("timeout");
                    StorageError::Timeout(elapsed.into())
                })?;
                turn.map(Turn::Call).map_err(|TooMany| {
                    wait.fail("queue_full");
                    StorageError::Overloaded
                })
            }
        }
    }
}

/// The span of a wait for a turn. A write that has its turn at once has none.
fn wait_span() -> ActiveSpan {
    let wait = trace::start("wait for turn", SpanKind::Internal);
    wait.note("larder.wait.for", "write_queue");
    wait
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_wait_in_a_queue_of_bounded_length_and_time() {
        let turns = WriteTurns::new(1);
        let held = [turns.turn(Rank::Call).await.unwrap(), turns.turn(Rank::Call).await.unwrap()];
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(turns.turn(Rank::Call))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(turns.are_too_many(Rank::Call) && !turns.are_too_many(Rank::Import));
        assert!(matches!(turns.turn(Rank::Call).await, Err(StorageError::Overloaded)));
        assert!(matches!(turns.turn(Rank::Invalidation).await, Ok(Turn::Free)));
        assert!(matches!(turns.turn(Rank::Import).await, Ok(Turn::Import(_))));
        let ended = join_all(waiting).await;
        assert!(ended.iter().all(|turn| matches!(turn, Err(StorageError::Timeout(_)))));
        drop(held);
        assert_eq!(turns.calls.free(), 2);
        assert!(turns.turn(Rank::Call).now_or_never().is_some());
    }
}
