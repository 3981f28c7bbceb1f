//! kill -9 during a stream of writes, fifty times on each database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use larder_test_servers::{Postgres, PostgresOptions};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{task::JoinSet, time::sleep};

use super::writer::{Phase, Writer};
use crate::harness::{Client, Database, Process, eventually};

const ROUNDS: usize = 50;
const WRITERS: usize = 4;
/// A kill comes after so many acknowledgements, and then after so many milliseconds: at any time in the life of a write.
const KILL_AFTER_WRITES: std::ops::Range<u64> = 1..12;
const KILL_AFTER_MILLIS: std::ops::Range<u64> = 0..25;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Larder,
    Postgres,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_no_acknowledged_write_on_sqlite() {
    survive(&Database::sqlite(), |_| Victim::Larder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_no_acknowledged_write_on_postgres() {
    // What the server promised to keep is on disk. Without the setting it would sync each of a thousand files one by one
    // whenever it is started.
    let settings = vec![("recovery_init_sync_method".to_owned(), "syncfs".to_owned())];
    let options = PostgresOptions { fsync: true, settings, ..PostgresOptions::default() };
    let server = Arc::new(Postgres::start(options).await);
    let database = Database::on(server).await;
    survive(&database, |round| if round % 2 == 0 { Victim::Larder } else { Victim::Postgres }).await;
}

async fn survive(database: &Database, victim: impl Fn(usize) -> Victim) {
    let begin = Instant::now();
    let seed: u64 =
        std::env::var("LARDER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(format!("w{number}"), SmallRng::from_rng(&mut rng))).collect();
    let mut larder = Process::start(database).await;
    for round in 0..ROUNDS {
        let (phase, victim) = (Phase::default(), victim(round));
        let writing = start(&mut writers, &larder.client(), &phase);
        let enough = rng.random_range(KILL_AFTER_WRITES);
        eventually("writes to be acknowledged", async || phase.acknowledged() >= enough).await;
        sleep(Duration::from_millis(rng.random_range(KILL_AFTER_MILLIS))).await;
        phase.set_doomed();
        match victim {
            Victim::Larder => {
                larder.signal("KILL").await;
                larder.ended().await;
                phase.set_over();
                larder = Process::start(database).await;
            }
            Victim::Postgres => {
                let server = Arc::clone(database.server());
                tokio::task::spawn_blocking(move || server.kill()).await.expect("PostgreSQL to be killed");
                phase.set_over();
                database.server().restart().await;
            }
        }
        writers = writing.join_all().await;
        for writer in &mut writers {
            writer.check(larder.client()).await;
        }
    }
    for writer in &writers {
        writer.check_list(larder.client()).await;
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    let unknown: u64 = writers.iter().map(|writer| writer.unknown).sum();
    println!("{ROUNDS} kills, {acknowledged} acknowledged writes, {unknown} unknown outcomes, {:?}", begin.elapsed());
    assert!(unknown > 0, "no kill met a write");
    larder.stop().await;
}

fn start(writers: &mut Vec<Writer>, client: &Client, phase: &Phase) -> JoinSet<Writer> {
    let mut writing = JoinSet::new();
    for mut writer in writers.drain(..) {
        let (client, phase) = (client.clone(), phase.clone());
        writing.spawn(async move {
            writer.write(client, phase).await;
            writer
        });
    }
    writing
}
