//! What the replicas use, and whether it grows.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    stage::Stage,
    world::{REPLICAS, World},
};

/// The replica that is ended and started again begins anew each time.
const COMPARED: std::ops::Range<usize> = 1..REPLICAS;
/// The first part of a soak, in which caches fill, does not count.
const SETTLES: f64 = 0.25;
const ANSWER: Duration = Duration::from_secs(5);

/// What is looked at, and by how much it may grow from the time when the caches are full until the end.
const FIGURES: [(&str, f64); 3] = [("MiB of memory", 32.0), ("tasks", 40.0), ("descriptors", 40.0)];

/// Looks at the replicas.
#[derive(Debug)]
pub(super) struct Drift {
    begin: Instant,
    /// Of each compared replica.
    looks: [Vec<Look>; COMPARED.end - COMPARED.start],
}

#[derive(Debug, Clone, Copy)]
struct Look {
    seconds: f64,
    figures: [f64; FIGURES.len()],
}

impl Default for Drift {
    fn default() -> Self {
        Self { begin: Instant::now(), looks: Default::default() }
    }
}

impl Drift {
    /// Looks at every compared replica.
    pub(super) async fn look(&mut self, stage: &Stage) {
        for (looks, replica) in self.looks.iter_mut().zip(COMPARED) {
            // A replica that is busy is looked at next time.
            if let Some(figures) = figures(&stage.world, replica).await {
                looks.push(Look { seconds: self.begin.elapsed().as_secs_f64(), figures });
            }
        }
    }

    /// Says how the figures develop; growth beyond chance must not be.
    pub(super) fn judge(&self, stage: &mut Stage) {
        for (looks, replica) in self.looks.iter().zip(COMPARED) {
            let settled = settled(looks);
            for (number, (what, most)) in FIGURES.into_iter().enumerate() {
                let Some((slope, length)) = slope(settled, number) else { continue };
                let (first, last) = (looks[0].figures[number], looks[looks.len() - 1].figures[number]);
                let per_hour = slope * 3_600.0;
                stage.note(format!("replica {}: {what} {first:.0} to {last:.0}, {per_hour:+.1} an hour", replica + 1));
                let grown = slope * length;
                let text = format!("replica {}: {what} grew by {grown:.1} in {:.1} min", replica + 1, length / 60.0);
                stage.must(grown <= most, text);
            }
        }
    }
}

/// The looks after the first part.
fn settled(looks: &[Look]) -> &[Look] {
    let end = looks.last().map_or(0.0, |look| look.seconds);
    &looks[looks.iter().take_while(|look| look.seconds < end * SETTLES).count()..]
}

/// The slope of a figure a second, by least squares, and the time that the looks span.
fn slope(looks: &[Look], number: usize) -> Option<(f64, f64)> {
    let [first, .., last] = looks else { return None };
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let count = looks.len() as f64;
    let mean = |of: &dyn Fn(&Look) -> f64| looks.iter().map(of).sum::<f64>() / count;
    let (time, figure) = (mean(&|look| look.seconds), mean(&|look| look.figures[number]));
    let (mut products, mut squares) = (0.0, 0.0);
    for look in looks {
        products += (look.seconds - time) * (look.figures[number] - figure);
        squares += (look.seconds - time).powi(2);
    }
    (squares > 0.0).then(|| (products / squares, last.seconds - first.seconds))
}

async fn figures(world: &World, replica: usize) -> Option<[f64; FIGURES.len()]> {
    let address = world.http_addresses()[replica];
    let scrape = async {
        let mut socket = TcpStream::connect(address).await.ok()?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    let text = timeout(ANSWER, scrape).await.ok()??;
    let figure = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    let memory = figure("process_resident_memory_bytes ")? / f64::from(1 << 20);
    Some([memory, figure("larder_runtime_alive_tasks ")?, figure("process_open_fds ")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(figure: impl Fn(f64) -> f64) -> Vec<Look> {
        (0..100).map(f64::from).map(|seconds| Look { seconds, figures: [figure(seconds), 0.0, 0.0] }).collect()
    }

    #[test]
    fn a_slope_is_that_of_the_settled_part() {
        let looks = looks(|seconds| if seconds < 20.0 { seconds * 50.0 } else { 1_000.0 + seconds * 0.5 });
        let settled = settled(&looks);
        assert_eq!(settled.len(), 75);
        let (slope, length) = slope(settled, 0).unwrap();
        assert!((slope - 0.5).abs() < 1e-9 && (length - 74.0).abs() < 1e-9, "{slope} over {length}");
    }

    #[test]
    fn few_looks_have_no_slope() {
        assert!(slope(&[], 0).is_none() && slope(&looks(|_| 1.0)[..1], 0).is_none());
    }
}
