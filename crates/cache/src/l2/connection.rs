//! The connections for commands, which a background task maintains, and the circuit breaker.
//!
//! A command never waits for a connection. Without a connection, or while no connection answers, Redis counts as away and the
//! caller proceeds without it. A Redis that hangs therefore costs a bounded number of timeouts.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_back_off::BackOff;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, aio::PubSub};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    link::Link,
    topology::{Limits, Topology},
};
use crate::{config::SharedConfig, stats::Counters, time::Jitter};

/// Redis is away: it cannot be asked now, and the caller proceeds without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// The connections to Redis.
pub(crate) struct Connections {
    topology: Topology,
    slots: Box<[Slot]>,
    next: AtomicUsize,
    limits: Limits,
    /// Whether the log says that Redis is away.
    reported: AtomicBool,
    counters: Arc<Counters>,
}

/// One connection and its state.
#[derive(Default)]
struct Slot {
    connection: RwLock<Option<Link>>,
    /// Consecutive timeouts and late answers.
    timeouts: AtomicU32,
    /// Whether commands may use the connection: the breaker is closed.
    closed: AtomicBool,
    /// Wakes the task that maintains the connection.
    wake: Notify,
}

/// Consecutive timeouts and late answers that open the breaker.
const MOST_TIMEOUTS: u32 = 3;
/// How often an idle connection is pinged.
const PING: Duration = Duration::from_millis(500);
/// Unanswered pings after which a connection is dropped.
const MOST_PINGS: u32 = 3;

impl Connections {
    pub(super) fn new(config: &SharedConfig, counters: Arc<Counters>) -> Result<Self, String> {
        let limits = Limits { connect: config.connect_timeout, command: config.command_timeout };
        Ok(Self {
            topology: Topology::parse(&config.url, config.ca.as_deref(), limits)?,
            slots: (0..config.connections.max(1)).map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
            limits,
            reported: AtomicBool::new(false),
            counters,
        })
    }

    /// Opens a connection for subscriptions.
    pub(crate) async fn subscriber(&self) -> RedisResult<PubSub> {
        self.topology.subscriber(self.limits).await
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.limits.connect
    }

    /// Whether a command would be sent.
    pub(crate) fn is_up(&self) -> bool {
        self.slots.iter().any(|slot| slot.closed.load(Ordering::Relaxed))
    }

    /// Sends one command.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let (slot, mut connection) = self.connection().ok_or(Away)?;
        let sent = Instant::now();
        self.settle(slot, sent, timeout(self.limits.command, command.query_async(&mut connection)).await)
    }

    /// Sends one command, whose answer is of no use after `patience`.
    pub(crate) async fn query_within<T: FromRedisValue>(&self, command: &Cmd, patience: Duration) -> Result<T, Away> {
        let (slot, mut connection) = self.connection().ok_or(Away)?;
        let sent = Instant::now();
        let limit = patience.clamp(self.least_patience(), self.limits.command);
        self.settle(slot, sent, timeout(limit, command.query_async(&mut connection)).await)
    }

    /// Answers within this time are timely, whatever the database takes.
    fn least_patience(&self) -> Duration {
        self.limits.command / 4
    }

    /// Sends several commands in one round trip.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Away> {
        let (slot, mut connection) = self.connection().ok_or(Away)?;
        let sent = Instant::now();
        self.settle(slot, sent, timeout(self.limits.command, pipeline.query_async(&mut connection)).await)
    }

    /// Maintains the connections until the future is dropped.
    pub(super) async fn keep(&self, jitter: &Jitter) {
        let keepers = self.slots.iter().map(|slot| self.keep_one(slot, jitter));
        futures_util::future::join_all(keepers).await;
    }

    /// The next connection whose breaker is closed, round robin.
    fn connection(&self) -> Option<(&Slot, Link)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.slots.len()).find_map(|step| {
            let slot = &self.slots[(first.wrapping_add(step)) % self.slots.len()];
            if !slot.closed.load(Ordering::Relaxed) {
                return None;
            }
            let connection = slot.connection.read().unwrap_or_else(PoisonError::into_inner).clone()?;
            Some((slot, connection))
        })
    }

    /// Records the outcome of a command.
    fn settle<T>(
        &self,
        slot: &Slot,
        sent: Instant,
        ended: Result<RedisResult<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, Away> {
        let counters = &*self.counters;
        counters.l2_commands.one();
        let took = sent.elapsed();
        counters.l2_latency.record(took);
        match ended {
            Ok(Ok(reply)) => {
                if took <= self.limits.command / 2 {
                    slot.timeouts.store(0, Ordering::Relaxed);
                } else {
                    self.late(slot);
                }
                Ok(reply)
            }
            Ok(Err(error)) if is_of_connection(&error) => {
                counters.l2_errors.one();
                // One node of a cluster may be gone; the next probe tells whether all are.
                if slot.has_several_connections() {
                    tracing::debug!(%error, "a node of Redis is away");
                } else {
                    self.report(&error.to_string());
                    slot.drop_connection();
                }
                Err(Away)
            }
            Ok(Err(error)) => {
                // Redis answers, and refuses the command.
                counters.l2_refused.one();
                tracing::debug!(%error, "Redis refuses a command");
                Err(Away)
            }
            Err(_elapsed) => {
                counters.l2_timeouts.one();
                self.late(slot);
                Err(Away)
            }
        }
    }

    /// Counts an answer that came late or not at all. Several in a row open the breaker.
    fn late(&self, slot: &Slot) {
        let late = slot.timeouts.fetch_add(1, Ordering::Relaxed) + 1;
        if late >= MOST_TIMEOUTS && slot.closed.swap(false, Ordering::Relaxed) {
            self.counters.l2_breaks.one();
            self.report("commands time out");
            slot.wake.notify_one();
        }
    }

    async fn keep_one(&self, slot: &Slot, jitter: &Jitter) {
        let mut back_off = BackOff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            match self.connect().await {
                Ok(connection) => {
                    *slot.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                    self.open(slot);
                    back_off.reset();
                    self.watch(slot, connection, jitter).await;
                    slot.drop_connection();
                }
                Err(error) => {
                    self.counters.l2_errors.one();
                    self.report(&error);
                }
            }
            sleep(back_off.next(jitter.unit())).await;
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let connect = self.topology.connect(self.limits);
        match timeout(self.limits.connect, connect).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_elapsed) => Err("connecting timed out".to_owned()),
        }
    }

    /// Pings the connection and returns once it is lost.
    async fn watch(&self, slot: &Slot, mut connection: Link, jitter: &Jitter) {
        let counters = &*self.counters;
        let mut unanswered = 0;
        loop {
            let wait = if slot.closed.load(Ordering::Relaxed) { PING } else { jitter.part_of(PING / 2) };
            tokio::select! {
                () = sleep(wait) => {}
                () = slot.wake.notified() => {}
            }
            if slot.connection.read().unwrap_or_else(PoisonError::into_inner).is_none() {
                return;
            }
            let sent = Instant::now();
            match timeout(self.limits.command, connection.probe()).await {
                Ok(Ok(())) => {
                    unanswered = 0;
                    // A Redis that is slow is of no more use than one that is away.
                    if sent.elapsed() <= self.least_patience() {
                        self.open(slot);
                    }
                }
                // A server error is an answer.
                Ok(Err(error)) if !is_of_connection(&error) => {
                    unanswered = 0;
                    self.open(slot);
                }
                Ok(Err(error)) => {
                    counters.l2_errors.one();
                    self.report(&error.to_string());
                    return;
                }
                Err(_elapsed) => {
                    counters.l2_timeouts.one();
                    if slot.closed.swap(false, Ordering::Relaxed) {
                        counters.l2_breaks.one();
                        self.report("commands time out");
                    }
                    unanswered += 1;
                    if unanswered == MOST_PINGS {
                        return;
                    }
                }
            }
        }
    }

    /// Closes the breaker, so that commands use the connection.
    fn open(&self, slot: &Slot) {
        slot.timeouts.store(0, Ordering::Relaxed);
        slot.closed.store(true, Ordering::Relaxed);
        if self.reported.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
    }

    /// Logs the first of consecutive failures.
    fn report(&self, error: &str) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "Redis is away, replicas load for themselves");
        }
    }
}

impl Slot {
    fn has_several_connections(&self) -> bool {
        let link = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        link.as_ref().is_some_and(Link::has_several_connections)
    }

    fn drop_connection(&self) {
        self.closed.store(false, Ordering::Relaxed);
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.wake.notify_one();
    }
}

/// Whether the connection is unusable after this error.
fn is_of_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}
