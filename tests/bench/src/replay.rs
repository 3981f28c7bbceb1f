//! Which share of reads the tiers of the real server answer: `larder-bench replay`.
//!
//! An access trace is replayed through `GetProduct`, one request after the other, beside what LRU and the optimum (Belady, "A study
//! of replacement algorithms for a virtual-storage computer", 1966) reach in the same room. Without a trace it is the usual skew
//! of a catalogue, with writes in between and Redis behind.

use std::{
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use larder_proto::{
    admin::{GetStatsRequest, PrefetchStats, cache_admin_client::CacheAdminClient},
    catalog::{
        CacheTier, GetProductRequest, Product, UpdateProductRequest, product_catalog_client::ProductCatalogClient,
    },
};
use larder_test_servers::{Redis, RedisOptions};
use moka::policy::EvictionPolicy;
use tonic::transport::{Channel, Endpoint};

use crate::{
    cli::Replay,
    fill::fill,
    hit_ratio::{hit_ratio, read, zipf},
    l2::read_all,
    load::Calls,
    machine::Machine,
    products::{self, Random},
    render::{Form, table},
    run::progress,
    scenario::{GET, database_requests},
    server::{ServerProcess, larder_binary},
};

/// The catalogue of the usual skew, the reads, the share of writes, and what fits into L1.
const PRODUCTS: usize = 100_000;
const READS: usize = 300_000;
const WRITES: usize = 20;
const ENTRIES: u64 = 10_000;
const SEED: u64 = 204;
/// What is loaded before it is asked for: nothing, and the default.
const SHARES: [&str; 2] = ["0%", "10%"];

/// How many reads each tier answered.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    l1: u64,
    l2: u64,
    database: u64,
}

/// Replays and reports.
pub(crate) async fn run(wanted: &Replay) -> anyhow::Result<String> {
    let binary = larder_binary(wanted.larder.clone())?;
    progress(&Machine::look(&binary).line());
    if wanted.traces.is_empty() {
        return usual_skew(&binary).await;
    }
    let mut rows = vec![
        [
            "trace",
            "L1 entries",
            "LRU",
            "optimum",
            "larder",
            "with prefetching",
            "loaded ahead per read",
            "of those read",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for path in &wanted.traces {
        let trace = read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let trace = wanted.accesses.map_or(&trace[..], |most| &trace[..most.min(trace.len())]);
        for &entries in &wanted.entries {
            let (lru, best) = (hit_ratio(trace, entries, EvictionPolicy::lru()), optimum(trace, entries));
            let cell = |share: f64| format!("{share:.4} ({:+.3})", (share - lru) / (best - lru));
            let mut row = vec![
                path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                entries.to_string(),
                format!("{lru:.4}"),
                format!("{best:.4}"),
            ];
            let mut ahead = PrefetchStats::default();
            for share in SHARES {
                let (told, prefetch) = replayed(&binary, trace, entries, share).await?;
                row.push(cell(told.l1_share()));
                ahead = prefetch;
            }
            row.extend(ahead_cells(&ahead, trace.len()));
            rows.push(row);
        }
    }
    Ok(table(Form::Markdown, &rows) + "\nIn brackets: (larder − LRU) ÷ (optimum − LRU)\n")
}

/// Replays a trace through a server whose L1 holds so many entries.
async fn replayed(binary: &Path, trace: &[u32], entries: u64, share: &str) -> anyhow::Result<(Told, PrefetchStats)> {
    let mut places = HashMap::new();
    let trace: Vec<usize> = trace
        .iter()
        .map(|key| {
            let next = places.len();
            *places.entry(*key).or_insert(next)
        })
        .collect();
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let settings = [("LARDER_L1_ENTRIES", entries.to_string()), ("LARDER_PREFETCH", share.to_owned())];
    let server = ServerProcess::larder(binary, directory.path(), "replay", &settings)?;
    fill(server.target.address, places.len()).await?;
    let mut client = client(server.target.address).await?;
    let mut told = Told::default();
    for place in trace {
        told.add(get(&mut client, place).await?);
    }
    Ok((told, prefetched(&server).await?))
}

/// What the server says that it loaded before anybody asked.
async fn prefetched(server: &ServerProcess) -> anyhow::Result<PrefetchStats> {
    let admin = server.admin.context("no CacheAdmin")?;
    let channel = Endpoint::from_shared(format!("http://{admin}"))?.connect().await?;
    let stats = CacheAdminClient::new(channel).get_stats(GetStatsRequest::default()).await?.into_inner();
    stats.replicas.first().and_then(|replica| replica.prefetch).context("no figures of prefetching")
}

/// How much was loaded ahead for each read, and which share of it was read.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn ahead_cells(ahead: &PrefetchStats, reads: usize) -> [String; 2] {
    let used = ahead.used as f64 / ahead.loaded.max(1) as f64;
    [format!("{:.3}", ahead.loaded as f64 / reads.max(1) as f64), format!("{:.0}%", used * 100.0)]
}

/// Reads with the skew of Zipf's law, of which one in twenty is followed by a write.
async fn usual_skew(binary: &Path) -> anyhow::Result<String> {
    let trace = zipf(READS, PRODUCTS, SEED);
    let mut rows = vec![
        ["", "L1", "L1 and L2 together", "database", "loaded ahead per read", "of those read"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (share, name) in SHARES.into_iter().zip(["larder", "with prefetching"]) {
        let (told, ahead) = skewed(binary, &trace, share).await?;
        let cells =
            [told.l1_share(), told.share(told.l1 + told.l2), told.share(told.database)].map(|s| format!("{s:.4}"));
        let ahead = ahead_cells(&ahead, READS);
        rows.push(std::iter::once(name.to_owned()).chain(cells).chain(ahead).collect());
    }
    let lru = hit_ratio(&trace, ENTRIES, EvictionPolicy::lru());
    let cells = [format!("{lru:.4}"), String::new(), String::new(), String::new(), String::new()];
    rows.push(std::iter::once("an LRU, without writes".to_owned()).chain(cells).collect());
    let title =
        format!("Zipf 1.0 over {PRODUCTS} products, {READS} reads, one write in {WRITES} reads, L1 of {ENTRIES}");
    Ok(format!("{title}\n\n{}\n", table(Form::Markdown, &rows)))
}

async fn skewed(binary: &Path, trace: &[u32], share: &str) -> anyhow::Result<(Told, PrefetchStats)> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let redis = Redis::start(RedisOptions::default()).await;
    let settings =
        [("LARDER_L1_ENTRIES", ENTRIES.to_string()), ("LARDER_PREFETCH", share.to_owned()), ("REDIS_URL", redis.url())];
    let server = ServerProcess::larder(binary, directory.path(), "skew", &settings)?;
    fill(server.target.address, PRODUCTS).await?;
    let calls = Arc::new(Calls::new(GET, database_requests(PRODUCTS)));
    read_all(server.target.address, &calls).await?;
    progress("every product has been read once");

    let mut random = Random(SEED);
    let mut client = client(server.target.address).await?;
    let mut told = Told::default();
    for (number, &place) in trace.iter().enumerate() {
        told.add(get(&mut client, place as usize).await?);
        if number.is_multiple_of(WRITES) {
            write(&mut client, trace[random.below(READS)] as usize, number).await?;
        }
    }
    Ok((told, prefetched(&server).await?))
}

async fn client(server: SocketAddr) -> anyhow::Result<ProductCatalogClient<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{server}"))?.connect().await?;
    Ok(ProductCatalogClient::new(channel))
}

async fn get(client: &mut ProductCatalogClient<Channel>, place: usize) -> anyhow::Result<CacheTier> {
    let reply = client.get_product(GetProductRequest { id: products::id(place), read: None }).await?.into_inner();
    Ok(reply.cache.context("a reply that does not say where it comes from")?.tier())
}

async fn write(client: &mut ProductCatalogClient<Channel>, place: usize, number: usize) -> anyhow::Result<()> {
    let product = Product { id: products::id(place), name: format!("Written {number}"), ..Product::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["name".to_owned()] });
    let request = UpdateProductRequest { product: Some(product), update_mask, ..UpdateProductRequest::default() };
    let written = client.update_product(request).await?.into_inner();
    ensure!(!written.token.is_empty(), "a write without a token");
    Ok(())
}

impl Told {
    fn add(&mut self, tier: CacheTier) {
        match tier {
            CacheTier::L1 => self.l1 += 1,
            CacheTier::L2 => self.l2 += 1,
            CacheTier::Database | CacheTier::Unspecified => self.database += 1,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn share(&self, part: u64) -> f64 {
        part as f64 / (self.l1 + self.l2 + self.database) as f64
    }

    fn l1_share(&self) -> f64 {
        self.share(self.l1)
    }
}

/// The share of accesses that a cache answers which knows the future: it drops what is needed last.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn optimum(trace: &[u32], entries: u64) -> f64 {
    let mut next = vec![usize::MAX; trace.len()];
    let mut last: HashMap<u32, usize> = HashMap::new();
    for (at, key) in trace.iter().enumerate().rev() {
        next[at] = last.insert(*key, at).unwrap_or(usize::MAX);
    }
    let (mut held, mut by_need): (HashMap<u32, usize>, _) = (HashMap::new(), BinaryHeap::new());
    let mut hits = 0_u64;
    for (at, key) in trace.iter().enumerate() {
        hits += u64::from(held.contains_key(key));
        while !held.contains_key(key) && held.len() as u64 >= entries {
            // What has been needed again since stands further down as well.
            let Some((need, other)) = by_need.pop() else { break };
            if held.get(&other) == Some(&need) {
                held.remove(&other);
            }
        }
        held.insert(*key, next[at]);
        by_need.push((next[at], *key));
    }
    hits as f64 / trace.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimum_keeps_what_is_needed_soonest() {
        // Belady's own example has 7 faults in 13 accesses with room for 3.
        let trace = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2];
        assert!((optimum(&trace, 3) - 6.0 / 13.0).abs() < 1e-9, "{}", optimum(&trace, 3));
        assert!((optimum(&[1, 1, 1, 1], 1) - 0.75).abs() < 1e-9);
    }
}
