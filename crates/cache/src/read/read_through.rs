//! Reading through: L2 first, then the lease, then the database.
//!
//! Correctness does not depend on L2 or on leases. This replica judges every frame by the changes it has applied, a lease only saves
//! the database work, and whenever Redis does not answer, this replica loads for itself.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use larder_back_off::BackOff;
use larder_change::Incarnation;
use tokio::time::sleep;

use super::{
    Loaded, ReadPath,
    loader::{LoadTask, LoadedEntries, Purpose},
    single_flight::{LoadGuard, Target},
};
use crate::{
    config::Policy,
    error::LoadError,
    l1::{Entry, Expiry, NewEntry, Provenance, Tier, Value},
    l2::{Away, Fill, Frame, HeldLease, L2, Lease, Leases, Watched},
    trace::{self, SpanKind},
    validity::{Depends, Origin},
};

/// A load that competes with other replicas, shared by its tasks.
struct SharedLoad<V, F> {
    reads: Arc<ReadPath<V>>,
    l2: Arc<L2>,
    incarnation: Incarnation,
    task: Arc<LoadTask<F>>,
    /// The value of the leases that this load takes.
    lease: String,
}

/// The first wait for the load of another replica, and the longest between two reads of L2.
const FIRST_WAIT: Duration = Duration::from_millis(4);
const LAST_WAIT: Duration = Duration::from_millis(40);
/// The least time for a pass over the change log.
const LEAST_PASS: Duration = Duration::from_millis(100);

impl<V: Value> ReadPath<V> {
    /// Starts a load. A load for readers is given up soon after they have all gone; a refresh goes on.
    pub(super) fn start<F, Fut>(self: &Arc<Self>, guard: LoadGuard<V>, policy: Policy, purpose: Purpose, load: F)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        if !self.turns.have_room() {
            self.counters.refused.one();
            guard.fail(&LoadError::Overloaded);
            return;
        }
        let task = Arc::new(LoadTask { policy, purpose, load });
        let reads = Arc::clone(self);
        let load = async move { reads.read_through(guard, task).await };
        self.runtime.spawn(trace::current().carry(load));
    }

    async fn read_through<F, Fut>(self: Arc<Self>, mut guard: LoadGuard<V>, task: Arc<LoadTask<F>>)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let usable = self.usable_l2().filter(|_| self.policies.get().of_value(task.policy).l2);
        let Some((l2, incarnation)) = usable else {
            self.load(guard, &task).await;
            return;
        };
        let names = guard.names();
        let Ok(frames) = self.read_l2(&l2, incarnation, &refs(&names), &task).await else {
            self.load(guard, &task).await;
            return;
        };
        self.pass_up_to(&frames).await;
        self.settle(&mut guard, task.policy, frames);
        self.counters.l2_misses.add(guard.len() as u64);
        if guard.is_empty() {
            return;
        }
        let lease = format!("{:016x}:{:016x}", l2.replica, self.jitter.number());
        let shared = Arc::new(SharedLoad { reads: self, l2, incarnation, task, lease });
        let (won, lost) = shared.compete(guard).await;
        let leases = shared.leases(won.names());
        tokio::join!(shared.load_for_all(won, leases), shared.wait_for(lost));
    }

    /// The frames of keys. For a refresh, without the frames that are themselves due for a refresh.
    async fn read_l2<F>(
        &self,
        l2: &L2,
        incarnation: Incarnation,
        names: &[&str],
        task: &LoadTask<F>,
    ) -> Result<Vec<Option<Frame>>, Away> {
        if task.purpose == Purpose::Miss {
            // A load that L2 saves is worth waiting for twice as long as the load takes.
            let patience = self.counters.load_latency.summary().mean * 2;
            return l2.get(incarnation, names, patience).await;
        }
        let read = l2.get_with_time(incarnation, names).await?;
        let policies = self.policies.get();
        let load = self.counters.load_latency.mean();
        let young = |frame: Option<Frame>, left| {
            let frame = frame?;
            let policy = policies.of(task.policy, frame.payload.is_some());
            let expiry = Expiry::new(policy, policy.l2_ttl, load);
            (!expiry.wants_refresh(left, || self.jitter.unit())).then_some(frame)
        };
        Ok(read.into_iter().map(|(frame, left)| young(frame, left)).collect())
    }

    /// L2, if its frames can be judged now.
    fn usable_l2(&self) -> Option<(Arc<L2>, Incarnation)> {
        let l2 = self.l2.as_ref().filter(|l2| l2.is_up())?;
        let followed = self.validity.followed()?;
        self.proven().then(|| (Arc::clone(l2), followed))
    }

    /// Waits for a pass over the change log if a frame was made by a reader who saw a change that the last pass did not see: only
    /// then can anybody tell whether the change belongs to this life. If the pass fails, such a frame is invalid.
    async fn pass_up_to(&self, frames: &[Option<Frame>]) {
        let Some(view) = self.validity.view() else { return };
        let witnesses = frames.iter().flatten().filter_map(|frame| frame.origin.witness);
        if view.snapshot.salt.is_some()
            && witnesses.max_by_key(|witness| witness.id).is_some_and(|newest| newest.id >= view.snapshot.xmax)
        {
            let _ = self.progress.pass(self.config.staleness_bound.max(LEAST_PASS)).await;
        }
    }

    /// Settles the keys that have a valid frame.
    fn settle(&self, guard: &mut LoadGuard<V>, policy: Policy, frames: Vec<Option<Frame>>) {
        let before = guard.len();
        let mut frames = frames.into_iter();
        guard.settle(|target| {
            let frame = frames.next().flatten()?;
            self.judge_frame(target, policy, frame).map(Ok)
        });
        self.counters.l2_hits.add((before - guard.len()) as u64);
    }

    /// Makes an entry of a valid frame, and stores the entry in L1 unless a change has touched the key since its stamp was taken.
    fn judge_frame(&self, target: &Target, policy: Policy, frame: Frame) -> Option<Arc<Entry<V>>> {
        let Frame { origin, list, terms, payload } = frame;
        let term = target.term.as_deref();
        if list != term.is_some() {
            self.counters.l2_damaged.one();
            return None;
        }
        let depends = Depends::of(target.name(), term, payload.is_some());
        let known_terms = (payload.is_some() && !list).then_some(&terms[..]);
        // The proof first: whatever is compared later is then at least as recent.
        if !self.proven() || !self.validity.frame_stands(target.name(), depends, &origin, known_terms) {
            self.counters.l2_invalid.one();
            return None;
        }
        let value = match payload {
            Some(payload) => match V::decode(payload, list) {
                Some(value) => Some(value),
                None => {
                    self.counters.l2_damaged.one();
                    return None;
                }
            },
            None => None,
        };
        // Reading the frame again costs little, which counts as a load that took no time.
        let expiry = self.expiry(policy, value.is_some(), Duration::ZERO);
        let storage = self.l1_storage(policy, value.as_ref());
        let (name, stamp, began) = (target.name(), target.key.stamp, self.clock.now());
        let (tier, provenance) = (Tier::L2, Provenance::Followed);
        let entry = Entry::new(NewEntry { name, value, stamp, began, expiry, tier, provenance });
        Some(self.take_in_l1(entry, policy, storage))
    }

    /// The valid results of a load, for other replicas. Copies that a change has touched meanwhile are omitted: every replica would
    /// reject them.
    fn fills(&self, policy: Policy, loaded: LoadedEntries<V>) -> Vec<Fill> {
        let LoadedEntries { origin: Some(origin), entries } = loaded else { return Vec::new() };
        let valid = entries
            .into_iter()
            .filter(|(_, entry)| entry.value.as_ref().is_none_or(Value::is_shared) && entry.stands(&self.validity))
            .filter(|(_, entry)| entry.value.is_some() || self.absences.admit(self.clock.now()));
        valid.map(|(name, entry)| self.fill(policy, name, entry.value.as_ref(), origin)).collect()
    }

    /// The copy of an item, to store in L2. The version of the item replaces the version of `origin`.
    pub(crate) fn fill_item(&self, name: Box<str>, item: &V, origin: Origin) -> Fill {
        self.fill(Policy::Item, name, Some(item), origin)
    }

    /// A copy to store in L2. The version of the value replaces the version of `origin`.
    fn fill(&self, policy: Policy, name: Box<str>, value: Option<&V>, origin: Origin) -> Fill {
        let facts = value.map(Value::facts).unwrap_or_default();
        let policies = self.policies.get();
        let kept = policies.of(policy, value.is_some());
        Fill {
            name,
            frame: Frame {
                origin: Origin { version: facts.version, ..origin },
                list: policy != Policy::Item,
                terms: facts.terms,
                payload: value.map(Value::encode),
            },
            ttl: self.jitter.shorten(kept.l2_ttl, kept.jitter),
            compress_from: kept.compress_from,
            most: if kept.l2 { kept.max_bytes } else { 0 },
        }
    }
}

impl<V, F, Fut> SharedLoad<V, F>
where
    V: Value,
    F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
{
    /// Competes for the leases of keys. Returns the keys whose leases this replica won and those that another replica loads. Where
    /// Redis grants no leases, as when it is full, this replica loads all of the keys.
    async fn compete(&self, mut guard: LoadGuard<V>) -> (LoadGuard<V>, LoadGuard<V>) {
        let (reads, counters) = (&self.reads, &self.reads.counters);
        let names = guard.names();
        let Ok(leased) = self.l2.lease(self.incarnation, &refs(&names), &self.lease).await else {
            let none = guard.split(|_| false);
            return (guard, none);
        };
        let (lost, frames): (Vec<bool>, Vec<_>) = leased.into_iter().map(|leased| (leased.lost, leased.frame)).unzip();
        let won: Vec<_> = frames.into_iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(frame, _)| frame).collect();
        let theirs = guard.split(|position| lost[position]);
        counters.leases_won.add(guard.len() as u64);
        counters.leases_lost.add(theirs.len() as u64);
        let names = guard.names();
        if self.task.purpose == Purpose::Miss {
            reads.pass_up_to(&won).await;
            reads.settle(&mut guard, self.task.policy, won);
        }
        if guard.len() < names.len() {
            let needed = guard.names();
            let unused = self.leases(names.into_iter().filter(|name| !needed.contains(name)));
            let _ = self.l2.fill(self.incarnation, &[], &unused).await;
        }
        (guard, theirs)
    }

    /// Loads keys, sends the result to the waiters here, and then fills L2 for the waiters elsewhere and gives the leases back.
    async fn load_for_all(&self, guard: LoadGuard<V>, leases: Vec<HeldLease>) {
        if guard.is_empty() {
            return;
        }
        let loaded = self.reads.load(guard, &self.task).await;
        let fills = loaded.map_or_else(Vec::new, |loaded| self.reads.fills(self.task.policy, loaded));
        self.reads.counters.l2_sets.add(fills.len() as u64);
        // A waiter elsewhere finds the fill, or that the lease is free, or in the end that the lease has expired.
        let _ = self.l2.fill(self.incarnation, &fills, &leases).await;
    }

    /// Waits for the loads of other replicas, and takes over from replicas that do not load in time.
    async fn wait_for(self: &Arc<Self>, mut guard: LoadGuard<V>) {
        if guard.is_empty() {
            return;
        }
        let span = trace::start("wait for lease", SpanKind::Internal);
        span.note("larder.wait.for", "lease");
        span.note("larder.wait.keys", guard.len());
        let reads = &self.reads;
        let began = reads.clock.now();
        let mut waits = BackOff::new(FIRST_WAIT, LAST_WAIT);
        let mut leases = Leases::default();
        while !guard.is_empty() {
            sleep(waits.next(reads.jitter.unit())).await;
            if self.task.purpose == Purpose::Miss {
                guard = match guard.give_up() {
                    Ok(()) => return reads.counters.abandoned.one(),
                    Err(read) => read,
                };
            }
            if reads.clock.now().since(began) > reads.config.load_timeout {
                return guard.fail(&LoadError::Timeout);
            }
            let names = guard.names();
            let watched = match reads.usable_l2() {
                Some((_, followed)) if followed == self.incarnation => {
                    self.l2.watch(self.incarnation, &refs(&names)).await
                }
                _ => Err(Away),
            };
            let Ok(watched) = watched else {
                reads.load(guard, &self.task).await;
                return;
            };
            let (frames, seen): (Vec<_>, Vec<_>) =
                watched.into_iter().map(|Watched { frame, lease }| (frame, lease)).unzip();
            let now = reads.clock.now();
            let verdicts: HashMap<Box<str>, Lease> = names
                .iter()
                .zip(seen)
                .map(|(name, lease)| (name.clone(), leases.judge(name, lease, now, self.l2.lease_length())))
                .collect();
            reads.pass_up_to(&frames).await;
            reads.settle(&mut guard, self.task.policy, frames);
            let (mine, held) = self.take_over(&mut guard, &verdicts, &leases).await;
            if !mine.is_empty() {
                // The wait for other replicas must not wait for this load.
                let shared = Arc::clone(self);
                let load = async move { shared.load_for_all(mine, held).await };
                reads.runtime.spawn(trace::current().carry(load));
            }
        }
    }

    /// Takes the keys that this replica loads after all: those with an overdue lease, and those whose free lease it wins. Returns
    /// the leases to give back after the load.
    async fn take_over(
        &self,
        guard: &mut LoadGuard<V>,
        verdicts: &HashMap<Box<str>, Lease>,
        leases: &Leases,
    ) -> (LoadGuard<V>, Vec<HeldLease>) {
        let mut mine = split_by(guard, verdicts, Lease::Overdue);
        let free = split_by(guard, verdicts, Lease::Free);
        self.reads.counters.leases_taken.add(mine.len() as u64);
        // Overdue leases are deleted, so that the next reader does not wait for them again.
        let last = |name: Box<str>| leases.last(&name).map(|value| HeldLease { name, value });
        let mut held: Vec<HeldLease> = mine.names().into_iter().filter_map(last).collect();
        if !free.is_empty() {
            let (won, theirs) = self.compete(free).await;
            held.extend(self.leases(won.names()));
            mine.join(won);
            guard.join(theirs);
        }
        (mine, held)
    }

    /// The leases of this load for keys.
    fn leases(&self, names: impl IntoIterator<Item = Box<str>>) -> Vec<HeldLease> {
        names.into_iter().map(|name| HeldLease { name, value: self.lease.as_bytes().to_vec() }).collect()
    }
}

/// Moves the keys with a verdict into a guard of their own.
fn split_by<V>(guard: &mut LoadGuard<V>, verdicts: &HashMap<Box<str>, Lease>, verdict: Lease) -> LoadGuard<V> {
    let of_keys: Vec<Lease> = guard.targets().map(|target| verdicts[target.name()]).collect();
    guard.split(|position| of_keys[position] == verdict)
}

fn refs(names: &[Box<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}
