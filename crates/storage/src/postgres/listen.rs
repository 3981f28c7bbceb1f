//! Being woken by the change log's notifications, and waking others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_back_off::BackOff;
use sqlx::{
    Executor as _, PgPool, Row as _,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::servers::Servers;

const CHANNEL: &str = "larder_changes";
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so much silence the connection has to prove that it is alive.
const SILENCE: Duration = Duration::from_secs(8);
/// How long a proof and a notification may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Notifications of commits of this repository come no closer than this.
const GAP: Duration = Duration::from_millis(10);

/// A connection of its own that waits for notifications, and is made again when it is lost. While it is away nobody is woken.
#[derive(Debug)]
pub(super) struct Listener {
    news: Arc<News>,
    task: JoinHandle<()>,
}

/// That there may be something new in the change log.
#[derive(Debug, Default)]
pub(super) struct News {
    here: Notify,
    elsewhere: Notify,
    /// Whether the database is set to tell of nothing: changes are then found by polling alone.
    turned_off: AtomicBool,
}

impl News {
    /// A transaction of this repository was committed, or may have been. Whoever waits here is woken now, and those elsewhere by
    /// one notification for all the commits of a short while.
    pub(super) fn committed(&self) {
        if !self.turned_off.load(Ordering::Relaxed) {
            self.here.notify_one();
            self.elsewhere.notify_one();
        }
    }
}

impl Listener {
    /// Begins to listen, on the runtime of the caller.
    pub(super) fn start(servers: Servers, connect_limit: Duration, news: Arc<News>) -> Self {
        let task = tokio::spawn(listen(servers, connect_limit, Arc::clone(&news)));
        Self { news, task }
    }

    /// Waits for news, also for such as came since the last wait.
    pub(super) async fn notified(&self, at_most: Duration) {
        let _ = timeout(at_most, self.news.here.notified()).await;
    }

    /// Ends the connection.
    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

#[expect(clippy::disallowed_methods, reason = "the length of a pause decides nothing")]
async fn listen(servers: Servers, connect_limit: Duration, news: Arc<News>) {
    let mut back_off = BackOff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        // A pool for each connection: the driver does not let go of one that does not answer before the network gives it up.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(connect_limit)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(servers.last().clone());
        match receive(&pool, &news, &mut back_off).await {
            Ok(()) => tracing::debug!("notification connection lost"),
            Err(error) => tracing::debug!(error = %error, "notification connection failed"),
        }
        sleep(back_off.next(rand::random())).await;
    }
}

/// Passes notifications on, both ways, until the connection is lost.
async fn receive(pool: &PgPool, news: &News, back_off: &mut BackOff) -> Result<(), sqlx::Error> {
    let mut listener = answer(PgListener::connect_with(pool)).await?;
    listener.eager_reconnect(false);
    answer(listener.listen(CHANNEL)).await?;
    let about = "SELECT pg_catalog.pg_backend_pid()::text, \
                 (coalesce(pg_catalog.current_setting('larder.notify', true), '') IN ('off', 'false', 'no', '0'))::text";
    let about = answer(listener.fetch_one(about)).await?;
    let pid: u32 = about.try_get::<&str, _>(0)?.parse().unwrap_or_default();
    news.turned_off.store(about.try_get::<&str, _>(1)? == "true", Ordering::Relaxed);
    back_off.reset();
    // What came while nobody listened is looked for at once.
    news.here.notify_one();
    let mut next = Instant::now();
    loop {
        let wanted = async {
            sleep_until(next).await;
            news.elsewhere.notified().await;
        };
        tokio::select! {
            received = listener.try_recv() => match received? {
                // What was committed here woke who waits here.
                Some(notification) if notification.process_id() == pid => {}
                Some(_) => news.here.notify_one(),
                None => return Ok(()),
            },
            () = wanted => {
                next = Instant::now() + GAP;
                answer(listener.execute("NOTIFY larder_changes")).await?;
            }
            () = sleep(SILENCE) => {
                answer(listener.execute("SELECT 1")).await?;
            }
        }
    }
}

async fn answer<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(ANSWER, question).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
