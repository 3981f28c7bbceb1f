//! The queue: events from a Redis stream, read by a consumer group that all replicas form.
//!
//! An entry is acknowledged only after the rows that it asks for are committed, so that each has its effect at least once,
//! whoever dies on the way; a second time is harmless. Redis decides nothing here but which replica reads an entry.

mod commit;
pub(crate) mod entry;
mod group;
mod pause;

use std::{sync::Arc, time::Duration};

use larder_cache::SharedConfig;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use self::{
    commit::{Committing, Refused},
    entry::{Entry, Parsed},
    group::{Failure, Group},
    pause::Pause,
};
use super::{
    IngestContext,
    counts::{EventCounts, QueueOutcome},
};
use crate::catalog::Invalidation;
use crate::config::QueueConfig;

/// Reads a stream.
pub(super) struct Queue {
    group: Group,
    committing: Committing,
    pause: Pause,
    counts: Arc<EventCounts>,
    min_idle: Duration,
    max_deliveries: u64,
    /// Whether it was logged that Redis is away.
    reported: bool,
    /// When to look for what others left, next.
    look: Instant,
}

/// Why reading ends.
enum End {
    /// The server is to end.
    Drained,
    /// Redis is away, or the group is gone.
    Failed(Failure),
}

/// A consumer is forgotten when it was not heard of for so many times the idle time after which its entries are taken over.
const FORGOTTEN: u32 = 120;

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Queue {
    /// A consumer that goes by the name of its replica. Fails when the URL of Redis cannot be used, ever.
    pub(super) fn new(
        context: &IngestContext,
        shared: &SharedConfig,
        config: &QueueConfig,
        stream: &str,
    ) -> Result<Self, String> {
        let IngestContext { catalog, name, seed, counts, .. } = context;
        Ok(Self {
            group: Group::new(shared, stream, &config.group, name)?,
            committing: Committing::new(catalog.clone(), *seed),
            counts: Arc::clone(counts),
            pause: Pause::new(seed.wrapping_add(1)),
            min_idle: config.min_idle,
            max_deliveries: config.max_deliveries,
            reported: false,
            look: Instant::now(),
        })
    }

    /// Reads until the server is to end, and then until what it has in hand is dealt with, or the database is away.
    pub(super) async fn run(mut self, draining: watch::Receiver<bool>) {
        loop {
            match self.read(&draining).await {
                Ok(never) => match never {},
                Err(End::Drained) => return,
                Err(End::Failed(failure)) => self.report(&failure),
            }
            tokio::select! {
                () = super::drained(draining.clone()) => return,
                () = sleep(self.pause.next()) => {}
            }
        }
    }

    /// Reads on one connection.
    async fn read(&mut self, draining: &watch::Receiver<bool>) -> Result<std::convert::Infallible, End> {
        tokio::select! {
            () = super::drained(draining.clone()) => return Err(End::Drained),
            opened = self.group.open() => opened?,
        }
        self.resume(draining).await?;
        loop {
            if Instant::now() >= self.look {
                self.take_over(draining).await?;
                // Not all replicas at once.
                self.look = Instant::now() + self.pause.part_of(self.min_idle);
            }
            let within = self.look.saturating_duration_since(Instant::now());
            let entries = tokio::select! {
                biased;
                () = super::drained(draining.clone()) => return Err(End::Drained),
                entries = self.group.new_entries(within) => entries?,
            };
            // Not before everything that it is asked has been answered once.
            self.pause.reset();
            if std::mem::take(&mut self.reported) {
                tracing::info!("event queue answers again");
            }
            self.deal(entries, draining).await?;
        }
    }

    /// Deals with what this consumer had in hand when it was interrupted.
    async fn resume(&mut self, draining: &watch::Receiver<bool>) -> Result<(), End> {
        let mut after = "0".to_owned();
        loop {
            let entries = self.group.own_entries(&after).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = last.id.clone();
            self.deal(entries, draining).await?;
        }
    }

    /// Deals with what consumers left that are gone, or that wait for too long, this one among them.
    async fn take_over(&mut self, draining: &watch::Receiver<bool>) -> Result<(), End> {
        let mut cursor = Some("0-0".to_owned());
        while let Some(start) = cursor {
            let (next, entries) = self.group.claim(&start, self.min_idle).await?;
            self.deal(entries, draining).await?;
            cursor = next;
        }
        match self.group.forget_consumers(self.min_idle.saturating_mul(FORGOTTEN)).await {
            Ok(0) => {}
            Ok(consumers) => tracing::info!(consumers, "event queue has forgotten consumers that are gone"),
            // A user who may not run scripts can read all the same.
            Err(failure) if failure.is_refusal() => tracing::debug!(error = %failure, "consumers not forgotten"),
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// Deals with entries: what they ask for is committed, many of them at once, and they are acknowledged; those that ask for
    /// nothing that can be understood are put aside.
    async fn deal(&mut self, entries: Vec<Entry>, draining: &watch::Receiver<bool>) -> Result<(), End> {
        let mut batch = Batch::default();
        let mut trimmed = Vec::new();
        for entry in entries {
            match entry.parse() {
                Parsed::Event(drops) => {
                    if !batch.has_room(drops.len()) {
                        self.commit(std::mem::take(&mut batch), draining).await?;
                    }
                    batch.add(entry, drops);
                }
                Parsed::Poison(reason) => self.bury(&entry, &reason).await?,
                Parsed::Trimmed => trimmed.push(entry.id),
            }
        }
        if !trimmed.is_empty() {
            tracing::warn!(entries = trimmed.len(), "events were trimmed from the stream before they were dealt with");
            self.group.acknowledge(&trimmed).await?;
        }
        self.commit(batch, draining).await
    }

    async fn commit(&mut self, batch: Batch, draining: &watch::Receiver<bool>) -> Result<(), End> {
        if batch.entries.is_empty() {
            return Ok(());
        }
        let drops = batch.drops().collect();
        match self.committing.commit(drops, draining).await.ok_or(End::Drained)? {
            Ok(()) => {
                let ids: Vec<_> = batch.entries.into_iter().map(|(entry, _)| entry.id).collect();
                self.counts.entries(QueueOutcome::Accepted, ids.len());
                self.group.acknowledge(&ids).await?;
                tracing::debug!(entries = ids.len(), "events taken");
            }
            // One of them spoils it for the others.
            Err(_) if batch.entries.len() > 1 => {
                for (entry, drops) in batch.entries {
                    match self.committing.commit(drops, draining).await.ok_or(End::Drained)? {
                        Ok(()) => {
                            self.counts.entries(QueueOutcome::Accepted, 1);
                            self.group.acknowledge(&[entry.id]).await?;
                        }
                        Err(refused) => self.refused(&entry, &refused).await?,
                    }
                }
            }
            Err(refused) => {
                for (entry, _) in &batch.entries {
                    self.refused(entry, &refused).await?;
                }
            }
        }
        Ok(())
    }

    /// An entry that the database refuses stays where it is, to be taken over by and by, until that has been often enough.
    async fn refused(&mut self, entry: &Entry, Refused(error): &Refused) -> Result<(), End> {
        let deliveries = self.group.deliveries(&entry.id).await?;
        tracing::warn!(id = entry.id, deliveries, %error, "event refused by the database");
        if deliveries > self.max_deliveries {
            self.bury(entry, &format!("the database refuses it, after {deliveries} deliveries")).await?;
        }
        Ok(())
    }

    async fn bury(&mut self, entry: &Entry, reason: &str) -> Result<(), End> {
        tracing::warn!(id = entry.id, reason, "event put aside");
        self.group.bury(entry, reason).await?;
        self.counts.entries(QueueOutcome::Buried, 1);
        Ok(())
    }

    fn report(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.reported, true) {
            tracing::warn!(error = %failure, "event queue is away, events wait in it");
        }
    }
}

/// Entries that make one transaction.
#[derive(Default)]
struct Batch {
    entries: Vec<(Entry, Vec<Invalidation>)>,
    rows: usize,
}

impl Batch {
    fn has_room(&self, rows: usize) -> bool {
        self.rows + rows <= super::event::MOST_ENTRIES
    }

    fn add(&mut self, entry: Entry, drops: Vec<Invalidation>) {
        self.rows += drops.len();
        self.entries.push((entry, drops));
    }

    fn drops(&self) -> impl Iterator<Item = Invalidation> {
        self.entries.iter().flat_map(|(_, drops)| drops.iter().cloned())
    }
}
