//! How many connections each replica has to the database.

use std::time::Duration;

use anyhow::Context as _;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    psql::Psql,
    world::{REPLICAS, World, user},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The server's default for `LARDER_DATABASE_CONNECTIONS`, the one that waits for notifications, the follower's own, and the one that
/// the follower asks over as well when its own does not answer soon.
pub(crate) const CAP: u64 = 10 + 3;

/// Asks PostgreSQL again and again, until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Connections {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<[u64; REPLICAS]>>,
}

impl Connections {
    /// Begins to ask.
    pub(crate) async fn watch(world: &World) -> anyhow::Result<Self> {
        let (session, (stop, stopped)) = (world.psql().await?, oneshot::channel());
        Ok(Self { stop, task: tokio::spawn(look(session, stopped)) })
    }

    /// The most connections that each replica had at once.
    pub(crate) async fn most(self) -> anyhow::Result<[u64; REPLICAS]> {
        let _ = self.stop.send(());
        self.task.await.context("the connections were not counted")?
    }
}

async fn look(mut session: Psql, mut stopped: oneshot::Receiver<()>) -> anyhow::Result<[u64; REPLICAS]> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut most = [0; REPLICAS];
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(most),
            _ = ticks.tick() => {}
        }
        let counts = session.run("SELECT usename, count(*) FROM pg_stat_activity GROUP BY usename").await?;
        for (name, count) in counts.lines().filter_map(|line| line.split_once('|')) {
            if let Some(replica) = (0..REPLICAS).find(|replica| user(*replica) == name) {
                most[replica] = most[replica].max(count.parse()?);
            }
        }
    }
}
