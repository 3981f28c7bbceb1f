//! Being woken by the change log's notifications.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::{sync::Notify, task::JoinHandle};

const CHANNEL: &str = "larder_changes";
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection of its own that waits for notifications, and is made again when it is lost. While it is away nobody is woken.
#[derive(Debug)]
pub(super) struct Listener {
    news: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Begins to listen, on the runtime of the caller.
    pub(super) fn start(options: PgConnectOptions, connect_limit: Duration) -> Self {
        let news = Arc::new(Notify::new());
        let task = tokio::spawn(listen(options, connect_limit, Arc::clone(&news)));
        Self { news, task }
    }

    /// Waits for a notification, also one that has come since the last wait.
    pub(super) async fn notified(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.news.notified()).await;
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
async fn listen(options: PgConnectOptions, connect_limit: Duration, news: Arc<Notify>) {
    // Nothing that the listener does is limited by a statement timeout: it only waits.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(connect_limit)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options);
    let mut failures = 0_u32;
    loop {
        match receive(&pool, &news, &mut failures).await {
            Ok(()) => tracing::debug!("notification connection lost"),
            Err(error) => tracing::debug!(error = %error, failures, "notification connection failed"),
        }
        failures = failures.saturating_add(1);
        let longest = (Duration::from_millis(50) * 2_u32.pow(failures.min(7))).min(LONGEST_PAUSE);
        tokio::time::sleep(longest.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}

/// Passes notifications on until the connection is lost.
async fn receive(pool: &sqlx::PgPool, news: &Notify, failures: &mut u32) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    *failures = 0;
    // What came while nobody listened is looked for at once.
    news.notify_one();
    while listener.try_recv().await?.is_some() {
        news.notify_one();
    }
    Ok(())
}
