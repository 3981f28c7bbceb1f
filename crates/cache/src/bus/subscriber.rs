//! Receiving: the connection of the bus, and the queue between the connection and the applier.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use larder_back_off::BackOff;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::yield_now,
    time::{sleep, timeout},
};

use super::{
    codec::{self, Message},
    strangers::Strangers,
};
use crate::{
    changelog::Progress,
    l2::L2,
    peers::Peers,
    stats::{Counters, Source},
    time::{Clock, Jitter, now_micros},
    validity::{Applier, Copies, Validity},
};

/// Receives messages, applies their changes and hands the messages of peers on.
pub(crate) struct Subscriber<C> {
    parts: SubscriberParts<C>,
    connected: AtomicBool,
    /// Whether the log says that the bus is away.
    reported: AtomicBool,
    /// Microseconds from sending to applying the last message, by the clocks of both replicas.
    lag_micros: AtomicU64,
    strangers: Mutex<Strangers>,
}

/// What a [`Subscriber`] is made of.
pub(crate) struct SubscriberParts<C> {
    pub(crate) l2: Arc<L2>,
    pub(crate) validity: Arc<Validity>,
    pub(crate) applier: Arc<Applier<C>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) jitter: Arc<Jitter>,
    pub(crate) staleness_bound: Duration,
    /// Messages that may wait to be applied.
    pub(crate) queue: usize,
}

/// Messages applied before other tasks get a turn.
const APPLIED_AT_ONCE: usize = 64;
/// How often a silent connection is pinged.
const PING: Duration = Duration::from_secs(1);

impl<C: Copies> Subscriber<C> {
    pub(crate) fn new(parts: SubscriberParts<C>) -> Self {
        Self {
            parts,
            connected: AtomicBool::new(false),
            reported: AtomicBool::new(false),
            lag_micros: AtomicU64::new(0),
            strangers: Mutex::default(),
        }
    }

    /// Whether messages arrive.
    pub(crate) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The time from sending to applying the last message, by the clocks of both replicas.
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::Relaxed))
    }

    /// Whether another catalogue was found to use the same Redis under the same prefix.
    pub(crate) fn shares_prefix(&self) -> bool {
        self.strangers().is_shared()
    }

    /// Receives and applies messages until the future is dropped.
    pub(crate) async fn run(&self) {
        let (sender, receiver) = mpsc::channel(self.parts.queue.max(1));
        tokio::join!(self.subscribe(sender), self.apply_all_of(receiver));
    }

    /// Listens, and reconnects whenever the connection ends.
    async fn subscribe(&self, queue: mpsc::Sender<Vec<u8>>) {
        let mut back_off = BackOff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            let ended = self.listen(&queue, &mut back_off).await;
            self.parts.peers.stop_listening();
            if self.connected.swap(false, Ordering::Relaxed) {
                self.parts.counters.bus_losses.one();
            }
            if !self.reported.swap(true, Ordering::Relaxed) {
                tracing::warn!(error = ended, "bus is away, changes are found in the change log");
            }
            sleep(back_off.next(self.parts.jitter.unit())).await;
        }
    }

    /// Listens until the connection ends. Returns why it ended.
    async fn listen(&self, queue: &mpsc::Sender<Vec<u8>>, back_off: &mut BackOff) -> String {
        let l2 = &self.parts.l2;
        let limit = l2.connections.connect_timeout();
        let connection = match timeout(limit, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return error.to_string(),
            Err(_elapsed) => return "connecting timed out".to_owned(),
        };
        self.connected.store(true, Ordering::Relaxed);
        if self.reported.swap(false, Ordering::Relaxed) {
            tracing::info!("bus is connected again");
        }
        back_off.reset();
        self.parts.peers.start_listening();
        // The change log holds the changes that were sent while nobody listened.
        self.parts.progress.request();
        let (mut sink, mut stream) = connection.split();
        let changes = l2.channel();
        loop {
            match timeout(PING, stream.next()).await {
                Ok(Some(message)) if message.get_channel_name() == changes => {
                    self.enqueue(queue, message.get_payload_bytes());
                }
                Ok(Some(message)) => self.parts.peers.receive(message.get_payload_bytes()),
                Ok(None) => return "the connection was closed".to_owned(),
                Err(_elapsed) => match timeout(limit, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_elapsed) => return "no answer".to_owned(),
                },
            }
        }
    }

    async fn connect(&self) -> redis::RedisResult<redis::aio::PubSub> {
        let l2 = &self.parts.l2;
        let mut connection = l2.connections.subscriber().await?;
        connection.subscribe(l2.channel()).await?;
        // A user of Redis may be permitted to hear changes alone, which is what matters.
        if let Err(error) = connection.subscribe(&[l2.everybody(), l2.one(l2.replica)]).await {
            tracing::debug!(%error, "the other replicas cannot be heard");
        }
        Ok(connection)
    }

    /// Queues a message. Never waits: the reader of the connection must not be delayed.
    fn enqueue(&self, queue: &mpsc::Sender<Vec<u8>>, payload: &[u8]) {
        self.parts.counters.bus_messages.one();
        if let Err(TrySendError::Full(_)) = queue.try_send(payload.to_vec()) {
            self.parts.counters.bus_overflows.one();
            self.parts.progress.request();
        }
    }

    async fn apply_all_of(&self, mut queue: mpsc::Receiver<Vec<u8>>) {
        let mut payloads = Vec::with_capacity(APPLIED_AT_ONCE);
        while queue.recv_many(&mut payloads, APPLIED_AT_ONCE).await > 0 {
            for payload in payloads.drain(..) {
                self.apply(&payload);
            }
            yield_now().await;
        }
    }

    /// Applies the changes of a message.
    fn apply(&self, payload: &[u8]) {
        let SubscriberParts { l2, validity, applier, progress, counters, clock, staleness_bound, .. } = &self.parts;
        let Ok(Message { incarnation, sender, sent_micros, changes }) = codec::decode(payload) else {
            counters.bus_unknown.one();
            progress.request();
            return;
        };
        if sender == l2.replica {
            return;
        }
        self.lag_micros.store(now_micros().saturating_sub(sent_micros), Ordering::Relaxed);
        counters.bus_changes.add(changes.len() as u64);
        let strange = validity.followed().is_some_and(|followed| followed != incarnation);
        if strange
            && !progress.was_followed(incarnation)
            && self.strangers().hear(incarnation, clock.now(), *staleness_bound)
        {
            tracing::warn!(
                prefix = l2.prefix(),
                "another catalogue uses this Redis under the same prefix: give each a prefix of its own"
            );
        }
        applier.apply_all(Source::Bus, &changes, incarnation);
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
