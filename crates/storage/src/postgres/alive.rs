//! Telling a statement that takes its time from a connection that is dead.

use std::{collections::HashSet, io, pin::pin, time::Duration};

use sqlx::Row as _;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::pool::Connections;

/// How long a statement may take before it is asked what has become of it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer of the server may be under way.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// How long an inquiry holds: statements that wait together ask once.
const HOLDS: Duration = Duration::from_millis(500);

/// The processes of the server that are known to wait for us, rather than we for them, by an inquiry not long ago.
#[derive(Debug, Default)]
pub(super) struct Inquiry(Mutex<Option<(Instant, Processes)>>);

/// Processes of the server, by what they do.
#[derive(Debug, Default)]
struct Processes {
    /// Those that are there.
    all: HashSet<i32>,
    /// Those that wait for their client.
    idle: HashSet<i32>,
}

impl Connections {
    /// Waits for a statement that only reads, which the process `pid` of the server runs. When the server says on another
    /// connection that it runs nothing for us there, the answer will never come: then the connection is lost.
    pub(super) async fn unless_dead<T>(
        &self,
        pid: i32,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let mut statement = pin!(statement);
        loop {
            if let Ok(done) = timeout(PATIENCE, &mut statement).await {
                return done;
            }
            let inquiry = async {
                if self.is_dead(pid).await {
                    sleep(UNDER_WAY).await;
                    true
                } else {
                    false
                }
            };
            tokio::select! {
                biased;
                done = &mut statement => return done,
                dead = inquiry => if dead {
                    return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, "the answer was lost")));
                },
            }
        }
    }

    /// Whether a process of the server is gone, or waits for us. What cannot be found out is not so.
    async fn is_dead(&self, pid: i32) -> bool {
        let mut known = self.inquiry.0.lock().await;
        if known.as_ref().is_none_or(|(asked, _)| asked.elapsed() >= HOLDS) {
            let asked = Instant::now();
            *known = timeout(PATIENCE, self.inquire()).await.ok().and_then(Result::ok).map(|found| (asked, found));
        }
        known.as_ref().is_some_and(|(_, found)| !found.all.contains(&pid) || found.idle.contains(&pid))
    }

    async fn inquire(&self) -> Result<Processes, sqlx::Error> {
        let mut session = self.for_follower().await?;
        let rows = sqlx::query(
            "SELECT pid, state LIKE 'idle%' FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()",
        )
        .fetch_all(&mut *session)
        .await?;
        let mut found = Processes::default();
        for row in &rows {
            let pid = row.try_get(0)?;
            found.all.insert(pid);
            // Of others' processes no state is told.
            if row.try_get::<Option<bool>, _>(1)? == Some(true) {
                found.idle.insert(pid);
            }
        }
        Ok(found)
    }
}
