//! `WatchProducts`, cut and resumed: every change is told once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use larder_proto::catalog::{ProductEvent, ProductEventKind, WatchProductsRequest, WatchProductsResponse};
use larder_test_servers::Faults;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::timeout;
use tonic::Streaming;

use crate::{
    report::Report,
    shop::Shop,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

/// Streams at once.
const WATCHERS: usize = 4;
/// How long a stream may be silent: it says how far it has come every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// The product whose creation ends it all.
const END: &str = "the-end";
const LOGGED: &str = "SELECT version FROM changes WHERE kind IN ('put', 'delete')";

pub(super) async fn resumed(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    let mut session = stage.world.psql().await?;
    // Nobody writes now: what is logged is what came before the streams.
    let before = versions(&session.run(LOGGED).await?)?;
    let mut watchers = Vec::new();
    for number in 0..WATCHERS {
        watchers.push(Watcher::open(&stage, number).await?);
    }
    stage.start_load().await;
    stage.world.set_faults(Faults { push_drop: 0.1, ..Faults::default() });
    let cuts = setup.count(5, 25);
    let follow = async {
        let told = try_join_all(watchers.iter_mut().map(|watcher| watcher.follow(&stage.shop, cuts))).await;
        told.map(drop)
    };
    follow.await?;
    stage.world.set_faults(Faults::default());
    stage.stop_load().await;
    let logged: BTreeSet<_> = versions(&session.run(LOGGED).await?)?.difference(&before).copied().collect();
    session.run(&format!("INSERT INTO products (id, name) VALUES ('{END}', 'End')")).await?;
    try_join_all(watchers.iter_mut().map(|watcher| watcher.finish(&stage.shop))).await?;
    stage.did(format!("{} streams cut and resumed {} times, {} changes", WATCHERS, cuts * WATCHERS, logged.len()));
    for Watcher { number, told, twice, disordered, resyncs, .. } in &watchers {
        let missed = logged.difference(told).count();
        let invented = told.difference(&logged).count();
        for (count, what) in [
            (missed, "changes were not told"),
            (invented, "were told that are not in the change log"),
            (*twice, "were told twice"),
            (*disordered, "were told after a later one of their product"),
            (*resyncs, "times everything was to be read again"),
        ] {
            stage.must(count == 0, format!("stream {}: {count} {what}", number + 1));
        }
    }
    stage.must(logged.len() > 10 * cuts, format!("only {} changes", logged.len()));
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

fn versions(lines: &str) -> anyhow::Result<BTreeSet<i64>> {
    lines.lines().map(|line| Ok(line.trim().parse()?)).collect()
}

/// Somebody who follows all changes, and what was told so far.
struct Watcher {
    number: usize,
    rng: SmallRng,
    stream: Streaming<WatchProductsResponse>,
    token: String,
    told: BTreeSet<i64>,
    /// The last version of each product.
    last: BTreeMap<String, i64>,
    twice: usize,
    disordered: usize,
    resyncs: usize,
    ended: bool,
}

impl Watcher {
    async fn open(stage: &Stage, number: usize) -> anyhow::Result<Self> {
        let mut watcher = Self {
            number,
            rng: SmallRng::seed_from_u64(number as u64),
            stream: start(&stage.shop, number % REPLICAS, "").await?,
            token: String::new(),
            told: BTreeSet::new(),
            last: BTreeMap::new(),
            twice: 0,
            disordered: 0,
            resyncs: 0,
            ended: false,
        };
        // The first message says where the stream begins.
        watcher.take().await?;
        ensure!(!watcher.token.is_empty(), "a stream without a token");
        Ok(watcher)
    }

    /// Follows, and is cut off and resumes on some replica so many times: after some events, or before the first.
    async fn follow(&mut self, shop: &Shop, cuts: usize) -> anyhow::Result<()> {
        for _ in 0..cuts {
            let events = if self.rng.random_bool(0.2) { 0 } else { self.rng.random_range(1..80) };
            for _ in 0..events {
                self.take().await?;
            }
            self.resume(shop).await?;
            if self.rng.random_bool(0.2) {
                // Changes gather meanwhile.
                wait(Duration::from_millis(self.rng.random_range(0..1_000))).await;
            }
        }
        Ok(())
    }

    /// Follows to the end.
    async fn finish(&mut self, shop: &Shop) -> anyhow::Result<()> {
        self.resume(shop).await?;
        while !self.ended {
            self.take().await?;
        }
        Ok(())
    }

    async fn resume(&mut self, shop: &Shop) -> anyhow::Result<()> {
        let replica = self.rng.random_range(0..REPLICAS);
        self.stream = start(shop, replica, &self.token).await.context("a stream could not be resumed")?;
        Ok(())
    }

    async fn take(&mut self) -> anyhow::Result<()> {
        let message = timeout(SILENCE, self.stream.message()).await.context("a silent stream")??;
        let Some(WatchProductsResponse { token, event }) = message else {
            bail!("a stream has ended by itself");
        };
        self.token = token;
        if let Some(event) = event {
            self.learn(event)?;
        }
        Ok(())
    }

    fn learn(&mut self, event: ProductEvent) -> anyhow::Result<()> {
        if event.kind() == ProductEventKind::Resync {
            self.resyncs += 1;
            return Ok(());
        }
        if event.id == END {
            self.ended = true;
            return Ok(());
        }
        let version = i64::from_str_radix(&event.etag, 16).context("an etag")?;
        self.twice += usize::from(!self.told.insert(version));
        let before = self.last.insert(event.id, version);
        self.disordered += usize::from(before.is_some_and(|before| before > version));
        Ok(())
    }
}

async fn start(shop: &Shop, replica: usize, token: &str) -> anyhow::Result<Streaming<WatchProductsResponse>> {
    let request = WatchProductsRequest { start_token: token.to_owned(), filter: None };
    Ok(shop.client(replica).watch_products(request).await?.into_inner())
}
