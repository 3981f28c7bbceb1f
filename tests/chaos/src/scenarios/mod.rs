//! What is done to the cluster while it is read and written.

mod aborted;
mod backup;
mod calm;
pub(crate) mod clocks;
mod database;
mod fills;
mod hanging;
mod messages;
mod outsiders;
mod poison;
mod redis;
mod replicas;
mod retries;
mod snapshots;
pub(crate) mod soak;
mod stampede;
mod watch;

use clap::ValueEnum;

use crate::{report::Report, stage::Setup};

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// A few seconds of load, lost messages and a Redis that is emptied: for `make test`
    Smoke,
    /// Replicas that were told to keep a longer bound than the one they are checked by: must be found out
    Blunder,
    /// Nothing is broken: 0 wrong, writes seen everywhere with a p99 under 10 ms and within 50 ms
    Calm,
    /// Subscribers cut every 2 s, messages lost, then all of them, then 5 s late: nothing older than the bound
    Messages,
    /// Redis emptied again and again, full, read-only, and unable to save: 0 wrong, 0 errors
    RedisTroubles,
    /// Redis answers one time in ten with a frame that it was given long ago: 0 wrong, 0 errors
    Replays,
    /// Redis answers with nothing but what it was given long ago: 0 wrong, and nobody waits for more than a lease
    OnlyReplays,
    /// Redis killed and restarted, empty or from an old file, then down: 0 failed reads and writes
    RedisRestarts,
    /// Redis stopped (SIGSTOP): reads wait at most for the command timeout
    RedisPaused,
    /// One replica cut off from Redis, then one from `PostgreSQL`: stale replies are marked
    Partitions,
    /// UPDATE typed into psql, one row at a time and many at once: seen everywhere soon
    Psql,
    /// A write transaction held open while others write: 0 wrong
    OpenTransaction,
    /// Thousands of readers of one cold key, also with a query of 2 s: 1 query, and 2 at most if the loader is killed
    Stampede,
    /// `PostgreSQL` restarted, and killed with commits that it had not written: nothing is served that it lost
    Postgres,
    /// A row locked, commits that wait for a standby that is away, connections that the network forgot: 0 wrong, and reads go on
    HangingDatabase,
    /// Rows that nobody can read, triggers switched off and on: 0 wrong, and other products are read, fresh
    Poison,
    /// `PostgreSQL` put back from a base backup: nothing is served that it no longer has, tokens of the lost life are refused
    BaseBackup,
    /// `PostgreSQL` put back from a base backup, a cold copy and a dump, replicas running and killed: nothing that was lost is served
    Lives,
    /// A replica stopped (SIGSTOP) for 5 s: 0 wrong, and the others are as fast as ever
    ReplicaPaused,
    /// Replicas killed again and again while clients retry as the shipped service config says: 0 failed calls
    ReplicasKilled,
    /// All replicas restarted one after the other, again and again, while clients retry: 0 failed calls, and Redis stays warm
    RollingRestart,
    /// Writers killed between commit and publish: every change visible everywhere within 1 s
    AbortedWriters,
    /// The clock of one replica 10 minutes ahead, then behind: as fast as ever
    Clocks,
    /// Loads and fills held back while the product is changed, deleted or created again: 0 stale, 0 come back, 0 not found
    LateFills,
    /// Batches with `same_snapshot` while transactions move stock between products: the sum is right every time
    SameSnapshot,
    /// Streams of changes cut and resumed on other replicas: no change missed, none told twice
    Watch,
    /// Written on one replica, read on another with the token, by every call: the new state every time
    Tokens,
}

impl Scenario {
    /// All of them but those that test this program.
    pub(crate) fn all() -> Vec<Self> {
        let own = [Self::Smoke, Self::Blunder];
        Self::value_variants().iter().copied().filter(|scenario| !own.contains(scenario)).collect()
    }

    /// Its name on the command line, and what it is about.
    pub(crate) fn described(self) -> (String, String) {
        let value = self.to_possible_value();
        let value = value.as_ref();
        let about = value.and_then(|value| value.get_help().map(ToString::to_string));
        (value.map_or_else(String::new, |value| value.get_name().to_owned()), about.unwrap_or_default())
    }

    /// Plays it. The error is about what could not be set up.
    pub(crate) async fn run(self, setup: &Setup) -> anyhow::Result<Report> {
        match self {
            Self::Smoke => calm::smoke(setup).await,
            Self::Blunder => messages::blunder(setup).await,
            Self::Calm => calm::calm(setup).await,
            Self::Messages => messages::messages(setup).await,
            Self::RedisTroubles => redis::troubles(setup).await,
            Self::Replays => messages::replays(setup).await,
            Self::OnlyReplays => messages::only_replays(setup).await,
            Self::RedisRestarts => redis::restarts(setup).await,
            Self::RedisPaused => redis::paused(setup).await,
            Self::Partitions => replicas::partitions(setup).await,
            Self::Psql => outsiders::psql(setup).await,
            Self::OpenTransaction => outsiders::open_transaction(setup).await,
            Self::Stampede => stampede::stampede(setup).await,
            Self::Postgres => database::restarts(setup).await,
            Self::HangingDatabase => hanging::database(setup).await,
            Self::Poison => poison::rows_and_triggers(setup).await,
            Self::BaseBackup => backup::put_back(setup).await,
            Self::Lives => backup::lives(setup).await,
            Self::AbortedWriters => aborted::writers(setup).await,
            Self::Clocks => clocks::wrong(setup).await,
            Self::LateFills => fills::late(setup).await,
            Self::SameSnapshot => snapshots::same(setup).await,
            Self::Watch => watch::resumed(setup).await,
            Self::ReplicaPaused => replicas::paused(setup).await,
            Self::ReplicasKilled => retries::killed(setup).await,
            Self::RollingRestart => retries::rolling_restart(setup).await,
            Self::Tokens => calm::tokens(setup).await,
        }
    }
}
