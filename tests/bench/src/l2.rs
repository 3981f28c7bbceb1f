//! Hits in Redis beside hits in memory and a bare GET: `larder-bench l2`.
//!
//! One server holds a hundredth of the catalogue in L1 and all of it in Redis, so that nearly every read is a hit in L2.
//! Another one holds all of it in L1. What a hit in L2 costs on top of one in L1 is compared with a GET of a value of the same
//! size, sent to the same Redis over a plain socket.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use larder_proto::catalog::{CacheTier, GetProductResponse};
use larder_test_servers::{Redis, RedisOptions};
use prost::Message as _;

use crate::{
    cli::L2,
    fill::fill,
    frame::unframe,
    load::{Calls, Connection, Outcome, Shape, Window, closed},
    machine::Machine,
    products::SIZE,
    render::{Form, table},
    run::progress,
    scenario::{GET, database_requests},
    server::{ServerProcess, larder_binary},
    stats::median,
};

/// One request at a time, for latencies; and as many as keep both cores busy, for throughput.
const ONE: Shape = Shape { connections: 1, streams: 1 };
const MANY: Shape = Shape { connections: 8, streams: 8 };
/// L1 holds one in so many products.
const PRODUCTS_PER_ENTRY: u32 = 100;
/// Reads that are looked at one by one, and the share of them that must come from Redis.
const SAMPLE: usize = 500;
const MOSTLY: f64 = 0.95;
/// Bytes that a frame has besides the product.
const FRAME: usize = 100;
const BARE_KEY: &str = "larder-bench";

/// What one round of reads from Redis gave.
struct Sample {
    alone: Outcome,
    crowded: Outcome,
}

/// Measures and reports.
pub(crate) async fn run(wanted: &L2) -> anyhow::Result<String> {
    let binary = larder_binary(wanted.larder.clone())?;
    progress(&Machine::look(&binary).line());
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let redis = Redis::start(RedisOptions::default()).await;

    let memory = ServerProcess::larder(&binary, directory.path(), "memory", &[])?;
    fill(memory.target.address, wanted.products as usize).await?;
    let calls = Arc::new(Calls::new(GET, database_requests(wanted.products as usize)));
    read_all(memory.target.address, &calls).await?;
    let settings =
        [("REDIS_URL", redis.url()), ("LARDER_L1_ENTRIES", (wanted.products / PRODUCTS_PER_ENTRY).to_string())];
    let shared = ServerProcess::larder(&binary, directory.path(), "shared", &settings)?;
    read_all(shared.target.address, &calls).await?;
    let share = share_from_redis(shared.target.address, &calls).await?;
    ensure!(share >= MOSTLY, "only {share:.2} of the reads come from Redis");
    redis.cli(&["SET", BARE_KEY, &"x".repeat(SIZE + FRAME)]).await;

    let window = Window {
        warm_up: Duration::from_secs_f64(wanted.seconds * 0.15),
        measured: Duration::from_secs_f64(wanted.seconds * 0.85),
    };
    let (mut bare, mut hits, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=wanted.rounds {
        progress(&format!("round {round} of {}", wanted.rounds));
        bare.push(bare_get(redis.address(), window)?);
        hits.push(right(closed(memory.target, &calls, ONE, window).await?)?);
        let alone = right(closed(shared.target, &calls, ONE, window).await?)?;
        let crowded = right(closed(shared.target, &calls, MANY, window).await?)?;
        samples.push(Sample { alone, crowded });
    }
    Ok(report(&bare, &hits, &samples))
}

/// The table of what was measured.
fn report(bare: &[f64], hits: &[Outcome], samples: &[Sample]) -> String {
    let p50 = |sample: &Sample| sample.alone.latencies.micros(0.5);
    let ratios = samples
        .iter()
        .zip(hits)
        .zip(bare)
        .map(|((sample, hit), bare)| (p50(sample) - hit.latencies.micros(0.5)) / bare);
    let rows = [
        ["", "p50, one at a time", "(L2 − L1) ÷ GET", "requests/s, 8×8", "CPU µs per request"]
            .map(str::to_owned)
            .to_vec(),
        row("GET over a plain socket", median(bare.iter().copied()), None, None, None),
        row("hit in L1", median(hits.iter().map(|hit| hit.latencies.micros(0.5))), None, None, None),
        row(
            "hit in L2",
            median(samples.iter().map(p50)),
            median(ratios),
            median(samples.iter().map(|sample| sample.crowded.per_second())),
            median(samples.iter().map(|sample| sample.crowded.server_micros())),
        ),
    ];
    table(Form::Markdown, &rows) + "\n"
}

fn row(name: &str, p50: Option<f64>, ratio: Option<f64>, per_second: Option<f64>, micros: Option<f64>) -> Vec<String> {
    let shown =
        |figure: Option<f64>, digits: usize| figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"));
    let p50 = p50.map_or_else(String::new, |p50| format!("{p50:.0} µs"));
    vec![name.to_owned(), p50, shown(ratio, 2), shown(per_second, 0), shown(micros, 1)]
}

/// Reads every product once, so that Redis, or L1, has all of them.
pub(crate) async fn read_all(server: SocketAddr, calls: &Calls) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    for _ in 0..16 {
        connections.push(Connection::open(server, GET).await?);
    }
    let requests = calls.all();
    let share = requests.len().div_ceil(connections.len());
    let reads = connections.into_iter().zip(requests.chunks(share)).map(async |(mut connection, requests)| {
        for request in requests {
            connection.check(request).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    futures_util::future::try_join_all(reads).await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a small sample")]
async fn share_from_redis(server: SocketAddr, calls: &Calls) -> anyhow::Result<f64> {
    let mut connection = Connection::open(server, GET).await?;
    let mut from_redis = 0;
    for _ in 0..SAMPLE {
        let reply = connection.fetch(calls.next().frame.clone()).await?;
        let reply = GetProductResponse::decode(unframe(&reply).context("not one frame")?)?;
        from_redis += usize::from(reply.cache.is_some_and(|cache| cache.tier() == CacheTier::L2));
    }
    Ok(from_redis as f64 / SAMPLE as f64)
}

fn right(outcome: Outcome) -> anyhow::Result<Outcome> {
    ensure!(outcome.faults.count == 0, "{} wrong replies: {:?}", outcome.faults.count, outcome.faults.first);
    Ok(outcome)
}

/// The median time of a GET, in microseconds.
fn bare_get(redis: SocketAddr, window: Window) -> anyhow::Result<f64> {
    let mut socket = TcpStream::connect(redis)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let command = format!("*2\r\n$3\r\nGET\r\n${}\r\n{BARE_KEY}\r\n", BARE_KEY.len());
    let length = SIZE + FRAME;
    let mut reply = vec![0; format!("${length}\r\n").len() + length + 2];
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < window.warm_up + window.measured {
        let sent = Instant::now();
        socket.write_all(command.as_bytes())?;
        socket.read_exact(&mut reply)?;
        if begun.elapsed() > window.warm_up {
            took.push(sent.elapsed().as_secs_f64() * 1e6);
        }
    }
    ensure!(reply[0] == b'$', "no reply to GET");
    median(took).context("no GET")
}
