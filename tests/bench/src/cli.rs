//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::report::Settings;

/// Measures Larder beside a bare tonic server that answers the same bytes, in one interleaved run on loopback.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) measure: Measure,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures hits in Redis beside hits in memory and a bare GET
    L2(L2),
    /// Measures what it costs to invalidate many copies at once, by how many there are
    Invalidation(Invalidation),
    /// Measures writes per second over PostgreSQL, of one binary or of several beside one another
    Writes(Writes),
    /// Measures hits while the receiver of spans and metrics answers, is away, or hangs
    Telemetry(Telemetry),
    /// Measures how long patterns take that were made to take long
    Patterns,
    /// Measures how warm a new replica begins, beside those that have been read for a while
    Warm(Warm),
    /// Replays key traces through the server and prints which share each tier answered
    Replay(Replay),
    /// Replays key traces through moka's eviction policies and prints the hit ratios.
    HitRatio(HitRatio),
    /// Serves ready replies without a cache; started by the benchmark itself.
    #[command(hide = true)]
    Bare(Bare),
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Option<PathBuf>,
    /// Rounds; ratios are medians over them [default: 9]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds for each server, scenario and round [default: 1.2]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Products in the catalogue [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(200..10_000_000))]
    products: Option<u32>,
    /// Products that are asked for again and again [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..100_000))]
    hot: Option<u32>,
    /// A smoke run: one round of a few hundred milliseconds over few products; its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Also write the report as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Also write the report, with every round, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Measure {
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 9 })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.3 } else { 1.2 })
    }

    pub(crate) fn products(&self) -> usize {
        self.products.unwrap_or(if self.quick { 2_000 } else { 100_000 }) as usize
    }

    pub(crate) fn hot(&self) -> usize {
        (self.hot.unwrap_or(if self.quick { 200 } else { 1_000 }) as usize).min(self.products())
    }

    /// How many requests to make while write calls are counted.
    pub(crate) fn write_requests(&self) -> u32 {
        if self.quick { 2_000 } else { 20_000 }
    }

    pub(crate) fn settings(&self, product_bytes: usize) -> Settings {
        Settings {
            rounds: self.rounds(),
            seconds: self.seconds(),
            products: self.products(),
            hot: self.hot(),
            product_bytes,
            quick: self.quick,
        }
    }
}

/// How to measure hits in Redis.
#[derive(Debug, Args)]
pub(crate) struct L2 {
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Option<PathBuf>,
    /// Rounds; figures are medians over them
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Seconds for each measurement and round
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Products in the catalogue, a hundredth of which fits into L1
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..1_000_000))]
    pub(crate) products: u32,
}

/// What to replay through the server.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Option<PathBuf>,
    /// A trace: xz, then big-endian 32-bit keys, one for each access; may be repeated. Without any, it is Zipf 1.0 over 100,000
    /// products, with writes, an L1 of 10,000 and Redis
    #[arg(long = "trace", value_name = "FILE", env = "LARDER_TRACES", value_delimiter = ':')]
    pub(crate) traces: Vec<PathBuf>,
    /// The capacities of L1 to replay at, in entries
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 2048])]
    pub(crate) entries: Vec<u64>,
    /// Replays so many accesses of each trace, from its beginning; otherwise all of them
    #[arg(long, value_name = "NUMBER")]
    pub(crate) accesses: Option<usize>,
}

/// How to measure writes.
#[derive(Debug, Args)]
pub(crate) struct Writes {
    /// A server's binary; may be repeated, and ratios are those to the first [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Vec<PathBuf>,
    /// Writers, each with a connection and a product of its own
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..1_000))]
    pub(crate) writers: u32,
    /// Rounds; figures are medians over them
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Seconds for each binary and round
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
}

/// How to measure hits that are traced.
#[derive(Debug, Args)]
pub(crate) struct Telemetry {
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Option<PathBuf>,
    /// Rounds; ratios are medians over them
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Seconds for each server and round
    #[arg(long, default_value_t = 1.2, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Products, all of them in L1
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(200..100_000))]
    pub(crate) products: u32,
    /// The share of calls that is traced
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub(crate) sampled: f64,
}

/// How to measure invalidations.
#[derive(Debug, Args)]
pub(crate) struct Invalidation {
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Option<PathBuf>,
    /// Products that one server has copies of
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..10_000_000))]
    pub(crate) few: u32,
    /// Products that the other one has copies of
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..10_000_000))]
    pub(crate) many: u32,
}

/// How to measure a new replica.
#[derive(Debug, Args)]
pub(crate) struct Warm {
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) larder: Option<PathBuf>,
    /// Products in the catalogue
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..1_000_000))]
    pub(crate) products: u32,
    /// Reads of each replica per second
    #[arg(long, default_value_t = 1_000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Seconds for which the others are read before
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub(crate) seconds: f64,
}

/// What to replay.
#[derive(Debug, Args)]
pub(crate) struct HitRatio {
    /// A trace: xz, then big-endian 32-bit keys, one for each access; may be repeated. Without any, a synthetic one is used
    #[arg(long = "trace", value_name = "FILE", env = "LARDER_TRACES", value_delimiter = ':')]
    pub(crate) traces: Vec<PathBuf>,
    /// The capacities to replay at, in entries
    #[arg(long, value_delimiter = ',', default_values_t = [204, 1024, 2048, 5121])]
    pub(crate) entries: Vec<u64>,
}

/// What the bare server is told.
#[derive(Debug, Args)]
pub(crate) struct Bare {
    /// The directory with the replies
    #[arg(long)]
    pub(crate) replies: PathBuf,
    /// Where to write the address
    #[arg(long)]
    pub(crate) addresses_file: PathBuf,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (10.0..=100_000.0).contains(&rate) { Ok(rate) } else { Err("not between 10 and 100000".to_owned()) }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not between 0 and 1".to_owned()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.05..=600.0).contains(&seconds) { Ok(seconds) } else { Err("not between 0.05 and 600".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn quick_only_changes_defaults() {
        let cli = Cli::parse_from(["larder-bench", "--quick", "--rounds", "3"]);
        assert_eq!((cli.measure.rounds(), cli.measure.products()), (3, 2_000));
        let cli = Cli::parse_from(["larder-bench"]);
        assert_eq!((cli.measure.rounds(), cli.measure.products()), (9, 100_000));
        assert!(Cli::try_parse_from(["larder-bench", "--seconds", "NaN"]).is_err());
    }
}
