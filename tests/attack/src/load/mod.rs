//! A load of calls that have their deadlines: as many as a replica can answer, and ten times as many.

mod lane;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use larder_proto::catalog::{GetProductRequest, Product, SearchProductsRequest, UpdateProductRequest};
use prost::Message as _;
use prost_types::FieldMask;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use self::lane::Lane;
use crate::target::{PRODUCTS, id};

/// How long a caller waits for its answer. An answer that comes later is of no use to it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
/// Connections of the load.
const LANES: u32 = 16;
/// Calls at once on each of them while the most is measured that the replica can answer.
const CLOSED: usize = 16;
const TICK: Duration = Duration::from_millis(1);

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A product that memory has.
    Get,
    /// A search that no cache has.
    Search,
    /// A change of a product.
    Update,
}

/// How many of a hundred calls are of each kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix(pub(crate) [u32; Kind::ALL.len()]);

/// How calls of one kind ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    /// Answered within the deadline.
    pub(crate) good: u64,
    /// Answered later.
    pub(crate) late: u64,
    /// Refused, or ended by the deadline.
    pub(crate) refused: u64,
    /// Never sent: the connection had no room.
    pub(crate) unsent: u64,
}

/// How calls ended, by their kinds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) kinds: [Ended; Kind::ALL.len()],
    /// How long it was counted for.
    pub(crate) length: Duration,
}

/// Where calls go, and from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) source: IpAddr,
    pub(crate) address: SocketAddr,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Get, Self::Search, Self::Update];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "reads from memory",
            Self::Search => "searches",
            Self::Update => "writes",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Get => "GetProduct",
            Self::Search => "SearchProducts",
            Self::Update => "UpdateProduct",
        }
    }

    fn message(self, random: u32) -> Vec<u8> {
        let product = || id(random as usize % PRODUCTS);
        match self {
            Self::Get => GetProductRequest { id: product(), read: None }.encode_to_vec(),
            Self::Search => {
                let query = format!("product {random}");
                SearchProductsRequest { query, page_size: 10, ..Default::default() }.encode_to_vec()
            }
            Self::Update => {
                let product = Some(Product { id: product(), name: format!("Name {random}"), ..Default::default() });
                let update_mask = Some(FieldMask { paths: vec!["name".to_owned()] });
                UpdateProductRequest { product, update_mask, ..Default::default() }.encode_to_vec()
            }
        }
    }
}

impl Mix {
    pub(crate) fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.0[*kind as usize] > 0)
    }

    fn draw(self, rng: &mut SmallRng) -> Kind {
        let mut number = rng.random_range(0..self.0.iter().sum());
        for kind in Kind::ALL {
            let share = self.0[kind as usize];
            if number < share {
                return kind;
            }
            number -= share;
        }
        Kind::Get
    }
}

impl Tally {
    fn end(&mut self, kind: Kind, answered: bool, due: Instant) {
        let ended = &mut self.kinds[kind as usize];
        let count = match (answered, due.elapsed() <= DEADLINE) {
            (true, true) => &mut ended.good,
            (true, false) => &mut ended.late,
            (false, _) => &mut ended.refused,
        };
        *count += 1;
    }

    /// Calls a second that were answered in time.
    pub(crate) fn goodput(&self, kind: Kind) -> f64 {
        let good = u32::try_from(self.kinds[kind as usize].good).unwrap_or(u32::MAX);
        f64::from(good) / self.length.as_secs_f64().max(f64::EPSILON)
    }
}

/// Makes calls for a while: as many as are answered, or so many a second whether or not they are.
pub(crate) async fn load(way: Way, mix: Mix, rate: Option<f64>, length: Duration) -> anyhow::Result<Tally> {
    let mut lanes = JoinSet::new();
    for number in 0..LANES {
        lanes.spawn(lane(way, mix, rate.map(|rate| rate / f64::from(LANES)), length, number.into()));
    }
    let mut sum = Tally { length, ..Tally::default() };
    while let Some(tally) = lanes.join_next().await {
        for (sum, ended) in sum.kinds.iter_mut().zip(tally??.kinds) {
            sum.good += ended.good;
            sum.late += ended.late;
            sum.refused += ended.refused;
            sum.unsent += ended.unsent;
        }
    }
    Ok(sum)
}

async fn lane(way: Way, mix: Mix, rate: Option<f64>, length: Duration, seed: u64) -> anyhow::Result<Tally> {
    let (mut tally, mut rng) = (Tally::default(), SmallRng::seed_from_u64(seed));
    let mut lane = Lane::connect(way.source, way.address).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (start, mut begun) = (Instant::now(), 0_u32);
    while start.elapsed() < length {
        match rate {
            None => while lane.open() < CLOSED && lane.begin(mix.draw(&mut rng), rng.random(), Instant::now()) {},
            Some(rate) => {
                let now = start.elapsed();
                while f64::from(begun) < now.as_secs_f64() * rate {
                    begun += 1;
                    let (kind, due) = (mix.draw(&mut rng), start + Duration::from_secs_f64(f64::from(begun) / rate));
                    if !lane.begin(kind, rng.random(), due) {
                        tally.kinds[kind as usize].unsent += 1;
                    }
                }
            }
        }
        if lane.turn(&mut tally).is_err() {
            lane = Lane::connect(way.source, way.address).await?;
        }
        tokio::select! {
            _ = ticks.tick() => {}
            readable = lane.readable() => readable?,
        }
    }
    Ok(tally)
}
