//! Messages between the replicas over one Redis, besides changes: presence, questions and answers.
//!
//! All of these messages are informational. Redis keeps none of them, a lost message is only missed, and no decision to serve a copy
//! depends on them.

pub(crate) mod codec;
mod membership;
mod query;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

use self::{
    codec::{Envelope, MOST_BYTES, PeerMessage, Query},
    membership::{Introduction, Membership},
    query::PendingQueries,
};
use crate::{
    changelog::Commits,
    l2::{Away, L2},
    stats::Counters,
    time::{Clock, Jitter, Moment},
};

pub use self::{
    membership::Replica,
    query::{Answers, Confirmed},
};

/// What a replica knows about its peers, and what it sends them.
pub(crate) struct Peers {
    /// `None` where there is no Redis, and so no peers.
    l2: Option<Arc<L2>>,
    commits: Arc<Commits>,
    counters: Arc<Counters>,
    clock: Clock,
    jitter: Arc<Jitter>,
    runtime: Handle,
    started: Moment,
    introduction: OnceLock<Introduction>,
    membership: Mutex<Membership>,
    pending: PendingQueries,
    handler: OnceLock<Handler>,
    /// Limits the tasks that send or are about to.
    tasks: Arc<Semaphore>,
    /// Limits the questions that are being answered.
    answering: Semaphore,
    /// Whether messages of peers arrive.
    listening: AtomicBool,
    /// Whether a join is to be sent.
    join: AtomicBool,
    /// Whether a leave has been sent.
    left: AtomicBool,
    wake: Notify,
}

/// What [`Peers`] is made of.
pub(crate) struct PeerParts {
    pub(crate) l2: Option<Arc<L2>>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) jitter: Arc<Jitter>,
    pub(crate) runtime: Handle,
}

/// Answers the questions of the servers of other replicas.
type Handler = Box<dyn Fn(Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// Tasks that may be about to send; a question beyond that is not answered.
const MOST_TASKS: usize = 256;
/// Questions answered concurrently.
const MOST_ANSWERED: usize = 16;
/// How often a heartbeat is sent, less up to half of it.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The wait before a join is sent again.
const RETRY: Duration = Duration::from_millis(50);

impl Peers {
    pub(crate) fn new(parts: PeerParts) -> Self {
        let PeerParts { l2, commits, counters, clock, jitter, runtime } = parts;
        Self {
            l2,
            commits,
            counters,
            started: clock.now(),
            clock,
            jitter,
            runtime,
            introduction: OnceLock::new(),
            membership: Mutex::default(),
            pending: PendingQueries::default(),
            handler: OnceLock::new(),
            tasks: Arc::new(Semaphore::new(MOST_TASKS)),
            answering: Semaphore::new(MOST_ANSWERED),
            listening: AtomicBool::new(false),
            join: AtomicBool::new(true),
            left: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Records that messages of peers arrive from now on, and sends a join.
    pub(crate) fn start_listening(&self) {
        self.listening.store(true, Ordering::SeqCst);
        self.join.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Records that messages of peers no longer arrive.
    pub(crate) fn stop_listening(&self) {
        self.listening.store(false, Ordering::SeqCst);
    }

    /// Sets what peers may call this replica, once. Name and version are each cut off at 128 bytes.
    pub(crate) fn introduce(&self, name: &str, version: &str) {
        let _ = self.introduction.set(Introduction::new(name, version));
    }

    /// Sets the handler of questions, once. Returns whether it was the first.
    pub(crate) fn on_question<F, Fut>(&self, answer: F) -> bool
    where
        F: Fn(Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Bytes> + Send + 'static,
    {
        self.handler.set(Box::new(move |question| Box::pin(answer(question)))).is_ok()
    }

    /// The peers that were heard of within a minute, by name.
    pub(crate) fn replicas(&self) -> Vec<Replica> {
        self.membership().list(self.clock.now())
    }

    /// This replica, as its peers know it; `None` where there is no Redis.
    pub(crate) fn this_replica(&self) -> Option<Replica> {
        let l2 = self.l2.as_ref()?;
        let Introduction { name, version } = self.introduction();
        Some(Replica { id: l2.replica, name, version, age: self.age(), heard: Duration::ZERO, expected: true })
    }

    /// Sends a leave, once, so that no peer waits for this replica any more.
    pub(crate) async fn leave(&self) {
        let Some(l2) = &self.l2 else { return };
        if !self.left.swap(true, Ordering::SeqCst) {
            let _ = self.send(&l2.everybody(), PeerMessage::Leave).await;
        }
    }

    /// Sends joins and heartbeats until the future is dropped, and then a leave.
    pub(crate) async fn announce(self: &Arc<Self>) {
        let Some(l2) = &self.l2 else { return };
        self.left.store(false, Ordering::SeqCst);
        let _leaving = Leaving(Arc::clone(self));
        loop {
            if !self.is_listening() {
                self.wake.notified().await;
                continue;
            }
            let join = self.join.swap(false, Ordering::SeqCst);
            let introduction = self.introduction();
            let message = if join { PeerMessage::Join(introduction) } else { PeerMessage::Heartbeat(introduction) };
            let left = self.left.load(Ordering::SeqCst);
            let missed = !left && self.send(&l2.everybody(), message).await.is_err() && join;
            if missed {
                self.join.store(true, Ordering::SeqCst);
            }
            tokio::select! {
                () = sleep(if missed { RETRY } else { self.jitter.part_of(HEARTBEAT) }) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Takes in a message. Never waits: the reader of the connection must not be delayed.
    pub(crate) fn receive(self: &Arc<Self>, payload: &[u8]) {
        let Ok(Envelope { sender, age, message }) = Envelope::decode(payload) else {
            self.counters.peer_unknown.one();
            return;
        };
        if self.l2.as_ref().is_none_or(|l2| l2.replica == sender) {
            return;
        }
        let now = self.clock.now();
        match message {
            PeerMessage::Join(introduction) => {
                self.membership().join(sender, introduction, age, now);
                let heartbeat = PeerMessage::Heartbeat(self.introduction());
                self.send_later(sender, async move |_| Some(heartbeat));
            }
            PeerMessage::Heartbeat(introduction) => self.membership().heartbeat(sender, introduction, age, now),
            PeerMessage::Leave => {
                self.membership().leave(sender);
                self.pending.leave(sender);
            }
            PeerMessage::Question { number, at_most, query } => {
                let late = self.membership().late(sender, age, now);
                let Some(left) = at_most.checked_sub(late).filter(|left| !left.is_zero()) else {
                    self.counters.peer_late.one();
                    return;
                };
                let deadline = Instant::now() + left;
                self.send_later(sender, async move |peers| {
                    let answer = timeout_at(deadline, peers.answer_in_turn(query)).await;
                    match answer.ok().filter(|_| Instant::now() < deadline) {
                        Some(answer) => Some(PeerMessage::Answer { number, answer }),
                        None => {
                            peers.counters.peer_late.one();
                            None
                        }
                    }
                });
            }
            PeerMessage::Answer { number, answer } => self.pending.take(number, sender, answer),
        }
    }

    fn is_listening(&self) -> bool {
        self.listening.load(Ordering::SeqCst)
    }

    async fn send(&self, channel: &str, message: PeerMessage) -> Result<(), Away> {
        let Some(l2) = &self.l2 else { return Err(Away) };
        let envelope = Envelope { sender: l2.replica, age: self.age(), message };
        l2.say(channel, &envelope.encode()).await
    }

    /// Sends a message to one replica once the message is ready. Drops it when too many tasks are sending.
    fn send_later<F, Fut>(self: &Arc<Self>, to: u64, message: F)
    where
        F: FnOnce(Arc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = Option<PeerMessage>> + Send,
    {
        let Some(l2) = &self.l2 else { return };
        if self.left.load(Ordering::SeqCst) {
            return;
        }
        let Ok(slot) = Arc::clone(&self.tasks).try_acquire_owned() else {
            self.counters.peer_dropped.one();
            return;
        };
        let (peers, channel) = (Arc::clone(self), l2.one(to));
        self.runtime.spawn(async move {
            let _slot: OwnedSemaphorePermit = slot;
            if let Some(message) = message(Arc::clone(&peers)).await {
                let _ = peers.send(&channel, message).await;
            }
        });
    }

    async fn answer_in_turn(&self, query: Query) -> Option<Bytes> {
        let _turn = self.answering.acquire().await.ok()?;
        match query {
            Query::Applied(token) => {
                self.commits.reach(token).await.ok()?;
                Some(Bytes::new())
            }
            Query::Server(question) => {
                let answer = self.handler.get()?(question).await;
                if answer.len() > MOST_BYTES {
                    self.counters.peer_dropped.one();
                    return None;
                }
                Some(answer)
            }
        }
    }

    fn introduction(&self) -> Introduction {
        self.introduction.get().cloned().unwrap_or_default()
    }

    fn age(&self) -> Duration {
        self.clock.now().since(self.started)
    }

    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a leave when it is dropped.
struct Leaving(Arc<Peers>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let peers = Arc::clone(&self.0);
        self.0.runtime.spawn(async move { peers.leave().await });
    }
}
