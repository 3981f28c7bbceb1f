//! An import directly into the database.

use std::{collections::HashSet, time::Duration};

use larder_proto::catalog::Product;
use larder_storage::{Imported, ProductData, ProductRepository as _, Repository, StorageError};
use tokio::time::sleep;

use super::{
    super::{
        direct::{failure, open},
        retry::Retry,
        settings::{CallsOrOpens, SettingArgs},
    },
    Content, Ended, Job, Window, take,
};
use larder_server::{config::value::show_duration, contract::parse_import};

/// Products committed together, as by a server.
const BATCH: usize = 500;
/// A batch of this many bytes is committed, however few products it holds.
const BATCH_BYTES: usize = 4 << 20;
/// When no record arrives for this long, the records read so far are committed.
const QUIET: Duration = Duration::from_secs(1);

/// Valid products with their ids.
type Batch = Vec<(String, ProductData)>;

/// Imports everything.
pub(super) async fn run(job: &mut Job, settings: &SettingArgs<CallsOrOpens>) -> Result<(), Ended> {
    let repository = open(settings).await?;
    let ended = Direct { repository: &repository, window: Window::new(), ids: HashSet::new(), bytes: 0 }.run(job).await;
    repository.close().await;
    ended
}

struct Direct<'a> {
    repository: &'a Repository,
    /// The ids of the batch; the products follow from the window when it is committed.
    ids: HashSet<String>,
    bytes: usize,
    window: Window<(String, ProductData)>,
}

impl Direct<'_> {
    async fn run(mut self, job: &mut Job) -> Result<(), Ended> {
        loop {
            let record = tokio::select! {
                biased;
                exit = job.stop.asked() => return Err(Ended::Stopped(exit)),
                record = job.source.next() => record,
                () = sleep(QUIET), if !self.window.is_empty() => {
                    self.commit(job).await?;
                    continue;
                }
            };
            let Some(record) = record else {
                return self.commit(job).await;
            };
            if let Ok(product) = &record.product
                && self.ids.contains(&product.id)
            {
                // The later one wins, as it would in two batches.
                self.commit(job).await?;
            }
            self.bytes += record.product.as_ref().map_or(0, prost::Message::encoded_len);
            let ids = &mut self.ids;
            take(&mut job.report, &mut self.window, record, |product| parse(product, ids));
            if self.ids.len() >= BATCH || self.bytes >= BATCH_BYTES || !self.window.has_room() {
                self.commit(job).await?;
            }
        }
    }

    /// Commits the records in the window.
    async fn commit(&mut self, job: &mut Job) -> Result<(), Ended> {
        let mut batch = Batch::with_capacity(self.ids.len());
        let mut through = 0;
        while let Some((number, product)) = self.window.unsent() {
            batch.push(product.clone());
            through = number;
            self.window.mark_sent();
        }
        if !batch.is_empty() {
            for imported in self.import(job, &batch).await? {
                match imported {
                    Imported::Created => job.counts.created += 1,
                    Imported::Updated => job.counts.updated += 1,
                    Imported::Unchanged => job.counts.unchanged += 1,
                }
            }
        }
        self.ids.clear();
        self.bytes = 0;
        Ok(job.settle(&mut self.window, through)?)
    }

    /// Imports a batch, and retries while the database is away.
    async fn import(&self, job: &mut Job, batch: &Batch) -> Result<Vec<Imported>, Ended> {
        let mut retry = Retry::new(job.retry_for);
        loop {
            // A batch under way is brought to its end: what became of it is known then.
            let error = match self.repository.import(batch).await {
                Ok(written) => return Ok(written.value),
                Err(error) => error,
            };
            let Some(pause) = retry.pause(None).filter(|_| passes(&error)) else {
                return Err(Ended::Failed(failure("cannot import", &error)));
            };
            job.report.say(&format!("larder: {error}; trying again in {}", show_duration(pause)));
            tokio::select! {
                () = sleep(pause) => {}
                exit = job.stop.asked() => return Err(Ended::Stopped(exit)),
            }
        }
    }
}

fn parse(product: Product, ids: &mut HashSet<String>) -> Content<(String, ProductData)> {
    let named: String = product.id.chars().take(64).collect();
    match parse_import(product) {
        Ok((id, data)) => {
            ids.insert(id.clone());
            Content::Product((id, data))
        }
        Err(violations) => Content::Refused { id: named, reason: violations.to_string() },
    }
}

fn passes(error: &StorageError) -> bool {
    match error {
        // The same batch again does no harm: it creates or replaces by id.
        StorageError::Unavailable(_)
        | StorageError::Full(_)
        | StorageError::Overloaded
        | StorageError::Timeout(_)
        | StorageError::Conflict(_)
        | StorageError::UnknownOutcome(_) => true,
        StorageError::Url(_)
        | StorageError::Schema(_)
        | StorageError::Unreadable(_)
        | StorageError::UnreadableReply(_)
        | StorageError::Database(_) => false,
    }
}
