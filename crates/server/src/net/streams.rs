//! The streams of one connection, and their fair share of its thread.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use super::replies::InTime;

/// Streams of one connection that may wait for their first turn on the thread. The thread serves tasks in the order of their coming:
/// without a limit, whoever begins the most streams at once gets nearly all of its time. Clients with few streams at once never reach
/// the limit, and a connection that does still gets as much of the thread as the others leave.
const BEGINNING: usize = 32;

/// Runs the streams of a connection.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Beginning>>);

/// The streams that had no turn yet.
#[derive(Default)]
struct Beginning {
    tasks: usize,
    /// As many as the connection may have streams at most.
    waiting: VecDeque<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The first turn of a stream. The next stream may begin when this is dropped.
struct FirstTurn(Streams);

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Beginning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let turn = FirstTurn(self.clone());
        tokio::spawn(Stream { turn: Some(turn), stream: InTime::new(stream) });
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut beginning = self.lock();
        if beginning.tasks < BEGINNING {
            beginning.tasks += 1;
            drop(beginning);
            self.begin(stream);
        } else {
            beginning.waiting.push_back(Box::pin(stream));
        }
    }
}

impl Drop for FirstTurn {
    fn drop(&mut self) {
        let mut beginning = self.0.lock();
        let next = beginning.waiting.pop_front();
        beginning.tasks -= usize::from(next.is_none());
        drop(beginning);
        // Threads that end drop their tasks, and begin none.
        if let (Some(next), Ok(_)) = (next, tokio::runtime::Handle::try_current()) {
            self.0.begin(next);
        }
    }
}

pin_project! {
    /// A stream with its first turn, if it had none yet.
    struct Stream<F> {
        #[pin]
        stream: InTime<F>,
        turn: Option<FirstTurn>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.stream.poll(cx);
        *this.turn = None;
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    /// How many streams had a turn.
    #[derive(Clone, Default)]
    struct Turns(Arc<AtomicUsize>);

    impl Turns {
        fn of(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        fn count(&self) -> impl Future<Output = ()> + Send + 'static {
            let turns = self.clone();
            async move {
                turns.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    #[tokio::test]
    async fn a_connection_with_many_streams_leaves_turns_to_others() {
        let (many, few) = (Streams::default(), Streams::default());
        let (of_many, of_few) = (Turns::default(), Turns::default());
        (0..10 * BEGINNING).for_each(|_| many.execute(of_many.count()));
        few.execute(of_few.count());
        while of_few.of() == 0 {
            yield_now().await;
        }
        assert!(of_many.of() <= 2 * BEGINNING, "{} streams came first", of_many.of());
        while of_many.of() < 10 * BEGINNING {
            yield_now().await;
        }
        let beginning = many.lock();
        assert_eq!((beginning.tasks, beginning.waiting.len()), (0, 0));
    }

    #[tokio::test]
    async fn streams_that_wait_or_panic_hold_up_no_others() {
        let (streams, turns) = (Streams::default(), Turns::default());
        (0..BEGINNING).for_each(|_| streams.execute(std::future::pending()));
        (0..BEGINNING).for_each(|_| streams.execute(async { panic!("a stream that panics") }));
        streams.execute(turns.count());
        while turns.of() == 0 {
            yield_now().await;
        }
        assert_eq!(streams.lock().tasks, 0);
    }
}
