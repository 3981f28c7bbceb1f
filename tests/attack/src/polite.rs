//! Clients that behave, and measure how they are served.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use larder_proto::{
    admin::{GetStatsRequest, cache_admin_client::CacheAdminClient},
    catalog::{GetProductRequest, product_catalog_client::ProductCatalogClient},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    figures::{Phase, Record},
    target::{PRODUCTS, Target, id},
};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two probes of each kind.
const PROBE: Duration = Duration::from_millis(200);
/// Between two looks at the process.
const LOOK: Duration = Duration::from_millis(100);
/// Connections of the polite client.
const CONNECTIONS: usize = 4;

/// The clients, until this is dropped.
pub(crate) struct Polite {
    records: Arc<Records>,
    _tasks: JoinSet<()>,
}

struct Records {
    reads: Record,
    health: Record,
    admin: Record,
    http: Record,
}

impl Polite {
    /// Connects, and begins to call so many times a second.
    pub(crate) async fn start(target: &Target, calls: u32) -> anyhow::Result<Self> {
        let records = || Record::new();
        let records = Records { reads: records(), health: records(), admin: records(), http: records() };
        let (records, mut tasks) = (Arc::new(records), JoinSet::new());
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(endpoint(target.address())?.connect().await?);
        }
        tasks.spawn(read(channels, calls, Arc::clone(&records)));
        let address = target.address();
        tasks.spawn(probe(Arc::clone(&records), |records| &records.health, move || health(address)));
        let admin = CacheAdminClient::new(endpoint(target.admin)?.connect().await?);
        let stats = move || {
            let mut admin = admin.clone();
            async move { admin.get_stats(timed(GetStatsRequest::default())).await.map(drop).map_err(told) }
        };
        tasks.spawn(probe(Arc::clone(&records), |records| &records.admin, stats));
        let address = target.http;
        tasks.spawn(probe(Arc::clone(&records), |records| &records.http, move || ready(address)));
        Ok(Self { records, _tasks: tasks })
    }

    /// Measures for a while.
    pub(crate) async fn phase(&self, target: &Target, length: Duration) -> anyhow::Result<Phase> {
        let Records { reads, health, admin, http } = &*self.records;
        for record in [reads, health, admin, http] {
            record.take();
        }
        let (begin, mut looks, mut most) = (Instant::now(), interval(LOOK), target.usage()?);
        let before = most.processor;
        while begin.elapsed() < length {
            looks.tick().await;
            let usage = target.usage()?;
            most.memory = most.memory.max(usage.memory);
            most.descriptors = most.descriptors.max(usage.descriptors);
            most.processor = usage.processor;
        }
        let [reads, health, admin, http] = [reads, health, admin, http].map(Record::take);
        let length = begin.elapsed();
        let busy = most.processor.saturating_sub(before).as_secs_f64() / length.as_secs_f64();
        Ok(Phase { length, reads, health, admin, http, usage: most, busy })
    }
}

fn endpoint(address: SocketAddr) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(DEADLINE))
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn told(error: impl ToString) -> String {
    error.to_string()
}

/// Calls at a steady rate, whether or not earlier calls were answered. A call that begins late counts from when it was due.
async fn read(channels: Vec<Channel>, calls: u32, records: Arc<Records>) {
    let mut due = interval(Duration::from_secs(1) / calls.max(1));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut rng, mut under_way) = (SmallRng::seed_from_u64(1), JoinSet::new());
    for channel in channels.iter().cycle() {
        let begin = due.tick().await.into_std();
        let (mut client, records) = (ProductCatalogClient::new(channel.clone()), Arc::clone(&records));
        let request = timed(GetProductRequest { id: id(rng.random_range(0..PRODUCTS)), read: None });
        under_way.spawn(async move {
            let outcome = client.get_product(request).await.map(drop).map_err(told);
            records.reads.add(begin.elapsed(), outcome);
        });
        while under_way.try_join_next().is_some() {}
    }
}

/// Makes a call again and again.
async fn probe<F>(records: Arc<Records>, of: impl Fn(&Records) -> &Record, call: impl Fn() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let mut due = interval(PROBE);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let begin = Instant::now();
        let outcome = timeout(DEADLINE, call()).await.unwrap_or_else(|elapsed| Err(told(elapsed)));
        of(&records).add(begin.elapsed(), outcome);
    }
}

/// A health check as a prober makes it, over a new connection.
async fn health(address: SocketAddr) -> Result<(), String> {
    let channel = endpoint(address).map_err(told)?.connect().await.map_err(told)?;
    let health = HealthClient::new(channel).check(timed(HealthCheckRequest::default())).await.map_err(told)?;
    let status = health.into_inner().status();
    if status == ServingStatus::Serving { Ok(()) } else { Err(format!("{status:?}")) }
}

/// The same by HTTP.
async fn ready(address: SocketAddr) -> Result<(), String> {
    let mut socket = TcpStream::connect(address).await.map_err(told)?;
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.map_err(told)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.map_err(told)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(answer.lines().next().unwrap_or("no answer").to_owned())
    }
}
