//! What the page shows, recorded once for all browsers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use larder_cache::{LatencySummary, Stats};
use larder_proto::admin::{GetStatsRequest, ListHotKeysRequest, cache_admin_server::CacheAdmin as _};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::Request;

use super::Page;
use crate::{contract::duration, grpc::AdminService, json::message_to_value};

/// A piece of news for every browser.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// The name of the event.
    pub(super) name: &'static str,
    /// Its JSON.
    pub(super) data: Arc<str>,
}

/// The recorded figures of the last minutes, and the news.
pub(super) struct Feed {
    points: Mutex<VecDeque<Value>>,
    news: broadcast::Sender<News>,
}

/// How often figures are taken for those who listen; a point of the charts is every second one.
const TICK: Duration = Duration::from_secs(1);
const TICKS_PER_POINT: u64 = 2;
/// Points that are kept: ten minutes.
const POINTS: usize = 300;
/// How long to wait for the figures of the other replicas, and for all figures together.
const WAIT: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(5);
/// Keys that the page lists.
const HOT_KEYS: i32 = 20;
/// News that a slow browser may be behind; older ones are dropped.
const BEHIND: usize = 8;

impl Default for Feed {
    fn default() -> Self {
        Self { points: Mutex::new(VecDeque::with_capacity(POINTS)), news: broadcast::Sender::new(BEHIND) }
    }
}

impl Feed {
    /// The points so far, oldest first.
    pub(super) fn points(&self) -> Vec<Value> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The news from here on.
    pub(super) fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    fn add(&self, point: Value) {
        let data = point.to_string().into();
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        if points.len() == POINTS {
            points.pop_front();
        }
        points.push_back(point);
        drop(points);
        self.tell("point", data);
    }

    fn tell(&self, name: &'static str, data: Arc<str>) {
        // An error means that nobody listens.
        let _ = self.news.send(News { name, data });
    }
}

/// Records points for the charts, and takes figures while somebody listens, until the future is dropped.
pub(super) async fn record(page: Arc<Page>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        ticks.tick().await;
        if number.is_multiple_of(TICKS_PER_POINT) {
            page.feed.add(point(&page));
        }
        if page.feed.news.receiver_count() == 0 {
            continue;
        }
        match timeout(LONGEST, sample(&page.service)).await {
            Ok(Ok(sample)) => page.feed.tell("sample", sample.to_string().into()),
            Ok(Err(error)) => tracing::error!(%error, "figures cannot be written as JSON"),
            Err(_elapsed) => tracing::warn!(limit_s = LONGEST.as_secs(), "figures for the page took too long"),
        }
    }
}

/// The counts behind a point of each chart. The page divides what came since the last point by the time that passed.
fn point(page: &Page) -> Value {
    let cache = page.service.cache();
    let stats: Stats = cache.stats();
    let (loads, commands) = cache.latencies();
    let (calls, call_seconds) = page.calls.unary();
    let seconds = |summary: &LatencySummary| summary.total.as_secs_f64();
    let [own, bus, log] = [stats.invalidations.own, stats.invalidations.bus, stats.invalidations.log];
    json!({
        "at": page.service.uptime().as_secs_f64(),
        "calls": calls,
        "callSeconds": call_seconds,
        "l1Requests": stats.hits + stats.misses + stats.stale,
        "l1Hits": stats.hits,
        "l2Requests": stats.l2_hits + stats.l2_misses,
        "l2Hits": stats.l2_hits,
        "l2Commands": commands.count,
        "l2Seconds": seconds(&commands),
        "loads": stats.loads,
        "loadsTimed": loads.count,
        "loadSeconds": seconds(&loads),
        "own": own.total(),
        "bus": bus.total(),
        "log": log.total(),
    })
}

/// What `GetStats` and `ListHotKeys` tell, how far the change log was read, and whether Redis is asked.
async fn sample(service: &AdminService) -> Result<Value, String> {
    let asked = GetStatsRequest { all_replicas: true, wait: Some(duration(WAIT)) };
    let hottest = ListHotKeysRequest { page_size: HOT_KEYS };
    let (stats, hot) =
        tokio::join!(service.get_stats(Request::new(asked)), service.list_hot_keys(Request::new(hottest)));
    let told = |status: tonic::Status| status.message().to_owned();
    let (stats, hot) = (stats.map_err(told)?.into_inner(), hot.map_err(told)?.into_inner());
    let hot = message_to_value("larder.admin.v1.ListHotKeysResponse", &hot)?;
    Ok(json!({
        "stats": message_to_value("larder.admin.v1.GetStatsResponse", &stats)?,
        "hotKeys": hot.get("keys").cloned().unwrap_or_else(|| json!([])),
        "changeLog": message_to_value("larder.admin.v1.ChangeLogHealth", &service.change_log())?,
        "l2Up": service.cache().shared_tier_up(),
    }))
}
