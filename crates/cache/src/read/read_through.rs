//! A miss: L2 first, then the right to load for all, then the database.
//!
//! None of this carries correctness. A frame is judged by what this replica has learned, a lease only spares the database work,
//! and whenever Redis does not answer, this replica loads for itself.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    Cache, Incarnation, LoadError, Loaded, Policy, Tier, Value,
    l1::Entry,
    l1::expiry::Life,
    l2::codec::Frame,
    l2::lease::{Lease, Leases},
    l2::{Away, BackOff, Fill, L2, Watched},
    read::loader::Landed,
    read::single_flight::{LoadGuard, LoadKey},
    validity::history::{Depends, Origin},
};

/// What a miss looks for, kept together for its tasks.
pub(crate) struct Search<F> {
    pub(crate) policy: Policy,
    /// The terms of the keys, by their numbers; a list depends on its term.
    pub(crate) terms: Vec<Option<Box<str>>>,
    /// What `load` calls the keys, by their numbers.
    pub(crate) places: Vec<usize>,
    /// Whether copies that may be served are to be made anew.
    anew: bool,
    pub(crate) load: F,
}

/// The first wait for somebody else's load, and the longest between two looks.
const FIRST_LOOK: Duration = Duration::from_millis(4);
const LAST_LOOK: Duration = Duration::from_millis(40);

impl<V: Value> Cache<V> {
    /// Starts a search that nobody's departure ends.
    pub(crate) fn start<F, Fut>(
        &self,
        guard: LoadGuard<V>,
        policy: Policy,
        terms: Vec<Option<Box<str>>>,
        places: Vec<usize>,
        anew: bool,
        load: F,
    ) where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        if !self.shared().admission.has_room() {
            self.counters().refused.one();
            guard.fail(&LoadError::Overloaded);
            return;
        }
        let cache = self.clone();
        let search = Arc::new(Search { policy, terms, places, anew, load });
        self.shared().runtime.spawn(async move { cache.search(guard, search).await });
    }

    async fn search<F, Fut>(&self, mut guard: LoadGuard<V>, search: Arc<Search<F>>)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let Some((l2, incarnation)) = self.usable_l2().filter(|_| self.policies().of(search.policy, true).l2) else {
            self.load(guard, &search).await;
            return;
        };
        let names = names(&guard);
        let Ok(frames) = self.first_look(&l2, incarnation, &refs(&names), &search).await else {
            self.load(guard, &search).await;
            return;
        };
        self.look_up_to(&frames).await;
        self.settle(&mut guard, &search, frames);
        self.counters().l2_misses.add(guard.len() as u64);
        if guard.is_empty() {
            return;
        }
        let value = format!("{:016x}:{:016x}", l2.replica, self.shared().jitter.number());
        let (mine, theirs) = self.compete(&l2, incarnation, guard, &search, &value).await;
        let rights = self::names(&mine).into_iter().map(|name| (name, value.as_bytes().to_vec())).collect();
        tokio::join!(
            self.load_for_all(&l2, incarnation, mine, &search, rights),
            self.wait_for(&l2, incarnation, theirs, &search, &value),
        );
    }

    /// The frames of keys; where copies are to be made anew, without those that L2 has to be given anew as well.
    async fn first_look<F>(
        &self,
        l2: &L2,
        incarnation: Incarnation,
        names: &[&str],
        search: &Search<F>,
    ) -> Result<Vec<Option<Frame>>, Away> {
        if !search.anew {
            return l2.get(incarnation, names, self.counters()).await;
        }
        let looked = l2.get_with_time(incarnation, names, self.counters()).await?;
        let policies = self.policies();
        let load = self.counters().load_latency.summary().mean;
        let young = |frame: Option<Frame>, left| {
            let frame = frame?;
            let policy = policies.of(search.policy, frame.payload.is_some());
            let life = Life::new(policy, policy.l2_ttl, load);
            (!life.wants_another(left, || self.jitter().unit())).then_some(frame)
        };
        Ok(looked.into_iter().map(|(frame, left)| young(frame, left)).collect())
    }

    /// L2, if what it returns can be judged now.
    fn usable_l2(&self) -> Option<(Arc<L2>, Incarnation)> {
        let l2 = self.shared().l2.as_ref().filter(|l2| l2.link.is_up())?;
        let view = self.validity().view()?;
        self.proven().then(|| (Arc::clone(l2), view.incarnation))
    }

    /// Looks at the change log, where a frame was made by somebody who saw a change that the last look did not: whether that is
    /// of this life nobody can tell before. If it cannot be done, such a frame does not stand.
    async fn look_up_to(&self, frames: &[Option<Frame>]) {
        let Some(view) = self.validity().view() else { return };
        let witnesses = frames.iter().flatten().filter_map(|frame| frame.origin.witness);
        if view.snapshot.salt.is_some()
            && witnesses.max_by_key(|witness| witness.id).is_some_and(|newest| newest.id >= view.snapshot.xmax)
        {
            let _ = self.pass_now(self.config().staleness_bound.max(Duration::from_millis(100))).await;
        }
    }

    /// Takes the frames that stand for outcomes.
    fn settle<F>(&self, guard: &mut LoadGuard<V>, search: &Search<F>, frames: Vec<Option<Frame>>) {
        let before = guard.len();
        let mut frames = frames.into_iter();
        guard.settle(|number, key| {
            let frame = frames.next().flatten()?;
            self.judge_frame(number, key, search, frame).map(Ok)
        });
        self.counters().l2_hits.add((before - guard.len()) as u64);
    }

    /// Makes an entry of a frame that stands, and stores it in L1 unless something was learned since the key was stamp.
    fn judge_frame<F>(
        &self,
        number: usize,
        (name, stamp): &LoadKey,
        search: &Search<F>,
        frame: Frame,
    ) -> Option<Arc<Entry<V>>> {
        let Frame { origin, list, terms, payload } = frame;
        let term = search.terms[number].as_deref();
        if list != term.is_some() {
            self.counters().l2_damaged.one();
            return None;
        }
        let depends = Depends::of(name, term, payload.is_some());
        let known_terms = (payload.is_some() && !list).then_some(&terms[..]);
        // The proof first: what is compared later is then no older.
        if !self.proven() || !self.validity().frame_stands(name, depends, &origin, known_terms) {
            self.counters().l2_invalid.one();
            return None;
        }
        let value = match payload {
            Some(payload) => match V::decode(payload, list) {
                Some(value) => Some(value),
                None => {
                    self.counters().l2_damaged.one();
                    return None;
                }
            },
            None => None,
        };
        // To read it again costs little.
        let life = self.life(search.policy, value.is_some(), Duration::ZERO);
        let may = self.kept_in_l1(search.policy, value.as_ref());
        let entry = Entry::new(name, value, *stamp, self.clock().now(), life, Tier::L2, false);
        Some(self.take_in_l1(entry, search.policy, may))
    }

    /// Divides a guard into what this replica has the right to load and what another loads. Where Redis gives no rights, as
    /// when it is full, this replica loads for itself.
    async fn compete<F>(
        &self,
        l2: &L2,
        incarnation: Incarnation,
        mut guard: LoadGuard<V>,
        search: &Search<F>,
        value: &str,
    ) -> (LoadGuard<V>, LoadGuard<V>) {
        let names = names(&guard);
        let Ok(leased) = l2.lease(incarnation, &refs(&names), value, self.counters()).await else {
            let none = guard.split(|_| false);
            return (guard, none);
        };
        let (lost, frames): (Vec<bool>, Vec<_>) = leased.into_iter().map(|leased| (leased.lost, leased.frame)).unzip();
        let won: Vec<_> = frames.into_iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(frame, _)| frame).collect();
        let theirs = guard.split(|place| lost[place]);
        self.counters().leases_won.add(guard.len() as u64);
        self.counters().leases_lost.add(theirs.len() as u64);
        let rights = self::names(&guard);
        if !search.anew {
            self.look_up_to(&won).await;
            self.settle(&mut guard, search, won);
        }
        if guard.len() < rights.len() {
            let needed = self::names(&guard);
            let unused = rights.into_iter().filter(|name| !needed.contains(name));
            let unused: Vec<_> = unused.map(|name| (name, value.as_bytes().to_vec())).collect();
            let _ = l2.fill(incarnation, &[], &unused, self.counters()).await;
        }
        (guard, theirs)
    }

    /// Loads, tells who waits here, then fills L2 for who waits elsewhere and gives the rights back.
    async fn load_for_all<F, Fut>(
        &self,
        l2: &L2,
        incarnation: Incarnation,
        guard: LoadGuard<V>,
        search: &Search<F>,
        rights: Vec<(Box<str>, Vec<u8>)>,
    ) where
        F: Fn(Vec<usize>) -> Fut + Sync,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        if guard.is_empty() {
            return;
        }
        let landed = self.load(guard, search).await;
        let fills = landed.map_or_else(Vec::new, |landed| self.fills(search.policy, landed));
        self.counters().l2_sets.add(fills.len() as u64);
        // Who waits elsewhere finds the fill, or that the right is free, or in the end that it has run out.
        let _ = l2.fill(incarnation, &fills, &rights, self.counters()).await;
    }

    /// What a load brought, for other replicas. What was outdated while it was loaded is left out: it would only be refused.
    fn fills(&self, policy: Policy, landed: Landed<V>) -> Vec<Fill> {
        let Landed { origin: Some(origin), entries } = landed else { return Vec::new() };
        let standing = entries
            .into_iter()
            .filter(|(_, entry)| entry.value.as_ref().is_none_or(Value::is_shared) && entry.stands(self.validity()));
        standing.map(|(name, entry)| self.fill(policy, name, entry.value.as_ref(), origin)).collect()
    }

    /// A copy to store, of what was read so; the version is the value's own.
    pub(crate) fn fill(&self, policy: Policy, name: Box<str>, value: Option<&V>, origin: Origin) -> Fill {
        let facts = value.map(Value::facts).unwrap_or_default();
        let policies = self.policies();
        let kept = policies.of(policy, value.is_some());
        Fill {
            name,
            frame: Frame {
                origin: Origin { version: facts.version, ..origin },
                list: policy != Policy::Item,
                terms: facts.terms,
                payload: value.map(Value::encode),
            },
            ttl: self.shared().jitter.shorten(kept.l2_ttl, kept.jitter),
            compress_from: kept.compress_from,
            most: if kept.l2 { kept.max_bytes } else { 0 },
        }
    }

    /// Waits for what others load, and takes over from those who do not.
    async fn wait_for<F, Fut>(
        &self,
        l2: &Arc<L2>,
        incarnation: Incarnation,
        mut guard: LoadGuard<V>,
        search: &Arc<Search<F>>,
        value: &str,
    ) where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let began = self.clock().now();
        let mut looks = BackOff::new(FIRST_LOOK, LAST_LOOK);
        let mut leases = Leases::default();
        while !guard.is_empty() {
            sleep(looks.next(self.jitter())).await;
            if self.clock().now().since(began) > self.config().load_timeout {
                return guard.fail(&LoadError::Timeout);
            }
            let names = names(&guard);
            let watched = match self.usable_l2() {
                Some((_, now)) if now == incarnation => l2.watch(incarnation, &refs(&names), self.counters()).await,
                _ => Err(Away),
            };
            let Ok(watched) = watched else {
                self.load(guard, search).await;
                return;
            };
            let (frames, seen): (Vec<_>, Vec<_>) =
                watched.into_iter().map(|Watched { frame, lease }| (frame, lease)).unzip();
            let now = self.clock().now();
            let verdicts: HashMap<Box<str>, Lease> = names
                .iter()
                .zip(seen)
                .map(|(name, lease)| (name.clone(), leases.judge(name, lease, now, l2.lease_length())))
                .collect();
            self.look_up_to(&frames).await;
            self.settle(&mut guard, search, frames);
            let of_keys: Vec<Lease> = guard.keys().map(|(name, _)| verdicts[name]).collect();
            let overdue = guard.split(|place| of_keys[place] == Lease::Overdue);
            let of_keys: Vec<Lease> = guard.keys().map(|(name, _)| verdicts[name]).collect();
            let free = guard.split(|place| of_keys[place] == Lease::Free);
            self.counters().leases_taken.add(overdue.len() as u64);
            let mut mine = overdue;
            // What is overdue is taken away, so that the next reader does not wait for it again.
            let mut rights: Vec<_> = self::names(&mine)
                .into_iter()
                .filter_map(|name| leases.last(&name).map(|lease| (name, lease)))
                .collect();
            if !free.is_empty() {
                let (won, theirs) = self.compete(l2, incarnation, free, search, value).await;
                rights.extend(self::names(&won).into_iter().map(|name| (name, value.as_bytes().to_vec())));
                mine.join(won);
                guard.join(theirs);
            }
            if !mine.is_empty() {
                // What others load must not wait for this.
                let (cache, l2, search) = (self.clone(), Arc::clone(l2), Arc::clone(search));
                self.shared()
                    .runtime
                    .spawn(async move { cache.load_for_all(&l2, incarnation, mine, &search, rights).await });
            }
        }
    }
}

fn names<V>(guard: &LoadGuard<V>) -> Vec<Box<str>> {
    guard.keys().map(|(name, _)| name.clone()).collect()
}

fn refs(names: &[Box<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}
