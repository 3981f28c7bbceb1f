//! The bus: Redis pub/sub that brings changes to every replica at once. What it loses the follower finds.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::StreamExt as _;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::yield_now,
    time::{sleep, timeout},
};

use crate::{
    Cache, Change, Counters, Incarnation, Moment, Value,
    bus::codec::{self, Message},
    l2::{BackOff, L2},
    stats::invalidations::Source,
};

/// What is known of the bus.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    connected: AtomicBool,
    reported: AtomicBool,
    /// Microseconds from sending to learning, of the last message, by the clocks of both replicas.
    lag_micros: AtomicU64,
    strangers: Mutex<Strangers>,
}

/// Incarnations that messages tell of and this replica never followed.
#[derive(Debug, Default)]
struct Strangers {
    /// With when they were first heard of; the newest last.
    heard: Vec<(Incarnation, Moment)>,
    /// Those that this replica followed, the newest last.
    former: Vec<Incarnation>,
    shared: bool,
}

/// Incarnations remembered of either kind.
const MOST_STRANGERS: usize = 16;
/// Staleness bounds after which an incarnation that is still heard of is another catalogue's: a replica that has not noticed yet
/// that the database is another one does so within one.
const STRANGE_AFTER: u32 = 10;

/// Messages learned before other tasks get their turn.
const LEARNED_AT_ONCE: usize = 64;
/// A connection that brings nothing is asked this often whether its other end is there.
const PING: Duration = Duration::from_secs(1);

impl Bus {
    /// Whether messages come in.
    pub(crate) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The time from sending to learning of the last message.
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::Relaxed))
    }

    /// Messages of an incarnation that was followed until now may still come in.
    pub(crate) fn was_ours(&self, incarnation: Incarnation) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.former.len() == MOST_STRANGERS {
            strangers.former.remove(0);
        }
        strangers.former.push(incarnation);
    }

    /// A message came of an incarnation that is not followed. Returns whether that tells for the first time that another catalogue
    /// uses this Redis and prefix.
    fn hear_stranger(&self, incarnation: Incarnation, now: Moment, bound: Duration) -> bool {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.shared || strangers.former.contains(&incarnation) {
            return false;
        }
        let Some((_, first)) = strangers.heard.iter().find(|(of, _)| *of == incarnation) else {
            if strangers.heard.len() == MOST_STRANGERS {
                strangers.heard.remove(0);
            }
            strangers.heard.push((incarnation, now));
            return false;
        };
        strangers.shared = now.since(*first) > bound * STRANGE_AFTER;
        strangers.shared
    }

    fn is_shared(&self) -> bool {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).shared
    }
}

/// Writes messages for other replicas.
pub(crate) fn messages(incarnation: Incarnation, sender: u64, changes: &[Change]) -> Vec<Vec<u8>> {
    codec::encode(incarnation, sender, now_micros(), changes)
}

impl<V: Value> Cache<V> {
    /// Whether another catalogue was found to use the same Redis under the same prefix. Each is right for itself, and hears news that
    /// is none of its business.
    pub fn shares_prefix(&self) -> bool {
        self.bus().is_shared()
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.shared().bus
    }

    /// Takes part in the shared tier until the future is dropped: keeps its connections up, learns what the bus brings and
    /// writes what is to be written behind. Returns at once where there is no shared tier.
    pub async fn share(self) {
        let Some(l2) = self.shared().l2.as_ref().map(Arc::clone) else { return };
        let config = self.config().shared.as_ref();
        let (sender, receiver) = mpsc::channel(config.map_or(1, |config| config.bus_queue.max(1)));
        tokio::join!(
            l2.link.keep(self.jitter(), self.counters()),
            self.subscribe(&l2, sender),
            self.apply_all_of(receiver, l2.replica),
            self.write_behind(&l2),
            self.share_hot(&l2),
            self.announce(&l2),
        );
    }

    /// Listens, and connects again whenever that ends.
    async fn subscribe(&self, l2: &Arc<L2>, queue: mpsc::Sender<Vec<u8>>) {
        let mut back_off = BackOff::new(Duration::from_millis(20), Duration::from_secs(1));
        let bus = &self.shared().bus;
        loop {
            let ended = self.listen(l2, &queue, &mut back_off).await;
            if bus.connected.swap(false, Ordering::Relaxed) {
                self.counters().bus_losses.one();
            }
            if !bus.reported.swap(true, Ordering::Relaxed) {
                tracing::warn!(error = ended, "bus is away, changes are found in the change log");
            }
            sleep(back_off.next(self.jitter())).await;
        }
    }

    /// Listens until the connection ends; returns why.
    async fn listen(&self, l2: &Arc<L2>, queue: &mpsc::Sender<Vec<u8>>, back_off: &mut BackOff) -> String {
        let limit = l2.link.connect_timeout();
        let subscribe = async {
            let mut connection = l2.link.client().get_async_pubsub().await?;
            connection.subscribe(l2.channel()).await?;
            // Where this user may hear changes alone, that is what matters.
            if let Err(error) = connection.subscribe(&[l2.everybody(), l2.one(l2.replica)]).await {
                tracing::debug!(%error, "the other replicas cannot be heard");
            }
            Ok::<_, redis::RedisError>(connection)
        };
        let connection = match timeout(limit, subscribe).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return error.to_string(),
            Err(_elapsed) => return "connecting timed out".to_owned(),
        };
        let bus = &self.shared().bus;
        bus.connected.store(true, Ordering::Relaxed);
        if bus.reported.swap(false, Ordering::Relaxed) {
            tracing::info!("bus is connected again");
        }
        back_off.reset();
        self.peers().listening();
        // What was sent while nobody listened stands in the change log.
        self.progress().ask();
        let (mut sink, mut stream) = connection.split();
        let changes = l2.channel();
        loop {
            match timeout(PING, stream.next()).await {
                Ok(Some(message)) if message.get_channel_name() == changes => {
                    self.enqueue(queue, message.get_payload_bytes());
                }
                Ok(Some(message)) => self.hear(l2, message.get_payload_bytes()),
                Ok(None) => return "the connection was closed".to_owned(),
                Err(_elapsed) => match timeout(limit, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_elapsed) => return "no answer".to_owned(),
                },
            }
        }
    }

    /// Never waits: whoever reads the connection must not be held up.
    fn enqueue(&self, queue: &mpsc::Sender<Vec<u8>>, payload: &[u8]) {
        self.counters().bus_messages.one();
        if let Err(TrySendError::Full(_)) = queue.try_send(payload.to_vec()) {
            self.counters().bus_overflows.one();
            self.progress().ask();
        }
    }

    async fn apply_all_of(&self, mut queue: mpsc::Receiver<Vec<u8>>, replica: u64) {
        let mut payloads = Vec::with_capacity(LEARNED_AT_ONCE);
        while queue.recv_many(&mut payloads, LEARNED_AT_ONCE).await > 0 {
            for payload in payloads.drain(..) {
                self.take_message(&payload, replica);
            }
            yield_now().await;
        }
    }

    fn take_message(&self, payload: &[u8], replica: u64) {
        let Ok(Message { incarnation, sender, sent_micros, changes }) = codec::decode(payload) else {
            self.counters().bus_unknown.one();
            self.progress().ask();
            return;
        };
        if sender == replica {
            return;
        }
        self.shared().bus.lag_micros.store(now_micros().saturating_sub(sent_micros), Ordering::Relaxed);
        self.counters().bus_changes.add(changes.len() as u64);
        let strange = self.validity().view().is_some_and(|view| view.incarnation != incarnation);
        if strange && self.bus().hear_stranger(incarnation, self.clock().now(), self.config().staleness_bound) {
            let prefix = self.config().shared.as_ref().map_or("", |shared| &shared.prefix);
            tracing::warn!(
                prefix,
                "another catalogue uses this Redis under the same prefix: give each a prefix of its own"
            );
        }
        for change in &changes {
            self.apply_from(Source::Bus, change, incarnation);
        }
    }
}

/// The wall clock, for measuring alone.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it")]
fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

/// Counts what the bus did.
impl Counters {
    /// The share of the changes found in the change log that neither the bus nor a write of this replica had brought.
    pub fn bus_missed_share(&self) -> f64 {
        let (found, known) = (self.log_new.get(), self.log_known.get());
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        if found + known == 0 { 0.0 } else { found as f64 / (found + known) as f64 }
    }
}
