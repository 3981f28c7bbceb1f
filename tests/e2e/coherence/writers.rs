//! Writers: through the replica that is read, and through sessions that know nothing of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_cache::{Incarnation, Token};
use larder_server::catalog::Catalog;
use larder_storage::{Creation, Deletion, ProductMask, Update, Updating, WriteOptions};
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::yield_now,
    time::sleep,
};

use super::{
    history::History,
    outsider::{Outsider, Put},
    shop::{KEYS, Write, category, data, id, tag},
};

/// One lock for each product, so that its writes come one after another. A writer takes all of its locks at once, in the
/// order of the products, before it touches one of them.
pub(super) type Locks = Arc<Vec<Mutex<()>>>;

/// The locks of the shop.
pub(super) fn locks() -> Locks {
    Arc::new((0..KEYS).map(|_| Mutex::new(())).collect())
}

/// Somebody who writes.
pub(super) struct Writer {
    pub(super) catalog: Catalog,
    pub(super) history: Arc<History>,
    pub(super) locks: Locks,
    /// Of the database, for the tokens of what is written past the replica.
    pub(super) incarnation: Incarnation,
    pub(super) rng: SmallRng,
}

impl Writer {
    /// Writes once through the replica.
    pub(super) async fn write(&mut self) {
        let several = self.rng.random_bool(0.2);
        let keys = self.some_keys(if several { 4 } else { 1 });
        let (locks, history) = (Arc::clone(&self.locks), Arc::clone(&self.history));
        let _locked = lock(&locks, &keys).await;
        if several {
            let writes: Vec<_> = keys.iter().map(|&key| (key, history.new_write())).collect();
            let pending = history.commit(writes.iter().map(|&(key, write)| (key, Some(write))).collect(), true);
            let products = writes.into_iter().map(|(key, write)| (id(key), data(key, write))).collect();
            let written = self.catalog.import(products).await.expect("an import");
            return pending.acknowledge(written.token);
        }
        let key = keys[0];
        let present = history.current(key).is_some();
        if present && self.rng.random_bool(0.3) {
            let pending = history.commit(vec![(key, None)], true);
            let written = self.catalog.delete(id(key), None).await.expect("a deletion");
            assert_eq!(written.value, Deletion::Deleted);
            return pending.acknowledge(written.token);
        }
        let write = history.new_write();
        let (pending, data) = (history.commit(vec![(key, Some(write))], true), data(key, write));
        let token = if present {
            let update = Update { id: id(key), data, mask: ProductMask::ALL, version: None, allow_missing: false };
            let written = self.catalog.update(update, WriteOptions::default()).await.expect("an update");
            assert!(matches!(written.value, Updating::Updated(_)), "{:?}", written.value);
            written.token
        } else {
            let written = self.catalog.create(id(key), data, WriteOptions::default()).await.expect("a creation");
            assert!(matches!(written.value, Creation::Created(_)), "{:?}", written.value);
            written.token
        };
        pending.acknowledge(token);
    }

    /// Makes one transaction in a session of its own, which may be rolled back as a whole or in part.
    pub(super) async fn write_outside(&mut self, session: &mut Outsider) {
        let keys = if self.rng.random_bool(0.005) { (0..KEYS).collect() } else { self.some_keys(3) };
        let (locks, history) = (Arc::clone(&self.locks), Arc::clone(&self.history));
        let everything = keys.len() == KEYS;
        let locked;
        if session.is_postgres() {
            session.begin().await;
            if self.rng.random_bool(0.7) {
                // Its number is given out now; those that begin later may commit earlier.
                session.number().await;
            }
            self.dawdle(6).await;
            locked = lock(&locks, &keys).await;
        } else {
            locked = lock(&locks, &keys).await;
            session.begin().await;
        }
        let mut changes: Vec<(usize, Option<Write>)> = Vec::new();
        if everything {
            let sql = if session.is_postgres() { "TRUNCATE products" } else { "DELETE FROM products" };
            session.run(sql).await;
            changes.extend(keys.iter().map(|&key| (key, None)));
        } else {
            for &key in &keys {
                let present = history.current(key).is_some();
                changes.push((key, self.change(session, key, present).await));
            }
        }
        if self.rng.random_bool(0.1) {
            self.invalidate(session).await;
        }
        self.dawdle(if session.is_postgres() { 6 } else { 1 }).await;
        if self.rng.random_bool(0.2) {
            session.run("ROLLBACK").await;
            history.counts.rollbacks.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let number = session.number().await;
        let pending = history.commit(changes, false);
        let salt = session.salt(number).await;
        session.run("COMMIT").await;
        pending.acknowledge(Some(Token { incarnation: self.incarnation, id: number, salt }));
        drop(locked);
    }

    /// Changes a product in the transaction under way, perhaps with some back and forth. Returns what is left of it.
    async fn change(&mut self, session: &mut Outsider, key: usize, present: bool) -> Option<Write> {
        let mut left = if self.rng.random_bool(0.2) {
            session.run("SAVEPOINT first").await;
            self.step(session, key, present).await;
            session.run("ROLLBACK TO SAVEPOINT first").await;
            self.step(session, key, present).await
        } else {
            self.step(session, key, present).await
        };
        if self.rng.random_bool(0.2) {
            session.run("SAVEPOINT second").await;
            left = self.step(session, key, left.is_some()).await;
            session.run("RELEASE SAVEPOINT second").await;
        }
        left
    }

    async fn step(&mut self, session: &mut Outsider, key: usize, present: bool) -> Option<Write> {
        if present && self.rng.random_bool(0.3) {
            session.run(format!("DELETE FROM products WHERE id = '{}'", id(key))).await;
            return None;
        }
        let write = self.history.new_write();
        let how = match (self.rng.random_range(0..3), present) {
            (0, true) => Put::Update,
            (0, false) => Put::Insert,
            (1, _) => Put::Upsert,
            _ => Put::Replace,
        };
        let sql = session.put(how, &id(key), &data(key, write));
        session.run(sql).await;
        Some(write)
    }

    /// Asks for copies to be dropped. That changes nothing.
    async fn invalidate(&mut self, session: &mut Outsider) {
        let (kind, key) = match self.rng.random_range(0..5) {
            0 => ("key", id(self.rng.random_range(0..KEYS))),
            1 => ("tag", tag(0)),
            2 => ("category", category(0)),
            3 => ("pattern", "product:p0*".to_owned()),
            _ => ("all", String::new()),
        };
        session.run(format!("INSERT INTO changes (kind, key) VALUES ('{kind}', '{key}')")).await;
    }

    /// Lets others go first, perhaps.
    async fn dawdle(&mut self, most: u64) {
        match self.rng.random_range(0..4) {
            0 => {}
            1 => yield_now().await,
            _ => sleep(Duration::from_millis(self.rng.random_range(0..=most))).await,
        }
    }

    fn some_keys(&mut self, most: usize) -> Vec<usize> {
        let all: Vec<usize> = (0..KEYS).collect();
        let count = self.rng.random_range(1..=most);
        let mut keys: Vec<usize> = all.choose_multiple(&mut self.rng, count).copied().collect();
        keys.sort_unstable();
        keys
    }
}

async fn lock<'a>(locks: &'a Locks, keys: &[usize]) -> Vec<MutexGuard<'a, ()>> {
    let mut locked = Vec::with_capacity(keys.len());
    for &key in keys {
        locked.push(locks[key].lock().await);
    }
    locked
}

/// Tells tasks to come to an end.
#[derive(Clone, Default)]
pub(super) struct Flag(Arc<AtomicBool>);

impl Flag {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
