//! What replicas over one Redis say to each other besides changes: that they are there, questions, and answers.
//!
//! All of it is information. Nothing of it is kept in Redis, whatever is lost is only missed, and what copies may be served does
//! not depend on it.

pub(crate) mod codec;
pub(crate) mod membership;
pub(crate) mod query;

pub use membership::Replica;
pub use query::{Answers, Confirmed};

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
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Cache, Freshness, Moment, Value,
    l2::{Away, L2},
    peers::codec::{Envelope, MOST_BYTES, PeerMessage, Question},
    peers::membership::{Introduction, Replicas},
    peers::query::Asked,
};

/// What a cache knows of the others and says to them.
pub(crate) struct Peers {
    started: Moment,
    introduction: OnceLock<Introduction>,
    replicas: Mutex<Replicas>,
    pub(crate) asked: Asked,
    handler: OnceLock<Handler>,
    /// Tasks that say something, waiting or not.
    tasks: Arc<Semaphore>,
    /// Questions that are being answered.
    answering: Semaphore,
    /// A hello is to be said.
    hello: AtomicBool,
    /// Goodbye has been said.
    left: AtomicBool,
    wake: Notify,
}

/// Answers what the server of another replica asks.
type Handler = Box<dyn Fn(Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// Tasks that may be about to say something; what more is asked is not answered.
const MOST_TASKS: usize = 256;
/// Questions answered at once.
const MOST_ANSWERED: usize = 16;
/// How often presence is repeated, less up to half of it.
const REPEATED: Duration = Duration::from_secs(2);
/// The wait for another try to say hello.
const RETRY: Duration = Duration::from_millis(50);

impl Peers {
    pub(crate) fn new(started: Moment) -> Self {
        Self {
            started,
            introduction: OnceLock::new(),
            replicas: Mutex::default(),
            asked: Asked::default(),
            handler: OnceLock::new(),
            tasks: Arc::new(Semaphore::new(MOST_TASKS)),
            answering: Semaphore::new(MOST_ANSWERED),
            hello: AtomicBool::new(true),
            left: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// It can be heard from now on.
    pub(crate) fn listening(&self) {
        self.hello.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn replicas(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Value> Cache<V> {
    /// Tells what the others may call this replica, as its host and port, and the version of its program; each is cut off at 128
    /// bytes. Counts once, and is best called before [`share`](Self::share).
    pub fn introduce(&self, name: &str, version: &str) {
        let _ = self.peers().introduction.set(Introduction::new(name, version));
    }

    /// Sets what answers the questions of other replicas, once; returns whether it was the first. An answer of more than
    /// 256 KiB is not given, and one that comes after the end of the question's time is not sent.
    pub fn on_question<F, Fut>(&self, answer: F) -> bool
    where
        F: Fn(Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Bytes> + Send + 'static,
    {
        self.peers().handler.set(Box::new(move |question| Box::pin(answer(question)))).is_ok()
    }

    /// The other replicas over the same Redis that were heard of within a minute, by name. A new one hears of the others at
    /// once, or within two seconds.
    pub fn replicas(&self) -> Vec<Replica> {
        self.peers().replicas().list(self.clock().now())
    }

    /// This replica, as the others know it; `None` where there is no Redis.
    pub fn this_replica(&self) -> Option<Replica> {
        let l2 = self.shared().l2.as_ref()?;
        let Introduction { name, version } = self.introduction();
        Some(Replica { id: l2.replica, name, version, age: self.age(), heard: Duration::ZERO, expected: true })
    }

    /// Says goodbye, so that nobody waits for this replica any more. It also does when [`share`](Self::share) ends, if its
    /// runtime goes on for long enough.
    pub async fn leave(&self) {
        let Some(l2) = &self.shared().l2 else { return };
        if !self.peers().left.swap(true, Ordering::SeqCst) {
            let _ = self.say(l2, &l2.everybody(), PeerMessage::Leave).await;
        }
    }

    /// Says that this replica is there, until the future is dropped; then says goodbye.
    pub(crate) async fn announce(&self, l2: &L2) {
        let peers = self.peers();
        peers.left.store(false, Ordering::SeqCst);
        let _leaving = Leaving(self.clone());
        loop {
            if self.bus_connected() != Some(true) {
                peers.wake.notified().await;
                continue;
            }
            let hello = peers.hello.swap(false, Ordering::SeqCst);
            let introduction = self.introduction();
            let said = if hello { PeerMessage::Join(introduction) } else { PeerMessage::Heartbeat(introduction) };
            let left = peers.left.load(Ordering::SeqCst);
            let missed = !left && self.say(l2, &l2.everybody(), said).await.is_err() && hello;
            if missed {
                peers.hello.store(true, Ordering::SeqCst);
            }
            tokio::select! {
                () = sleep(if missed { RETRY } else { self.jitter().part_of(REPEATED) }) => {}
                () = peers.wake.notified() => {}
            }
        }
    }

    /// Takes in what was said. Never waits: whoever reads the connection must not be held up.
    pub(crate) fn hear(&self, l2: &Arc<L2>, payload: &[u8]) {
        let Ok(Envelope { sender, age, said }) = Envelope::decode(payload) else {
            self.counters().talk_unknown.one();
            return;
        };
        if sender == l2.replica {
            return;
        }
        let (peers, now) = (self.peers(), self.clock().now());
        match said {
            PeerMessage::Join(introduction) => {
                peers.replicas().hear(sender, introduction, age, true, now);
                let present = PeerMessage::Heartbeat(self.introduction());
                self.say_later(l2, sender, async move |_| Some(present));
            }
            PeerMessage::Heartbeat(introduction) => peers.replicas().hear(sender, introduction, age, false, now),
            PeerMessage::Leave => {
                peers.replicas().leave(sender);
                peers.asked.leave(sender);
            }
            PeerMessage::Question { number, at_most, question } => {
                let late = peers.replicas().late(sender, age, now);
                let Some(left) = at_most.checked_sub(late).filter(|left| !left.is_zero()) else {
                    self.counters().talk_late.one();
                    return;
                };
                let deadline = Instant::now() + left;
                self.say_later(l2, sender, async move |cache| {
                    let answer = cache.answer_in_turn(question);
                    let answer = timeout_at(deadline, answer).await.ok().filter(|_| Instant::now() < deadline);
                    match answer {
                        Some(answer) => Some(PeerMessage::Answer { number, answer }),
                        None => {
                            cache.counters().talk_late.one();
                            None
                        }
                    }
                });
            }
            PeerMessage::Answer { number, answer } => peers.asked.take(number, sender, answer),
        }
    }

    pub(crate) async fn say(&self, l2: &L2, channel: &str, said: PeerMessage) -> Result<(), Away> {
        let word = Envelope { sender: l2.replica, age: self.age(), said };
        l2.say(channel, &word.encode(), self.counters()).await
    }

    /// Says something to one replica, as soon as it is known what; drops it when too much is to be said.
    fn say_later<F, Fut>(&self, l2: &Arc<L2>, to: u64, what: F)
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = Option<PeerMessage>> + Send,
    {
        let peers = self.peers();
        if peers.left.load(Ordering::SeqCst) {
            return;
        }
        let Ok(place) = Arc::clone(&peers.tasks).try_acquire_owned() else {
            self.counters().talk_dropped.one();
            return;
        };
        let (cache, l2) = (self.clone(), Arc::clone(l2));
        self.shared().runtime.spawn(async move {
            let _place: OwnedSemaphorePermit = place;
            if let Some(said) = what(cache.clone()).await {
                let _ = cache.say(&l2, &l2.one(to), said).await;
            }
        });
    }

    async fn answer_in_turn(&self, question: Question) -> Option<Bytes> {
        let _turn = self.peers().answering.acquire().await.ok()?;
        match question {
            Question::Learned(token) => {
                self.reach(Freshness::AtLeast(token)).await.ok()?;
                Some(Bytes::new())
            }
            Question::Server(question) => {
                let answer = self.peers().handler.get()?(question).await;
                if answer.len() > MOST_BYTES {
                    self.counters().talk_dropped.one();
                    return None;
                }
                Some(answer)
            }
        }
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.shared().peers
    }

    fn introduction(&self) -> Introduction {
        self.peers().introduction.get().cloned().unwrap_or_default()
    }

    fn age(&self) -> Duration {
        self.clock().now().since(self.peers().started)
    }
}

/// Says goodbye in the end.
struct Leaving<V: Value>(Cache<V>);

impl<V: Value> Drop for Leaving<V> {
    fn drop(&mut self) {
        let cache = self.0.clone();
        self.0.shared().runtime.spawn(async move { cache.leave().await });
    }
}
