//! Which share of accesses a cache of a given size answers, by eviction policy: the evidence for the default of L1.

use std::{fs::File, io::BufReader, path::Path};

use anyhow::{Context as _, ensure};
use foldhash::fast::FixedState;
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{
    cli::HitRatio,
    products::Random,
    render::{Form, table},
};

/// The synthetic trace: accesses, and products they are spread over.
const ACCESSES: usize = 1_000_000;
const KEYS: usize = 100_000;
const SEED: u64 = 204;

/// Replays the traces and returns a table for each.
pub(crate) fn run(wanted: &HitRatio) -> anyhow::Result<String> {
    if wanted.traces.is_empty() {
        let title = format!("Zipf 1.0 over {KEYS} keys");
        return Ok(compare(&title, &zipf(ACCESSES, KEYS, SEED), &wanted.entries));
    }
    let mut tables = Vec::new();
    for path in &wanted.traces {
        let trace = read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let title = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        tables.push(compare(&title, &trace, &wanted.entries));
    }
    Ok(tables.join("\n"))
}

fn compare(title: &str, trace: &[u32], entries: &[u64]) -> String {
    let cells = |cells: [String; 4]| cells.to_vec();
    let mut rows = vec![cells(["entries", "TinyLFU", "LRU", "TinyLFU − LRU"].map(str::to_owned))];
    for &entries in entries {
        let tiny_lfu = hit_ratio(trace, entries, EvictionPolicy::tiny_lfu());
        let lru = hit_ratio(trace, entries, EvictionPolicy::lru());
        rows.push(cells([
            entries.to_string(),
            format!("{tiny_lfu:.4}"),
            format!("{lru:.4}"),
            format!("{:+.4}", tiny_lfu - lru),
        ]));
    }
    format!("{title}: {} accesses\n{}\n", trace.len(), table(Form::Text, &rows))
}

/// The share of accesses that a cache of moka's answers. Every entry weighs one, as products of about one size do.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) fn hit_ratio(trace: &[u32], entries: u64, policy: EvictionPolicy) -> f64 {
    let cache: Cache<u32, (), FixedState> =
        Cache::builder().max_capacity(entries).eviction_policy(policy).build_with_hasher(FixedState::default());
    let mut hits = 0_u64;
    for &key in trace {
        if cache.get(&key).is_some() {
            hits += 1;
        } else {
            cache.insert(key, ());
        }
        // moka puts accesses and evictions into effect later, in the background; a replay has no background.
        cache.run_pending_tasks();
    }
    hits as f64 / trace.len().max(1) as f64
}

/// A trace: xz, then big-endian 32-bit integers, one for each access; the whole integer is the key.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u32>> {
    let mut bytes = Vec::new();
    lzma_rs::xz_decompress(&mut BufReader::new(File::open(path)?), &mut bytes)?;
    keys(&bytes)
}

fn keys(bytes: &[u8]) -> anyhow::Result<Vec<u32>> {
    let (keys, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{} bytes after the last whole key", rest.len());
    Ok(keys.iter().map(|key| u32::from_be_bytes(*key)).collect())
}

/// Accesses among which the key of rank r occurs with a frequency proportional to 1/r.
#[expect(clippy::cast_precision_loss, reason = "ranks and 53 random bits are exact")]
pub(crate) fn zipf(accesses: usize, keys: usize, seed: u64) -> Vec<u32> {
    let mut cumulated: Vec<f64> = Vec::with_capacity(keys);
    let mut sum = 0.0;
    for rank in 1..=keys {
        sum += 1.0 / rank as f64;
        cumulated.push(sum);
    }
    let mut random = Random(seed);
    let mut access = || {
        let wanted = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        u32::try_from(cumulated.partition_point(|&up_to| up_to <= wanted)).expect("few keys")
    };
    (0..accesses).map(|_| access()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_big_endian() {
        assert_eq!(keys(&[0, 0, 1, 2, 0xff, 0, 0, 1]).unwrap(), [0x0102, 0xff00_0001]);
        assert!(keys(&[0, 0, 1]).is_err());
    }

    #[test]
    fn an_xz_trace_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = [7_u32, 9, 7].into_iter().flat_map(u32::to_be_bytes).collect();
        let mut packed = Vec::new();
        lzma_rs::xz_compress(&mut &bytes[..], &mut packed).unwrap();
        std::fs::write(file.path(), packed).unwrap();
        assert_eq!(read(file.path()).unwrap(), [7, 9, 7]);
    }

    #[test]
    fn lru_hits_what_was_used_last() {
        // Two entries: 1 and 2 miss, 1 hits, 3 drives out 2, 1 hits, 2 misses.
        let trace = [1, 2, 1, 3, 1, 2];
        let ratio = hit_ratio(&trace, 2, EvictionPolicy::lru());
        assert!((ratio - 2.0 / 6.0).abs() < 1e-9, "{ratio}");
        let all = hit_ratio(&[5; 10], 2, EvictionPolicy::tiny_lfu());
        assert!((all - 0.9).abs() < 1e-9, "{all}");
    }

    #[test]
    fn zipf_is_steep() {
        let trace = zipf(20_000, 1_000, 1);
        let share = |key| trace.iter().filter(|&&other| other == key).count() * 1000 / trace.len();
        // 1/H(1000) = 0.1336, and half of it.
        assert!((123..=144).contains(&share(0)), "{}", share(0));
        assert!((58..=76).contains(&share(1)), "{}", share(1));
        assert!(trace.iter().all(|&key| key < 1_000));
    }
}
