//! Whose turn it is, where only some may work at once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

/// Up to so many wait in the order of their coming; they all have their turn soon. When more wait, the newest one is next: the oldest
/// ones have waited so long that their deadlines pass before they are done, and the work for them would be in vain.
const IN_ORDER: usize = 64;

/// Turns, of which some are taken at once and a bounded number is waited for.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// With those that have given up since.
    queue: VecDeque<oneshot::Sender<Turn>>,
}

/// A turn. It goes to the next one when it is dropped.
#[derive(Debug)]
pub struct Turn(Option<Arc<Turns>>);

/// Too many wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Turns {
    /// So many turns at once, at least one, and so many that wait at most.
    pub fn new(at_once: usize, most_waiting: usize) -> Arc<Self> {
        let state = State { free: at_once.max(1), queue: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), waiting: AtomicUsize::new(0), most_waiting })
    }

    /// A turn that is free now.
    pub fn try_turn(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Turn(Some(Arc::clone(self))))
    }

    /// Waits for a turn.
    pub async fn turn(self: &Arc<Self>) -> Result<Turn, TooMany> {
        let receiver = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            if self.waiting() >= self.most_waiting {
                return Err(TooMany);
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
            if state.queue.len() >= 2 * self.most_waiting {
                state.queue.retain(|waiting| !waiting.is_closed());
            }
            let (sender, receiver) = oneshot::channel();
            state.queue.push_back(sender);
            receiver
        };
        let _waiting = Waiting(&self.waiting);
        // Whoever waits is never forgotten.
        receiver.await.map_err(|_| TooMany)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether one more would have a turn, now or after a wait.
    pub fn have_room(&self) -> bool {
        self.waiting() < self.most_waiting || self.free() > 0
    }

    /// How many turns nobody has.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whoever is next, if it still waits.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let next = if self.queue.len() > IN_ORDER { self.queue.pop_back() } else { self.queue.pop_front() };
            if next.as_ref().is_none_or(|next| !next.is_closed()) {
                return next;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = turns.lock();
                let next = state.next();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Self(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // It has given up meanwhile; its turn must not be passed on twice.
                Err(mut refused) => drop(refused.0.take()),
            }
        }
    }
}

/// One that waits, counted until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MOST: usize = 1_000;

    /// Two turns, which are taken.
    fn taken() -> (Arc<Turns>, [Option<Turn>; 2]) {
        let turns = Turns::new(2, MOST);
        let held = [(); 2].map(|()| turns.turn().now_or_never().map(|turn| turn.unwrap()));
        assert!(held.iter().all(Option::is_some));
        (turns, held)
    }

    #[test]
    fn so_many_may_wait_and_others_are_refused() {
        let (turns, held) = taken();
        let mut waiting: Vec<_> = (0..MOST).map(|_| Box::pin(turns.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(!turns.have_room());
        assert!(matches!(turns.turn().now_or_never(), Some(Err(TooMany))));
        drop(waiting);
        drop(held);
        assert_eq!((turns.free(), turns.waiting()), (2, 0));
    }

    #[test]
    fn those_who_leave_give_up_their_turns() {
        let (turns, held) = taken();
        let [mut gone, mut served] = [(); 2].map(|()| Box::pin(turns.turn()));
        assert!((&mut gone).now_or_never().is_none() && (&mut served).now_or_never().is_none());
        drop(held);
        // Both have their turn by now, and the first does not take it.
        drop(gone);
        drop(served.now_or_never().expect("a turn").unwrap());
        assert_eq!((turns.free(), turns.waiting()), (2, 0));
    }

    #[test]
    fn the_newest_of_many_is_next_and_few_wait_in_order() {
        let (turns, [mut held, _other]) = taken();
        let mut waiting: Vec<_> = (0..IN_ORDER + 2).map(|_| Box::pin(turns.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        for next in [IN_ORDER + 1, IN_ORDER, 0, 0] {
            drop(held.take());
            let mut turn = waiting.remove(next);
            held = Some((&mut turn).now_or_never().expect("the next one's turn").unwrap());
            assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        }
    }
}
