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
use larder_proto::catalog::{
    CacheTier, GetProductRequest, Product, UpdateProductRequest, product_catalog_client::ProductCatalogClient,
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
        ["trace", "L1 entries", "larder", "LRU", "optimum", "(larder − LRU) ÷ (optimum − LRU)"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for path in &wanted.traces {
        let trace = read(path).with_context(|| format!("cannot read {}", path.display()))?;
        for &entries in &wanted.entries {
            let larder = replayed(&binary, &trace, entries).await?.l1_share();
            let (lru, best) = (hit_ratio(&trace, entries, EvictionPolicy::lru()), optimum(&trace, entries));
            rows.push(vec![
                path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                entries.to_string(),
                format!("{larder:.4}"),
                format!("{lru:.4}"),
                format!("{best:.4}"),
                format!("{:.3}", (larder - lru) / (best - lru)),
            ]);
        }
    }
    Ok(table(Form::Markdown, &rows) + "\n")
}

/// Replays a trace through a server whose L1 holds so many entries.
async fn replayed(binary: &Path, trace: &[u32], entries: u64) -> anyhow::Result<Told> {
    let mut places = HashMap::new();
    let trace: Vec<usize> = trace
        .iter()
        .map(|key| {
            let next = places.len();
            *places.entry(*key).or_insert(next)
        })
        .collect();
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let settings = [("LARDER_L1_ENTRIES", entries.to_string())];
    let server = ServerProcess::larder(binary, directory.path(), "replay", &settings)?;
    fill(server.target.address, places.len()).await?;
    let mut client = client(server.target.address).await?;
    let mut told = Told::default();
    for place in trace {
        told.add(get(&mut client, place).await?);
    }
    Ok(told)
}

/// Reads with the skew of Zipf's law, of which one in twenty is followed by a write.
async fn usual_skew(binary: &Path) -> anyhow::Result<String> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let redis = Redis::start(RedisOptions::default()).await;
    let settings = [("LARDER_L1_ENTRIES", ENTRIES.to_string()), ("REDIS_URL", redis.url())];
    let server = ServerProcess::larder(binary, directory.path(), "skew", &settings)?;
    fill(server.target.address, PRODUCTS).await?;
    let calls = Arc::new(Calls::new(GET, database_requests(PRODUCTS)));
    read_all(server.target.address, &calls).await?;
    progress("every product has been read once");

    let trace = zipf(READS, PRODUCTS, SEED);
    let mut random = Random(SEED);
    let mut client = client(server.target.address).await?;
    let mut told = Told::default();
    for (number, &place) in trace.iter().enumerate() {
        told.add(get(&mut client, place as usize).await?);
        if number.is_multiple_of(WRITES) {
            write(&mut client, trace[random.below(READS)] as usize, number).await?;
        }
    }
    let lru = hit_ratio(&trace, ENTRIES, EvictionPolicy::lru());
    let rows = [
        ["", "share of reads"].map(str::to_owned).to_vec(),
        vec!["L1".to_owned(), format!("{:.4}", told.l1_share())],
        vec!["L1 and L2 together".to_owned(), format!("{:.4}", told.share(told.l1 + told.l2))],
        vec!["database".to_owned(), format!("{:.4}", told.share(told.database))],
        vec!["an LRU of as many entries, without writes".to_owned(), format!("{lru:.4}")],
    ];
    let title =
        format!("Zipf 1.0 over {PRODUCTS} products, {READS} reads, one write in {WRITES} reads, L1 of {ENTRIES}");
    Ok(format!("{title}\n\n{}\n", table(Form::Markdown, &rows)))
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
