//! What `larder top` shows, made of one sample after the other. Nothing here reads a clock: how much time lies between two
//! samples of a replica is told by the replica itself.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use larder_proto::{
    admin::{HotKey, InvalidationStats, Replica, ReplicaStats, TierStats},
    catalog::CacheTier,
};

use super::super::super::units::time_of;

/// Samples that one column of the past stands for,
const SAMPLES: usize = 5;
/// and columns that are kept: four minutes, with a sample each second.
pub(super) const COLUMNS: usize = 48;

/// The tiers, in the order in which a read passes them.
const TIERS: [CacheTier; 3] = [CacheTier::L1, CacheTier::L2, CacheTier::Database];

/// What all replicas counted, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Those that answered.
    pub(crate) replicas: Vec<ReplicaStats>,
    /// Those that did not in time.
    pub(crate) silent: Vec<Replica>,
    /// The keys read most on the replica that was asked.
    pub(crate) hot: Vec<HotKey>,
}

/// Everything that is drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Where the replica is that was asked.
    pub(crate) address: String,
    /// Whether it answers.
    pub(crate) connection: Connection,
    /// L1, L2 where there is one, the database.
    pub(crate) tiers: Vec<TierFigures>,
    /// Loads per second, those that joined one, and those refused.
    pub(crate) loads: Option<[f64; 3]>,
    /// Changes learned per second, by where they were heard of first: own writes, the bus, the change log.
    pub(crate) changes: Option<[f64; 3]>,
    /// Of those, invalidations by request: keys, categories, tags, patterns, everything.
    pub(crate) invalidations: Option<[f64; 5]>,
    /// The replicas that answered, then those that did not.
    pub(crate) replicas: Vec<ReplicaFigures>,
    /// The keys read most.
    pub(crate) hot: Vec<HotKey>,
}

/// Whether the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Connection {
    /// It has not yet.
    #[default]
    Connecting,
    /// It does.
    Up,
    /// It does not, for this reason; the figures are old.
    Lost(String),
}

/// One tier of all replicas together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TierFigures {
    /// The tier.
    pub(crate) tier: CacheTier,
    /// Requests per second, as soon as two samples tell.
    pub(crate) requests: Option<f64>,
    /// The share of them that it answered; none when there was none.
    pub(crate) hit_rate: Option<f64>,
    /// The same over the last minutes, the oldest first.
    pub(crate) past: Vec<Option<f64>>,
    /// The slowest replica's median since it started,
    pub(crate) p50: Option<Duration>,
    /// and what 99% were within.
    pub(crate) p99: Option<Duration>,
    /// Errors per second.
    pub(crate) errors: Option<f64>,
    /// Copies.
    pub(crate) entries: u64,
    /// Bytes that they take,
    pub(crate) bytes: u64,
    /// and may take; 0 where there is no limit.
    pub(crate) capacity: u64,
}

/// One replica.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReplicaFigures {
    /// Its host and port.
    pub(crate) name: String,
    /// How long it runs.
    pub(crate) uptime: Option<Duration>,
    /// Whether it answered.
    pub(crate) answered: bool,
    /// Requests for keys per second.
    pub(crate) requests: Option<f64>,
    /// Its end of the bus; none where there is no bus.
    pub(crate) bus: Option<BusFigures>,
}

/// One end of the bus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BusFigures {
    /// Whether messages come in.
    pub(crate) connected: bool,
    /// The share of changes that it did not bring.
    pub(crate) missed: f64,
    /// How long its last message took.
    pub(crate) lag: Duration,
}

/// Hits and requests.
type Hits = (u64, u64);

/// What was told before, to tell what has come since.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By the replica's id.
    before: HashMap<String, ReplicaStats>,
    past: [VecDeque<Hits>; TIERS.len()],
    samples: usize,
}

/// What a replica did between two samples.
struct Since<'a> {
    before: &'a ReplicaStats,
    now: &'a ReplicaStats,
    seconds: f64,
}

impl History {
    /// Takes a sample in, and tells it.
    pub(crate) fn add(&mut self, sample: Sample, figures: &mut Figures) {
        let since: Vec<Since<'_>> = sample.replicas.iter().filter_map(|now| Since::new(&self.before, now)).collect();
        self.samples += 1;
        if self.samples % SAMPLES == 1 {
            for past in &mut self.past {
                if past.len() == COLUMNS {
                    past.pop_front();
                }
                past.push_back((0, 0));
            }
        }
        figures.tiers.clear();
        for (tier, past) in TIERS.into_iter().zip(&mut self.past) {
            figures.tiers.extend(tier_figures(tier, &sample.replicas, &since, past));
        }
        figures.loads = sums(&since, |now| {
            let loads = now.loads.unwrap_or_default();
            [loads.loads, loads.joined, loads.refused]
        });
        figures.changes = sums(&since, |now| {
            let InvalidationStats { from_own_writes, from_bus, from_change_log, .. } =
                now.invalidations.unwrap_or_default();
            [from_own_writes, from_bus, from_change_log]
        });
        figures.invalidations = sums(&since, |now| {
            let InvalidationStats { keys, categories, tags, patterns, all, .. } = now.invalidations.unwrap_or_default();
            [keys, categories, tags, patterns, all]
        });
        figures.replicas = sample.replicas.iter().map(|now| replica_figures(now, &since)).collect();
        figures.replicas.extend(sample.silent.iter().map(silent));
        figures.connection = Connection::Up;
        drop(since);

        // One that is silent for a moment is counted on from where it was; one that has gone is forgotten.
        self.before.retain(|id, _| sample.silent.iter().any(|replica| replica.id == *id));
        for replica in sample.replicas {
            self.before.insert(id(&replica).to_owned(), replica);
        }
        figures.hot = sample.hot;
    }
}

impl<'a> Since<'a> {
    /// None of a replica that was not there before, or that counts from the beginning again.
    fn new(before: &'a HashMap<String, ReplicaStats>, now: &'a ReplicaStats) -> Option<Self> {
        let before = before.get(id(now))?;
        let seconds = uptime(now)?.checked_sub(uptime(before)?)?.as_secs_f64();
        let went_back = TIERS.iter().any(|&tier| {
            let counts = |stats| find(stats, tier).map_or((0, 0), |tier| (tier.requests, tier.hits));
            let (then, now) = (counts(before), counts(now));
            now.0 < then.0 || now.1 < then.1
        });
        (seconds > 0.0 && !went_back).then_some(Self { before, now, seconds })
    }

    /// By how much a counter rose.
    fn rise(&self, counter: impl Fn(&ReplicaStats) -> u64) -> u64 {
        counter(self.now).saturating_sub(counter(self.before))
    }
}

fn tier_figures(
    tier: CacheTier,
    replicas: &[ReplicaStats],
    since: &[Since<'_>],
    past: &mut VecDeque<Hits>,
) -> Option<TierFigures> {
    let now: Vec<&TierStats> = replicas.iter().filter_map(|stats| find(stats, tier)).collect();
    if now.is_empty() {
        return None;
    }
    let count = |stats: &ReplicaStats, counter: fn(&TierStats) -> u64| find(stats, tier).map_or(0, counter);
    let rise =
        |counter: fn(&TierStats) -> u64| since.iter().map(|since| since.rise(|stats| count(stats, counter))).sum();
    let (hits, requests): Hits = (rise(|tier| tier.hits), rise(|tier| tier.requests));
    if let Some(newest) = past.back_mut() {
        newest.0 += hits;
        newest.1 += requests;
    }
    let latency = |quantile: fn(&larder_proto::admin::Latency) -> Option<&prost_types::Duration>| {
        let measured = now.iter().filter_map(|tier| tier.latency.as_ref()).filter(|latency| latency.count > 0);
        measured.filter_map(|latency| time_of(quantile(latency))).max()
    };
    let rate = |counter: fn(&TierStats) -> u64| sums(since, |stats| [count(stats, counter)]).map(|[rate]| rate);
    Some(TierFigures {
        tier,
        requests: rate(|tier| tier.requests),
        hit_rate: share((hits, requests)),
        past: past.iter().map(|&hits| share(hits)).collect(),
        p50: latency(|latency| latency.p50.as_ref()),
        p99: latency(|latency| latency.p99.as_ref()),
        errors: rate(|tier| tier.errors),
        entries: now.iter().map(|tier| tier.entries).sum(),
        bytes: now.iter().map(|tier| tier.bytes).sum(),
        capacity: now.iter().map(|tier| tier.capacity_bytes).sum(),
    })
}

fn replica_figures(now: &ReplicaStats, since: &[Since<'_>]) -> ReplicaFigures {
    let requests = since.iter().find(|since| std::ptr::eq(since.now, now)).and_then(|since| {
        let requests = |stats: &ReplicaStats| find(stats, CacheTier::L1).map_or(0, |tier| tier.requests);
        sums(std::slice::from_ref(since), |stats| [requests(stats)]).map(|[rate]| rate)
    });
    ReplicaFigures {
        name: now.replica.as_ref().map(|replica| replica.name.clone()).unwrap_or_default(),
        uptime: uptime(now),
        answered: true,
        requests,
        bus: now.bus.as_ref().map(|bus| BusFigures {
            connected: bus.connected,
            missed: bus.missed_share,
            lag: time_of(bus.lag.as_ref()).unwrap_or_default(),
        }),
    }
}

fn silent(replica: &Replica) -> ReplicaFigures {
    ReplicaFigures {
        // One that has just started may have no name yet.
        name: if replica.name.is_empty() { replica.id.clone() } else { replica.name.clone() },
        uptime: time_of(replica.uptime.as_ref()),
        answered: false,
        requests: None,
        bus: None,
    }
}

/// How fast some counters rise on all replicas together; none while no two samples tell.
#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
fn sums<const N: usize>(since: &[Since<'_>], counters: impl Fn(&ReplicaStats) -> [u64; N]) -> Option<[f64; N]> {
    if since.is_empty() {
        return None;
    }
    let mut sums = [0.0; N];
    for since in since {
        for (number, sum) in sums.iter_mut().enumerate() {
            *sum += since.rise(|stats| counters(stats)[number]) as f64 / since.seconds;
        }
    }
    Some(sums)
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share((hits, requests): Hits) -> Option<f64> {
    (requests > 0).then(|| hits as f64 / requests as f64)
}

fn find(stats: &ReplicaStats, which: CacheTier) -> Option<&TierStats> {
    stats.tiers.iter().find(|tier| tier.tier() == which)
}

fn id(stats: &ReplicaStats) -> &str {
    stats.replica.as_ref().map_or("", |replica| replica.id.as_str())
}

fn uptime(stats: &ReplicaStats) -> Option<Duration> {
    time_of(stats.replica.as_ref()?.uptime.as_ref())
}
