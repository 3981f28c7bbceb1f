//! Watchers of products: each is told every committed change once, from the start that it asks for.

mod event;
mod hub;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use larder_cache::{Freshness, ReadError, ReadOptions};
use larder_change::{Incarnation, Recalled, Snapshot};
use larder_storage::{Change, Changes, Filter, ProductRepository as _, Replay, StorageError, Subject};

use self::{
    event::{concerns, event},
    hub::{Behind, Cursor},
};
use super::{Catalog, Copy};
use crate::{
    config::WatchConfig,
    contract::{Position, Read, Step as Told},
};

pub use event::{Event, EventKind};
pub(super) use hub::{Hub, Step};

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the next commit.
    Now,
    /// After the changes that were told already.
    After(Position),
}

/// Why a stream of changes cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There are as many streams as the server allows.
    #[error("too many watch")]
    TooMany,
    /// Products change faster than the stream is read.
    #[error("too far behind")]
    TooSlow,
    /// The change log no longer has the changes after the start.
    #[error("the start is too old")]
    TooOld,
    /// The start is a state that the database has not reached.
    #[error("the start is a state that the database does not have")]
    UnknownState,
    /// A product cannot be read now, or the follower does not reach the start.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change log cannot be read now.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Watches products. Dropping the watcher frees its place for another one.
pub struct Watcher {
    catalog: Catalog,
    cursor: Cursor,
    filter: Filter,
    position: Position,
    /// Whether the position is from a replaced life of the database, perhaps of the same incarnation: its numbers are void.
    lost: bool,
    /// The steps between the start and the first step of the cursor.
    before: VecDeque<Arc<Step>>,
    /// The step in progress, and how many of its changes were told.
    current: Option<(Arc<Step>, usize)>,
}

/// Changes that are told together: one read gets their products.
const AT_ONCE: usize = 64;

impl Catalog {
    /// Sets the limits of watchers. To be called before the first one.
    #[must_use]
    pub(crate) fn with_watch(self, config: WatchConfig) -> Self {
        Self { hub: Arc::new(Hub::new(config)), ..self }
    }

    /// How many streams of changes there may be.
    pub(crate) fn max_watchers(&self) -> usize {
        self.hub.config().watchers
    }

    /// Ends every stream of changes.
    pub(crate) fn end_watching(&self) {
        self.hub.close();
    }

    /// Begins to watch the products that match a filter.
    pub async fn watch(&self, start: Start, filter: Filter) -> Result<Watcher, WatchError> {
        // First, so that no change is lost between the reads below and the first step.
        let cursor = self.hub.join().ok_or(WatchError::TooMany)?;
        let (snapshot, incarnation) = self.reached().await?;
        let (mut before, mut lost) = (VecDeque::new(), false);
        let position = match start {
            Start::Now => Position::after(snapshot, incarnation),
            Start::After(position) => {
                let newest = position.step.as_ref().map_or(&position.told, |step| &step.to);
                let covered = snapshot.covers(newest) && snapshot.covers(&position.told);
                if position.incarnation == incarnation && !covered && snapshot.salt.is_none() {
                    return Err(WatchError::UnknownState);
                }
                before = match self.replay(&position).await? {
                    Some(steps) if position.incarnation == incarnation && covered => steps,
                    // The position is from another life of the database, which may share anything or nothing with this one.
                    Some(_) | None => {
                        lost = true;
                        let anew = Step { since: None, to: snapshot, incarnation, changes: None };
                        [Arc::new(anew)].into()
                    }
                };
                position
            }
        };
        Ok(Watcher { catalog: self.clone(), cursor, filter, position, lost, before, current: None })
    }

    /// Waits until the follower has applied the change log as of this call.
    async fn reached(&self) -> Result<(Snapshot, Incarnation), WatchError> {
        self.cache.reach(Freshness::FullyConsistent).await?;
        Ok(self.cache.view().ok_or(ReadError::NoPass)?)
    }

    /// The steps since a position. A position within a step yields the rest of that step first, on its own: the version tells
    /// which changes of the step were told, and later steps may have lower versions. `None` when the position is from another
    /// life of the database.
    async fn replay(&self, position: &Position) -> Result<Option<VecDeque<Arc<Step>>>, WatchError> {
        let Position { incarnation, told, step } = position;
        let limit = self.cache.config().max_changes_per_pass;
        let of = *incarnation;
        // On the runtime where the connections live, like every other query.
        let (repository, since) = (Arc::clone(&self.repository), told.clone());
        // The told part of a step counts as much as the steps before it.
        let newest = step.as_ref().and_then(|step| step.to.witness());
        let replayed = self.runtime.spawn(async move {
            if let Some(newest) = newest
                && repository.recall(&[newest]).await?.changes == [Recalled::Unknown]
            {
                return Ok(Replay::OtherLife);
            }
            repository.replay(&since, of, limit).await
        });
        let pass = match replayed.await.map_err(|error| StorageError::Unavailable(error.into()))?? {
            Replay::Told(pass) => pass,
            Replay::Pruned => return Err(WatchError::TooOld),
            Replay::OtherLife => return Ok(None),
        };
        let to = pass.snapshot;
        let whole = |since: &Snapshot, to: &Snapshot, changes| {
            Arc::new(Step { since: Some(since.clone()), to: to.clone(), incarnation: *incarnation, changes })
        };
        Ok(Some(match (pass.changes, step) {
            (Changes::Window { .. } | Changes::Incomplete(_), _) => [whole(told, &to, None)].into(),
            (Changes::Complete(changes), None) => [whole(told, &to, Some(changes))].into(),
            (Changes::Complete(changes), Some(step)) => {
                let (first, then): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| step.to.sees(change.id));
                [whole(told, &step.to, Some(first)), whole(&step.to, &to, Some(then))].into()
            }
        }))
    }
}

impl Watcher {
    /// The position up to which everything was told.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The limits.
    pub fn config(&self) -> &WatchConfig {
        self.cursor.hub().config()
    }

    /// Waits until the streams are to end.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let hub = Arc::clone(self.cursor.hub());
        async move { hub.closed().await }
    }

    /// Waits for the next events, each with the position after it. There are none when nothing that happened matches the filter.
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<(Position, Event)>, WatchError> {
        let (step, done) = match &self.current {
            Some((step, done)) => (Arc::clone(step), *done),
            None => {
                let step = match self.before.pop_front() {
                    Some(step) => step,
                    None => self.cursor.next().await.map_err(|Behind| WatchError::TooSlow)?,
                };
                match self.enter(&step) {
                    Entered::Known => return Ok(Vec::new()),
                    Entered::Gap => {
                        self.lost = false;
                        self.position = Position::after(step.to.clone(), step.incarnation);
                        return Ok(vec![(self.position.clone(), Event::resync())]);
                    }
                    Entered::Next => {
                        self.current = Some((Arc::clone(&step), 0));
                        (step, 0)
                    }
                }
            }
        };
        let changes = step.changes.as_deref().unwrap_or_default();
        let end = changes.len().min(done + AT_ONCE);
        let mut events = self.events(&step, &changes[done..end], done == 0).await?;
        if end == changes.len() {
            self.position = Position::after(step.to.clone(), step.incarnation);
            self.current = None;
            if let Some((position, _)) = events.last_mut() {
                position.clone_from(&self.position);
            }
        } else {
            self.current = Some((step, end));
        }
        Ok(events)
    }

    /// The relation of a step to the position.
    fn enter(&self, step: &Step) -> Entered {
        let Position { incarnation, told, .. } = &self.position;
        let same = *incarnation == step.incarnation;
        if self.lost {
            Entered::Gap
        } else if same && told.covers(&step.to) && self.position.step.is_none() {
            Entered::Known
        } else if same && step.changes.is_some() && step.since.as_ref().is_some_and(|since| told.covers(since)) {
            Entered::Next
        } else {
            Entered::Gap
        }
    }

    async fn events(&self, step: &Step, changes: &[Change], first: bool) -> Result<Vec<(Position, Event)>, WatchError> {
        let new: Vec<&Change> = changes.iter().filter(|change| !self.was_told(change)).collect();
        let mut ids: Vec<&str> = new.iter().filter_map(|change| concerns(change, &self.filter)).collect();
        ids.sort_unstable();
        ids.dedup();
        let Some(products) = self.products(step, &ids).await? else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        // A bulk change is one row, beside rows of its own transaction and of others.
        let bulk = |change: &Change| change.subject == Subject::All && !self.was_told(change);
        if first && step.changes.iter().flatten().any(bulk) {
            events.push((self.at(step, i64::MIN), Event::resync()));
        }
        for change in new {
            let (Some(id), Some(version)) = (concerns(change, &self.filter), version(change)) else { continue };
            if let Some(event) = event(change, &self.filter, products.get(id)) {
                events.push((self.at(step, version), event));
            }
        }
        Ok(events)
    }

    /// Whether a change was told before the start or in an earlier step.
    fn was_told(&self, change: &Change) -> bool {
        let Position { told, step, .. } = &self.position;
        told.sees(change.id)
            || step.as_ref().is_some_and(|step| {
                step.to.sees(change.id) && version(change).is_none_or(|version| version <= step.version)
            })
    }

    /// The position within a step, after the changes up to a version.
    fn at(&self, step: &Step, version: i64) -> Position {
        let told = Told { to: step.to.clone(), version };
        Position { step: Some(told), ..Position::after(self.position.told.clone(), step.incarnation) }
    }

    /// The products as they are now, after the cache has applied the step. Copies that the cache cannot prove fresh are left out.
    /// `None` when the database has been replaced: the next step says so.
    async fn products(&self, step: &Step, ids: &[&str]) -> Result<Option<HashMap<String, Bytes>>, WatchError> {
        if ids.is_empty() {
            return Ok(Some(HashMap::new()));
        }
        let cache = &self.catalog.cache;
        match cache.wait_until_applied(&step.to, step.incarnation, cache.config().load_timeout).await {
            Err(ReadError::OtherIncarnation) => return Ok(None),
            learned => learned?,
        }
        let options = ReadOptions { max_stale: Some(Duration::ZERO), cache_only: false };
        let read = Read { options, ..Read::default() };
        let wanted = ids.iter().map(|&id| id.to_owned()).collect();
        let found = self.catalog.products(wanted, read).await?;
        let products = ids.iter().zip(found).filter_map(|(&id, found)| match &found?.entry.value {
            Some(Copy::Product(bytes)) => Some((id.to_owned(), bytes.clone())),
            _ => None,
        });
        Ok(Some(products.collect()))
    }
}

enum Entered {
    /// Everything in the step was told.
    Known,
    /// The step follows the position.
    Next,
    /// Changes may be missing between position and step.
    Gap,
}

fn version(change: &Change) -> Option<i64> {
    match change.subject {
        Subject::Put { version, .. } | Subject::Delete { version, .. } => Some(version),
        Subject::Key(_) | Subject::Term(_) | Subject::Pattern(_) | Subject::All => None,
    }
}
