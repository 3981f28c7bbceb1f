//! `larder stats`.

use std::time::Duration;

use clap::Args;
use larder_proto::{
    admin::{
        BusStats, GetStatsRequest, InvalidationStats, LoadStats, PrefetchStats, RedisStats, Replica, ReplicaStats,
        TierStats, WatchStatsRequest,
    },
    catalog::CacheTier,
};

use super::{
    super::{
        client::{AdminArgs, Server, timeout},
        error::Exit,
        output::{Output, plain},
        show, status,
        stop::Stop,
        table::{Side, Table},
        units::{NONE, bytes, count, percent, show_time},
    },
    CliError, describe, silent, tier_name,
};
use larder_server::contract::duration;

/// Prints what a replica counted since it started, tier by tier, and what it holds now.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Of all replicas; they are asked through Redis.
    #[arg(long)]
    all: bool,
    /// Again and again, as often as this, until Ctrl-C.
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s", value_parser = timeout)]
    watch: Option<Duration>,
    /// One JSON object a line, each with all replicas.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    call: AdminArgs,
}

/// What the figures mean, for whoever sees them for the first time: while nothing has been read, they say nothing themselves.
const LEGEND: &str = "
Nothing has been read here yet, so most figures are 0, and - stands where there is none.
`larder list` makes the first ones. They count since the start:

requests, hits  what a tier was asked, and what it answered; misses went on to the next one
hit rate        the share of hits among the requests
stale           answers past the staleness bound, marked as stale, while the database was away
stored          copies that were kept; not stored: something changed before they could be
invalid         copies that were found and not served, because something had changed
evicted         copies that made room for others; expired: their time was over
p50, p95, p99   what most commands to Redis, or loads from the database, took (50, 95, 99 %)
loads           queries for the cache; joined: reads that waited for one of another reader
leases          rights to load something for all replicas, given by Redis
invalidations   changes, by who told of them first: an own write, another replica, the change log
";

/// A label, and the figure of a tier, or none where a tier has no such thing.
type Figure = (&'static str, fn(&TierStats) -> Option<String>);

const FIGURES: &[Figure] = &[
    ("requests", |tier| Some(count(tier.requests))),
    ("hits", |tier| Some(count(tier.hits))),
    ("hit rate", |tier| (tier.requests > 0).then(|| percent(tier.hit_rate))),
    ("misses", |tier| Some(count(tier.misses))),
    ("stale", |tier| is(tier, CacheTier::L1).then(|| count(tier.stale))),
    ("stored", |tier| copies(tier).then(|| count(tier.sets))),
    ("not stored", |tier| copies(tier).then(|| count(tier.not_stored))),
    ("invalid", |tier| copies(tier).then(|| count(tier.invalid))),
    ("evicted", |tier| held(tier).then(|| count(tier.evictions))),
    ("expired", |tier| held(tier).then(|| count(tier.expired))),
    ("entries", |tier| held(tier).then(|| count(tier.entries))),
    ("bytes", |tier| held(tier).then(|| bytes(tier.bytes))),
    ("of at most", |tier| (tier.capacity_bytes > 0).then(|| bytes(tier.capacity_bytes))),
    ("errors", |tier| (!is(tier, CacheTier::L1)).then(|| count(tier.errors))),
    ("p50", |tier| latency(tier).map(|latency| show_time(latency.p50.as_ref()))),
    ("p95", |tier| latency(tier).map(|latency| show_time(latency.p95.as_ref()))),
    ("p99", |tier| latency(tier).map(|latency| show_time(latency.p99.as_ref()))),
];

impl Stats {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let server = self.call.connect().await?;
        let mut out = Output::new();
        let Some(every) = self.watch else {
            let message = GetStatsRequest { all_replicas: self.all, wait: None };
            let reply = server.call(server.admin().get_stats(server.request(message))).await?;
            if self.json {
                show::message(&mut out, "larder.admin.v1.GetStatsResponse", &reply)?;
            } else {
                out.text(&render(&reply.replicas, &reply.silent))?;
                out.text(legend(&reply.replicas))?;
            }
            return out.flush();
        };
        let mut stop = Stop::new()?;
        tokio::select! {
            ended = self.watch(&server, every, &mut out) => ended,
            // It has no end of its own: to end it is no failure.
            _ = stop.asked() => Ok(()),
        }
    }

    /// Prints figures again and again.
    async fn watch(&self, server: &Server, every: Duration, out: &mut Output) -> Result<(), CliError> {
        let message = WatchStatsRequest { interval: Some(duration(every)), all_replicas: self.all };
        let mut admin = server.admin();
        let opened = server.open(admin.watch_stats(server.open_request(message))).await;
        let mut messages = opened.map_err(|error| status::failure(&error))?;
        let mut first = true;
        loop {
            let told = Server::next(&mut messages, every + server.timeout()).await;
            let Some(told) = told.map_err(|error| status::failure(&error))? else {
                return Err(CliError::new(Exit::Unavailable, "the server ended the stream"));
            };
            if self.json {
                show::message(out, "larder.admin.v1.WatchStatsResponse", &told)?;
            } else {
                let first = std::mem::take(&mut first);
                if !first {
                    out.line("\n---\n")?;
                }
                out.text(&render(&told.replicas, &told.silent))?;
                if first {
                    out.text(legend(&told.replicas))?;
                }
            }
            out.flush()?;
        }
    }
}

/// The figures of replicas, and who was silent.
fn render(replicas: &[ReplicaStats], not_heard: &[Replica]) -> String {
    let blocks = replicas.iter().map(|replica| lines(replica).join("\n") + "\n");
    let mut text = blocks.collect::<Vec<_>>().join("\n");
    for (number, line) in silent(not_heard).enumerate() {
        if number == 0 {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// What the figures mean, when no replica has been asked for anything.
fn legend(replicas: &[ReplicaStats]) -> &'static str {
    let quiet = replicas.iter().flat_map(|replica| &replica.tiers).all(|tier| tier.requests == 0);
    if quiet { LEGEND } else { "" }
}

fn lines(stats: &ReplicaStats) -> Vec<String> {
    let mut lines = vec![describe(stats.replica.as_ref()), String::new()];
    let heads = stats.tiers.iter().map(|tier| (Side::Right, tier_name(tier.tier())));
    let mut table = Table::new(std::iter::once((Side::Left, "")).chain(heads));
    for (label, figure) in FIGURES {
        let cells = stats.tiers.iter().map(|tier| figure(tier).unwrap_or_else(|| NONE.to_owned()));
        table.row(std::iter::once((*label).to_owned()).chain(cells));
    }
    lines.extend(table.lines());
    lines.push(String::new());
    let mut field = |label: &str, text: String| lines.push(format!("{label:<15}{text}"));
    if let Some(told) = &stats.loads {
        let [first, second] = loads(told);
        field("loads", first);
        field("leases", second);
    }
    if let Some(PrefetchStats { loaded, used, unused }) = stats.prefetch {
        field("prefetched", format!("{}; {} used, {} unused", count(loaded), count(used), count(unused)));
    }
    if let Some(told) = &stats.invalidations {
        let [first, second] = invalidations(told);
        field("invalidations", first);
        field("", second);
    }
    if let Some(told) = &stats.bus {
        let [first, second] = bus(told);
        field("bus", first);
        field("", second);
    }
    if let Some(told) = &stats.redis {
        let [first, second] = redis(told);
        field("Redis", first);
        field("", second);
    }
    lines
}

fn loads(stats: &LoadStats) -> [String; 2] {
    let LoadStats { loads, errors, joined, refused, leases_won, leases_lost, leases_taken_over } = *stats;
    [
        format!(
            "{} begun, {} failed, {} joined, {} refused",
            count(loads),
            count(errors),
            count(joined),
            count(refused)
        ),
        format!("{} won, {} lost, {} taken over", count(leases_won), count(leases_lost), count(leases_taken_over)),
    ]
}

fn invalidations(stats: &InvalidationStats) -> [String; 2] {
    let InvalidationStats {
        from_own_writes,
        from_bus,
        from_change_log,
        products,
        keys,
        categories,
        tags,
        patterns,
        all,
    } = *stats;
    [
        format!(
            "heard of first from own writes: {}, the bus: {}, the change log: {}",
            count(from_own_writes),
            count(from_bus),
            count(from_change_log)
        ),
        format!(
            "products: {}, keys: {}, categories: {}, tags: {}, patterns: {}, everything: {}",
            count(products),
            count(keys),
            count(categories),
            count(tags),
            count(patterns),
            count(all)
        ),
    ]
}

fn bus(stats: &BusStats) -> [String; 2] {
    let BusStats { connected, messages, changes, unknown, overflows, disconnects, missed_share, lag, breaker_opened } =
        *stats;
    let connection = if connected { "connected" } else { "not connected" };
    [
        format!(
            "{connection}; lag {}, missed {}; {} messages with {} changes",
            show_time(lag.as_ref()),
            percent(missed_share),
            count(messages),
            count(changes)
        ),
        format!(
            "{} unknown, {} without room; connection lost {} times, breaker opened {} times",
            count(unknown),
            count(overflows),
            count(disconnects),
            count(breaker_opened)
        ),
    ]
}

fn redis(stats: &RedisStats) -> [String; 2] {
    [
        format!(
            "{}, up {}; {} keys, {}{}; {} clients",
            plain(&stats.version),
            show_time(stats.uptime.as_ref()),
            count(stats.keys),
            bytes(stats.used_memory_bytes),
            limit(stats.max_memory_bytes),
            count(stats.clients)
        ),
        format!(
            "{} commands, {} keys found, {} not found, {} evicted, {} expired",
            count(stats.commands),
            count(stats.keyspace_hits),
            count(stats.keyspace_misses),
            count(stats.evicted_keys),
            count(stats.expired_keys)
        ),
    ]
}

fn limit(most: u64) -> String {
    if most == 0 { String::new() } else { format!(" of {}", bytes(most)) }
}

fn is(tier: &TierStats, which: CacheTier) -> bool {
    tier.tier() == which
}

/// Whether it stores copies.
fn copies(tier: &TierStats) -> bool {
    !is(tier, CacheTier::Database)
}

/// Whether it is known what it holds: of Redis only the replica that answers says so.
fn held(tier: &TierStats) -> bool {
    is(tier, CacheTier::L1) || is(tier, CacheTier::L2) && tier.bytes > 0
}

fn latency(tier: &TierStats) -> Option<&larder_proto::admin::Latency> {
    tier.latency.as_ref().filter(|latency| latency.count > 0)
}

#[cfg(test)]
mod tests {
    use larder_proto::admin::Latency;

    use super::*;

    #[test]
    fn a_quiet_replica_explains_its_figures() {
        let tiers =
            [CacheTier::L1, CacheTier::Database].map(|tier| TierStats { tier: tier.into(), ..TierStats::default() });
        let quiet = ReplicaStats { tiers: tiers.to_vec(), ..ReplicaStats::default() };
        let mut busy = quiet.clone();
        busy.tiers[0].requests = 1;
        assert_eq!(legend(&[quiet.clone(), busy]), "");
        let legend = legend(&[quiet]);
        // What stands in the table, and what stands below it, but for what is plain.
        let plain = ["entries", "bytes", "of at most", "errors"];
        for label in FIGURES.iter().map(|(label, _)| *label).chain(["loads", "leases", "invalidations"]) {
            assert!(plain.contains(&label) || legend.contains(label), "{label}");
        }
        assert!(legend.lines().all(|line| line.len() <= 100), "{legend}");
    }

    #[test]
    fn a_replica_is_told_in_columns() {
        let micros = |micros| Some(duration(Duration::from_micros(micros)));
        let latency = Latency { count: 9, mean: micros(900), p50: micros(810), p95: micros(1_200), p99: micros(3_450) };
        let tier = |tier: CacheTier| TierStats {
            tier: tier.into(),
            requests: 1_234,
            hits: 1_100,
            misses: 134,
            ..TierStats::default()
        };
        let l1 = TierStats {
            hit_rate: 0.891_4,
            entries: 12_345,
            bytes: 5 << 20,
            capacity_bytes: 256 << 20,
            ..tier(CacheTier::L1)
        };
        let database = TierStats { errors: 2, latency: Some(latency), ..tier(CacheTier::Database) };
        let replica = Replica {
            id: "00ff".into(),
            name: "a\u{1b}[2J:50051".into(),
            version: "0.1.0".into(),
            uptime: micros(62_000_000),
        };
        let stats = ReplicaStats {
            replica: Some(replica.clone()),
            tiers: vec![l1, TierStats { requests: 0, ..tier(CacheTier::L2) }, database],
            loads: Some(LoadStats { loads: 134, joined: 3, ..LoadStats::default() }),
            ..ReplicaStats::default()
        };
        let text = render(&[stats], &[Replica { name: "b:50051".into(), ..replica }]);
        let expected = "\
a\\u{1b}[2J:50051  0.1.0, up 1m2s, id 00ff

                  L1     L2  database
requests       1,234      0     1,234
hits           1,100  1,100     1,100
hit rate      89.1 %      -     0.0 %
misses           134    134       134
stale              0      -         -
stored             0      0         -
not stored         0      0         -
invalid            0      0         -
evicted            0      -         -
expired            0      -         -
entries       12,345      -         -
bytes       5.00 MiB      -         -
of at most   256 MiB      -         -
errors             -      0         2
p50                -      -    810 µs
p95                -      -   1.20 ms
p99                -      -   3.45 ms

loads          134 begun, 0 failed, 3 joined, 0 refused
leases         0 won, 0 lost, 0 taken over

silent: b:50051  0.1.0, up 1m2s, id 00ff
";
        assert_eq!(text, expected);
    }
}
