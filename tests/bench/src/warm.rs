//! How warm a new replica begins: `larder-bench warm`.
//!
//! Two replicas over one PostgreSQL and one Redis are read for a while, each product as often as Zipf's law has it. Then another
//! one is started, and is read in the same way from the moment that it is ready. Which share of the reads memory answers is
//! compared with its neighbours' in the same seconds; once as a replica is by default, and once without anything read beforehand.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use larder_proto::{
    admin::{GetStatsRequest, TierStats, cache_admin_client::CacheAdminClient},
    catalog::CacheTier,
};
use larder_test_servers::{Postgres, PostgresOptions, Redis, RedisOptions};
use tokio::{task::JoinSet, time::sleep};
use tonic::transport::{Channel, Endpoint};

use crate::{
    cli::Warm,
    fill::fill,
    hit_ratio::zipf,
    load::{Calls, Target, Window, open},
    machine::Machine,
    render::{Form, table},
    run::progress,
    scenario::{GET, database_requests},
    server::{ServerProcess, larder_binary},
};

/// Requests of one replica before they begin again.
const REQUESTS: usize = 1 << 18;
const CONNECTIONS: usize = 4;
/// What is looked at of a new replica: so long, and as long again.
const WINDOW: Duration = Duration::from_secs(5);
const WINDOWS: usize = 2;
/// How long one stretch of load is.
const STRETCH: Window = Window { warm_up: Duration::ZERO, measured: Duration::from_millis(500) };

/// A replica under load.
struct Replica {
    server: ServerProcess,
    admin: CacheAdminClient<Channel>,
    stop: Arc<AtomicBool>,
    load: JoinSet<anyhow::Result<()>>,
}

/// Reads so far, and how many of them memory answered.
#[derive(Debug, Clone, Copy)]
struct Reads {
    all: u64,
    hits: u64,
}

/// Measures and reports.
pub(crate) async fn run(wanted: &Warm) -> anyhow::Result<String> {
    let binary = larder_binary(wanted.larder.clone())?;
    progress(&Machine::look(&binary).line());
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let redis = Redis::start(RedisOptions::default()).await;
    let postgres = Postgres::start(PostgresOptions::default()).await;
    let settings = vec![("DATABASE_URL", postgres.create_database().await), ("REDIS_URL", redis.url())];

    let mut replicas = Vec::new();
    for name in ["first", "second"] {
        replicas.push(Replica::start(&binary, directory.path(), name, &settings).await?);
    }
    fill(replicas[0].server.target.address, wanted.products as usize).await?;
    for (number, replica) in replicas.iter_mut().enumerate() {
        replica.read(wanted, number as u64);
    }
    progress(&format!("two replicas are read for {} s", wanted.seconds));
    sleep(Duration::from_secs_f64(wanted.seconds)).await;

    let mut rows = vec![
        ["new replica", "ready after", "seconds", "its neighbours", "itself", "points"].map(str::to_owned).to_vec(),
    ];
    for (name, warmth) in [("as it is by default", None), ("LARDER_WARM_ON_START=0", Some("0"))] {
        progress(name);
        let mut settings = settings.clone();
        settings.extend(warmth.map(|most| ("LARDER_WARM_ON_START", most.to_owned())));
        let begun = Instant::now();
        let mut new = Replica::start(&binary, directory.path(), "new", &settings).await?;
        let ready = begun.elapsed();
        new.read(wanted, 2);
        replicas.push(new);
        for window in 0..WINDOWS {
            let before = reads(&mut replicas).await?;
            sleep(WINDOW).await;
            let shares: Vec<f64> = before
                .iter()
                .zip(reads(&mut replicas).await?)
                .map(|(before, after)| after.share_since(*before))
                .collect();
            let [neighbours @ .., new] = &shares[..] else { anyhow::bail!("no replica") };
            #[expect(clippy::cast_precision_loss, reason = "two")]
            let mean = neighbours.iter().sum::<f64>() / neighbours.len() as f64;
            let second = WINDOW.as_secs() * window as u64;
            rows.push(vec![
                name.to_owned(),
                format!("{:.1} s", ready.as_secs_f64()),
                format!("{second} to {}", second + WINDOW.as_secs()),
                neighbours.iter().map(|share| percent(*share)).collect::<Vec<_>>().join(", "),
                percent(*new),
                format!("{:+.1}", 100.0 * (new - mean)),
            ]);
        }
        replicas.pop().context("no new replica")?.stop().await?;
    }
    for replica in replicas {
        replica.stop().await?;
    }
    let title = format!(
        "Share of reads that memory answers: Zipf 1.0 over {} products, {} reads/s of each replica, after {} s",
        wanted.products, wanted.rate, wanted.seconds
    );
    Ok(format!("{title}\n\n{}\n", table(Form::Markdown, &rows)))
}

impl Replica {
    async fn start(
        binary: &Path,
        directory: &Path,
        name: &'static str,
        settings: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        let (binary, directory, settings) = (binary.to_owned(), directory.to_owned(), settings.to_vec());
        // It sleeps until the server is ready, and the load of the others comes from this thread.
        let started = tokio::task::spawn_blocking(move || {
            let file = directory.join(format!("{name}.json"));
            if file.exists() {
                std::fs::remove_file(file)?;
            }
            ServerProcess::larder(&binary, &directory, name, &settings)
        });
        let server = started.await??;
        let admin = server.admin.context("no CacheAdmin")?;
        let channel = Endpoint::from_shared(format!("http://{admin}"))?.connect().await?;
        let (admin, stop) = (CacheAdminClient::new(channel), Arc::new(AtomicBool::new(false)));
        Ok(Self { server, admin, stop, load: JoinSet::new() })
    }

    /// Has it read until it is stopped, in an order of its own.
    fn read(&mut self, wanted: &Warm, seed: u64) {
        // The place among the requests is the rank.
        let ranked = database_requests(wanted.products as usize);
        let requests = zipf(REQUESTS, ranked.len(), seed).into_iter().map(|rank| ranked[rank as usize].clone());
        let calls = Arc::new(Calls::new(GET, requests.collect()));
        let (target, rate, stop) = (self.server.target, wanted.rate, Arc::clone(&self.stop));
        self.load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                stretch(target, &calls, rate).await?;
            }
            Ok(())
        });
    }

    async fn reads(&mut self) -> anyhow::Result<Reads> {
        let told = self.admin.get_stats(GetStatsRequest::default()).await?.into_inner();
        let of_replica = told.replicas.into_iter().next().context("no statistics")?;
        let l1 = of_replica.tiers.into_iter().find(|tier| tier.tier() == CacheTier::L1);
        let TierStats { requests, hits, .. } = l1.context("no statistics of L1")?;
        Ok(Reads { all: requests, hits })
    }

    /// Ends the load, then the server. An error is one of the load.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(load) = self.load.join_next().await {
            load??;
        }
        Ok(())
    }
}

async fn stretch(target: Target, calls: &Arc<Calls>, rate: f64) -> anyhow::Result<()> {
    let faults = open(target, calls, CONNECTIONS, rate, STRETCH).await?.faults;
    ensure!(faults.count == 0, "{} wrong replies: {:?}", faults.count, faults.first);
    Ok(())
}

async fn reads(replicas: &mut [Replica]) -> anyhow::Result<Vec<Reads>> {
    futures_util::future::try_join_all(replicas.iter_mut().map(Replica::reads)).await
}

impl Reads {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn share_since(self, before: Self) -> f64 {
        (self.hits - before.hits) as f64 / (self.all - before.all).max(1) as f64
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
