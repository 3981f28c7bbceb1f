//! Whose turn it is to write.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use larder_cache::trace::{self, ActiveSpan, SpanKind};
use larder_storage::StorageError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// Calls that may wait for their turn; further ones are refused. A longer queue would outlast the wait.
const MOST_WAITING: usize = 4_096;
/// Up to so many calls wait in the order of their coming; they all have their turn soon. When more wait, the newest one is next: the
/// oldest ones have waited so long that their deadlines pass before they are done, and the work for them would be in vain.
const IN_ORDER: usize = 64;
/// How long a write waits for its turn, as it then waits for a connection.
const WAIT: Duration = Duration::from_secs(5);
/// Writes that have their turn, for each connection: the second one keeps the connection busy when the first has ended.
const FOR_EACH_CONNECTION: usize = 2;

/// The turns of writes.
#[derive(Debug)]
pub(super) struct WriteTurns {
    calls: Arc<Calls>,
    /// Imports have turns of their own, so that newer calls do not keep them waiting for ever.
    imports: Arc<Semaphore>,
}

/// The turns of calls.
#[derive(Debug)]
struct Calls {
    state: Mutex<State>,
    /// A place for each call that waits.
    places: Semaphore,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// With calls that have given up since.
    queue: VecDeque<oneshot::Sender<CallTurn>>,
}

/// The turn of a write, until it is dropped.
#[derive(Debug)]
pub(super) enum Turn {
    Call(#[expect(dead_code, reason = "held for its end")] CallTurn),
    Import(#[expect(dead_code, reason = "held for its end")] OwnedSemaphorePermit),
    /// A write that waits for no other.
    Free,
}

/// The turn of a call. It goes to the next one when it is dropped.
#[derive(Debug)]
pub(super) struct CallTurn(Option<Arc<Calls>>);

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
        let state = State { free: (connections * FOR_EACH_CONNECTION).max(1), queue: VecDeque::new() };
        Self {
            calls: Arc::new(Calls { state: Mutex::new(state), places: Semaphore::new(MOST_WAITING) }),
            imports: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))),
        }
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
            Rank::Call => self.calls.turn().await.map(Turn::Call),
        }
    }
}

impl Calls {
    async fn turn(self: &Arc<Self>) -> Result<CallTurn, StorageError> {
        let _place = self.places.try_acquire().map_err(|_| StorageError::Overloaded)?;
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(CallTurn(Some(Arc::clone(self))));
            }
            if state.queue.len() >= 2 * MOST_WAITING {
                state.queue.retain(|waiting| !waiting.is_closed());
            }
            let (sender, turn) = oneshot::channel();
            state.queue.push_back(sender);
            turn
        };
        let wait = wait_span();
        let turn = timeout(WAIT, turn).await.map_err(|elapsed| {
            wait.fail("timeout");
            StorageError::Timeout(elapsed.into())
        })?;
        turn.map_err(|lost| StorageError::Unavailable(lost.into()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The span of a wait for a turn. A write that has its turn at once has none.
fn wait_span() -> ActiveSpan {
    let wait = trace::start("wait for turn", SpanKind::Internal);
    wait.note("larder.wait.for", "write_queue");
    wait
}

impl State {
    /// Whoever is next, if it still waits.
    fn next(&mut self) -> Option<oneshot::Sender<CallTurn>> {
        loop {
            let next = if self.queue.len() > IN_ORDER { self.queue.pop_back() } else { self.queue.pop_front() };
            if next.as_ref().is_none_or(|next| !next.is_closed()) {
                return next;
            }
        }
    }
}

impl Drop for CallTurn {
    fn drop(&mut self) {
        let Some(calls) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = calls.lock();
                let next = state.next();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Self(Some(Arc::clone(&calls)))) {
                Ok(()) => return,
                // It has given up meanwhile; its turn must not be passed on twice.
                Err(mut refused) => drop(refused.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    /// A queue whose two turns are taken.
    async fn taken() -> (WriteTurns, [Turn; 2]) {
        let turns = WriteTurns::new(1);
        let held = [turns.turn(Rank::Call).await.unwrap(), turns.turn(Rank::Call).await.unwrap()];
        (turns, held)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_in_a_queue_of_bounded_length_and_time() {
        let (turns, held) = taken().await;
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(turns.turn(Rank::Call))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(matches!(turns.turn(Rank::Call).await, Err(StorageError::Overloaded)));
        assert!(matches!(turns.turn(Rank::Invalidation).await, Ok(Turn::Free)));
        assert!(matches!(turns.turn(Rank::Import).await, Ok(Turn::Import(_))));
        let ended = join_all(waiting).await;
        assert!(ended.iter().all(|turn| matches!(turn, Err(StorageError::Timeout(_)))));
        drop(held);
        assert_eq!(turns.calls.lock().free, 2);
        assert!(turns.turn(Rank::Call).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_caller_who_leaves_gives_up_its_turn() {
        let (turns, held) = taken().await;
        let mut gone = Box::pin(turns.turn(Rank::Call));
        assert!((&mut gone).now_or_never().is_none());
        let mut served = Box::pin(turns.turn(Rank::Call));
        assert!((&mut served).now_or_never().is_none());
        drop(held);
        // Both have their turn by now, and the first does not take it.
        drop(gone);
        drop(served.await.unwrap());
        assert_eq!((turns.calls.lock().free, turns.calls.places.available_permits()), (2, MOST_WAITING));
    }

    #[tokio::test]
    async fn the_newest_of_many_is_next_and_few_wait_in_order() {
        let (turns, mut held) = taken().await;
        let mut waiting: Vec<_> = (0..IN_ORDER + 2).map(|_| Box::pin(turns.turn(Rank::Call))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        for next in [IN_ORDER + 1, IN_ORDER, 0, 0] {
            held[0] = Turn::Free;
            let mut turn = waiting.remove(next);
            held[0] = (&mut turn).now_or_never().expect("the next one's turn").unwrap();
            assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        }
    }
}
