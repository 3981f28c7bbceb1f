//! The connections to a database: shared ones for loads and writes, and the follower's own.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    alive::Inquiry,
    listen::News,
    servers::Servers,
    session::Session,
    settings::Settings,
    trust::{Trust, Verdict},
};
use crate::StorageConfig;

type Pool = deadpool::managed::Pool<Maker>;

/// How often connections that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// How often it is asked whether a COMMIT has ended that nobody waits for any more.
const LOOK: Duration = Duration::from_secs(1);

/// The connections to a database. Writes can take a part of them: the rest is for loads, however many writes hang. The follower has
/// one more.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool,
    writes: Arc<Semaphore>,
    follower: Arc<Mutex<Option<Session>>>,
    acquire_timeout: Duration,
    pub(super) news: Arc<News>,
    pub(super) inquiry: Inquiry,
    sweep: JoinHandle<()>,
}

/// Makes connections, and tests those that were made before.
#[derive(Clone)]
struct Maker(Arc<Recipe>);

struct Recipe {
    servers: Servers,
    settings: Settings,
    trust: Arc<Trust>,
    max_lifetime: Duration,
}

/// The loan of a session. What is busy when it ends is closed; a transaction that is open is rolled back.
pub(super) struct Lease {
    held: Held,
    /// Its place among the writes.
    place: Option<OwnedSemaphorePermit>,
}

enum Held {
    Shared(Option<Object<Maker>>),
    Follower(OwnedMutexGuard<Option<Session>>),
}

impl Connections {
    /// Makes the first connection, and so finds out whether there is a server.
    pub(super) async fn open(servers: Servers, config: &StorageConfig, news: Arc<News>) -> Result<Self, sqlx::Error> {
        let (all, writes) = shares(config.max_connections);
        let maker = Maker(Arc::new(Recipe {
            servers,
            settings: Settings::new(config),
            trust: Arc::default(),
            max_lifetime: config.max_lifetime,
        }));
        let pool = Pool::builder(maker).max_size(all).queue_mode(QueueMode::Lifo).build();
        let pool = pool.map_err(|error| sqlx::Error::Configuration(error.into()))?;
        let connections = Self {
            sweep: tokio::spawn(sweep(pool.weak(), config.idle_timeout)),
            pool,
            writes: Arc::new(Semaphore::new(writes)),
            follower: Arc::default(),
            acquire_timeout: config.acquire_timeout,
            news,
            inquiry: Inquiry::default(),
        };
        drop(connections.for_load().await?);
        Ok(connections)
    }

    /// A session for a load.
    pub(super) async fn for_load(&self) -> Result<Lease, sqlx::Error> {
        let object = timeout(self.acquire_timeout, self.pool.get()).await;
        Lease::of(object.map_err(|_elapsed| sqlx::Error::PoolTimedOut)?, None)
    }

    /// A session for a write.
    pub(super) async fn for_write(&self) -> Result<Lease, sqlx::Error> {
        let acquire = async {
            let place = Arc::clone(&self.writes).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            Lease::of(self.pool.get().await, Some(place))
        };
        timeout(self.acquire_timeout, acquire).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// The follower's own session, whoever else waits for one.
    pub(super) async fn for_follower(&self) -> Result<Lease, sqlx::Error> {
        let mut slot = Arc::clone(&self.follower).lock_owned().await;
        let maker = self.pool.manager().clone();
        slot.take_if(|session| session.made().elapsed() >= maker.0.max_lifetime);
        if slot.is_none() {
            let limit = self.acquire_timeout;
            // Goes on when the caller has no more time, so that the next one finds it made.
            let made = tokio::spawn(async move {
                *slot = Some(timeout(limit, maker.create()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?);
                Ok::<_, sqlx::Error>(slot)
            });
            slot = made.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
        }
        Ok(Lease { held: Held::Follower(slot), place: None })
    }

    /// A session that is made now, in the place of the follower's own, which does not answer.
    pub(super) async fn another_for_follower(&self) -> Result<Session, sqlx::Error> {
        let made = self.pool.manager().create();
        timeout(self.acquire_timeout, made).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Makes a session the follower's own, unless it has another by now.
    pub(super) fn give_follower(&self, session: Session) {
        if let Ok(mut slot) = self.follower.try_lock() {
            slot.get_or_insert(session);
        }
    }

    /// How many connections may turn out to be lost, one after the other, before there must be a new one.
    pub(super) fn attempts(&self) -> usize {
        self.pool.status().max_size + 1
    }

    /// How many of them writes can take.
    pub(super) fn for_writes(&self) -> usize {
        shares(u32::try_from(self.pool.status().max_size).unwrap_or(u32::MAX)).1
    }

    /// How they are used. The follower's own is not counted.
    pub(super) fn usage(&self) -> crate::Pool {
        let status = self.pool.status();
        let used = status.size.saturating_sub(status.available);
        crate::Pool { name: "shared", idle: status.available as u64, used: used as u64, most: status.max_size as u64 }
    }

    /// Closes them, and waits for those that are in use.
    pub(super) async fn close(&self, at_most: Duration) {
        self.sweep.abort();
        let all = self.pool.status().max_size;
        self.pool.close();
        let ended = async {
            while self.pool.status().size > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.follower.lock().await.take();
        };
        if timeout(at_most, ended).await.is_err() {
            tracing::debug!(connections = all, "connections are still in use");
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.sweep.abort();
    }
}

/// How many connections there are, and how many of them writes can take: two thirds. Each kind has one at the least.
fn shares(connections: u32) -> (usize, usize) {
    let all = connections.max(2) as usize;
    (all, (all * 2 / 3).max(1))
}

impl Manager for Maker {
    type Type = Session;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Session, sqlx::Error> {
        let Recipe { servers, settings, trust, .. } = &*self.0;
        Session::open(servers, settings, Arc::clone(trust)).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<sqlx::Error> {
        if session.made().elapsed() >= self.0.max_lifetime {
            return Err(RecycleError::message("it is too old"));
        }
        match self.0.trust.judge(session.answered(), Instant::now()) {
            Verdict::Alive => Ok(()),
            Verdict::Dead => Err(RecycleError::message("others that were as silent were dead")),
            Verdict::Doubtful => {
                let answer = session.ping().await;
                if session.is_busy() {
                    self.0.trust.give_up(Instant::now());
                }
                answer.map_err(RecycleError::Backend)
            }
        }
    }
}

impl fmt::Debug for Maker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Maker").finish_non_exhaustive()
    }
}

impl Lease {
    fn of(
        object: Result<Object<Maker>, PoolError<sqlx::Error>>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, sqlx::Error> {
        match object {
            Ok(object) => Ok(Self { held: Held::Shared(Some(object)), place }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        match &self.held {
            Held::Shared(Some(object)) => object,
            Held::Follower(slot) => slot.as_ref().expect("a session until the loan ends"),
            Held::Shared(None) => unreachable!("only the end of the loan takes it"),
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Session {
        match &mut self.held {
            Held::Shared(Some(object)) => object,
            Held::Follower(slot) => slot.as_mut().expect("a session until the loan ends"),
            Held::Shared(None) => unreachable!("only the end of the loan takes it"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let object = match &mut self.held {
            Held::Shared(object) => object.take(),
            Held::Follower(slot) => {
                slot.take_if(|session| session.is_busy() || session.is_in_transaction());
                None
            }
        };
        let Some(mut object) = object else { return };
        let place = self.place.take();
        let runtime = Handle::try_current().ok();
        if object.is_busy() {
            let pool = Object::pool(&object);
            let session = Object::take(object);
            if let (true, Some(pool), Some(place), Some(runtime)) = (session.is_committing(), pool, place, runtime) {
                runtime.spawn(hold_until_over(pool.weak(), session.pid(), place));
            }
        } else if object.is_in_transaction() {
            let Some(runtime) = runtime else { return drop(Object::take(object)) };
            runtime.spawn(async move {
                let _ = object.rollback().await;
                if object.is_busy() || object.is_in_transaction() {
                    drop(Object::take(object));
                }
                drop(place);
            });
        }
    }
}

/// The server may go on with a COMMIT whose connection was closed: one that waits for a synchronous standby notices nothing. As long
/// as it does, its place among the writes is taken, so that those who hang in the server do not become more and more until it has no
/// connection left for anybody.
async fn hold_until_over(pool: deadpool::managed::WeakPool<Maker>, pid: i32, place: OwnedSemaphorePermit) {
    const HANGS: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity \
         WHERE pid = $1 AND state = 'active' AND query = 'COMMIT')";
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { break };
        let Ok(object) = timeout(LOOK, pool.get()).await else { continue };
        let Ok(object) = object else { continue };
        let mut lease = Lease { held: Held::Shared(Some(object)), place: None };
        match sqlx::query_scalar(HANGS).bind(pid).fetch_one(&mut *lease).await {
            Ok(true) | Err(_) => {}
            Ok(false) => break,
        }
    }
    drop(place);
}

/// Closes connections that have not been used for long.
async fn sweep(pool: deadpool::managed::WeakPool<Maker>, idle_timeout: Duration) {
    loop {
        tokio::time::sleep(SWEEP.min(idle_timeout)).await;
        let Some(pool) = pool.upgrade() else { return };
        let max_lifetime = pool.manager().0.max_lifetime;
        drop(pool.retain(|session, _| {
            session.answered().elapsed() < idle_timeout && session.made().elapsed() < max_lifetime
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_and_writes_have_a_share_each() {
        let shares: Vec<_> = [0, 1, 2, 3, 4, 10, 100].map(shares).to_vec();
        assert_eq!(shares, [(2, 1), (2, 1), (2, 1), (3, 2), (4, 2), (10, 6), (100, 66)]);
    }
}
