//! The time from the commit of a change until a replica knows of it, as the replicas tell it at `/metrics`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long a replica may take to show its metrics.
const LIMIT: Duration = Duration::from_secs(15);

/// Changes by the longest time that they took: the bounds of the buckets, and how many changes are within each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Learned(BTreeMap<Duration, u64>);

impl Learned {
    /// Of all replicas together, so far.
    pub(crate) async fn read(replicas: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for address in replicas {
            let page = timeout(LIMIT, page(*address)).await.context("metrics took too long")??;
            all.add(&page)?;
        }
        if all.0.is_empty() {
            bail!("the metrics do not have the time from commit to learned");
        }
        Ok(all)
    }

    fn add(&mut self, page: &str) -> anyhow::Result<()> {
        for line in page.lines().filter(|line| line.starts_with("larder_commit_to_learned_seconds_bucket{")) {
            let (series, count) = line.rsplit_once(' ').context("a count")?;
            let (_, bound) = series.split_once("le=\"").context("a bound")?;
            let bound = match bound.trim_end_matches("\"}") {
                "+Inf" => Duration::MAX,
                bound => Duration::try_from_secs_f64(bound.parse()?)?,
            };
            *self.0.entry(bound).or_default() += count.parse::<u64>()?;
        }
        Ok(())
    }

    /// What came after an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound| earlier.0.get(bound).copied().unwrap_or(0);
        Self(self.0.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(bound)))).collect())
    }

    /// How many changes there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.get(&Duration::MAX).copied().unwrap_or(0)
    }

    /// The upper bound of the bucket that a quantile is in.
    pub(crate) fn quantile(&self, percent: u64) -> Duration {
        let rank = (self.count() * percent).div_ceil(100);
        self.0.iter().find(|(_, within)| **within >= rank).map_or(Duration::MAX, |(bound, _)| *bound)
    }

    /// Whether a quantile lies where it was seen from outside, or one bucket beside that.
    pub(crate) fn agrees(&self, percent: u64, earliest: Duration, latest: Duration) -> bool {
        let bucket = |time: Duration| self.0.range(time..).next().map_or(self.0.len(), |(bound, _)| self.index(*bound));
        let found = self.index(self.quantile(percent));
        (bucket(earliest).saturating_sub(1)..=bucket(latest) + 1).contains(&found)
    }

    fn index(&self, bound: Duration) -> usize {
        self.0.range(..bound).count()
    }
}

async fn page(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(counts: &[u64]) -> Learned {
        let millis = [1, 10, 100, 1_000].map(Duration::from_millis);
        let bounds = millis.into_iter().chain([Duration::MAX]);
        Learned(bounds.zip(counts.iter().copied()).collect())
    }

    #[test]
    fn buckets_of_all_sources_are_read() {
        let page = "# TYPE larder_commit_to_learned_seconds histogram\n\
                    larder_commit_to_learned_seconds_bucket{source=\"bus\",le=\"0.001\"} 3\n\
                    larder_commit_to_learned_seconds_bucket{source=\"bus\",le=\"+Inf\"} 4\n\
                    larder_commit_to_learned_seconds_bucket{source=\"log\",le=\"0.001\"} 1\n\
                    larder_commit_to_learned_seconds_bucket{source=\"log\",le=\"+Inf\"} 1\n\
                    larder_commit_to_learned_seconds_count{source=\"log\"} 1\n";
        let mut all = Learned::default();
        all.add(page).expect("buckets");
        assert_eq!(all, Learned([(Duration::from_millis(1), 4), (Duration::MAX, 5)].into()));
    }

    #[test]
    fn a_quantile_agrees_within_a_bucket() {
        let millis = Duration::from_millis;
        let stretch = learned(&[12, 60, 99, 100, 102]).since(&learned(&[2, 2, 2, 2, 2]));
        assert_eq!(stretch.count(), 100);
        assert_eq!((stretch.quantile(50), stretch.quantile(99)), (millis(10), Duration::MAX));
        for (earliest, latest, agrees) in [
            (millis(2), millis(3), true),
            (millis(0), millis(1), true),
            (millis(11), millis(12), true),
            (millis(200), millis(300), false),
        ] {
            assert_eq!(stretch.agrees(50, earliest, latest), agrees, "{earliest:?} to {latest:?}");
        }
    }
}
