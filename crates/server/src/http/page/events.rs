//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A browser first gets `hello`, with the points of the charts so far, and the last changes. Then it gets a `sample` each second, a
//! `point` every two, and `changes` as they are applied. What a slow browser misses is dropped, and counted where it is changes.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, Extension, State},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use larder_cache::{ChangeSource, RecentChange, Subject};
use larder_change::Term;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, watch},
    time::{Sleep, sleep},
};

use super::{Page, feed::News, guard};
use crate::{auth::Caller, http::Refusal};

/// How long a browser listens; it then connects again by itself. A connection that died unnoticed keeps its place no longer.
const LONGEST: Duration = Duration::from_mins(15);
/// How often a comment keeps the connection alive while there is nothing to tell.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The time between two lists of changes, so that a burst of changes becomes few events.
const GATHER: Duration = Duration::from_millis(100);
/// The time after which a browser that lost its connection tries again.
const RETRY: Duration = Duration::from_secs(1);

/// A browser that listens.
struct Listener {
    page: Arc<Page>,
    _place: OwnedSemaphorePermit,
    hello: Option<Event>,
    /// The number of the last change that was told.
    told: u64,
    newest: watch::Receiver<u64>,
    gathered: Pin<Box<Sleep>>,
    news: broadcast::Receiver<News>,
    draining: watch::Receiver<bool>,
    ends: Pin<Box<Sleep>>,
}

/// Streams events until the server drains.
pub(super) async fn events(
    State(page): State<Arc<Page>>,
    peer: ConnectInfo<SocketAddr>,
    caller: Option<Extension<Arc<Caller>>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Ok(place) = Arc::clone(&page.places).try_acquire_owned() else {
        let text = "as many browsers as may listen at once do so already";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_BROWSERS", text).retry());
    };
    // Before the points are read, so that none is lost in between; the page ignores one that it has.
    let news = page.feed.news();
    let refusal = if caller.is_some() { None } else { guard::refusal(peer, &headers) };
    let hello = json!({ "points": page.feed.points(), "refusal": refusal });
    let listener = Listener {
        _place: place,
        hello: Some(event("hello", &hello.to_string()).retry(RETRY)),
        told: 0,
        newest: page.service.cache().newest_change(),
        gathered: Box::pin(sleep(Duration::ZERO)),
        news,
        draining: page.draining.clone(),
        ends: Box::pin(sleep(LONGEST)),
        page,
    };
    let events = stream::unfold(listener, async |mut listener| {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Listener {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        loop {
            let told = self.told;
            let changed = async {
                self.gathered.as_mut().await;
                self.newest.wait_for(|&newest| newest > told).await.is_ok()
            };
            let news = tokio::select! {
                () = drained(&mut self.draining) => return None,
                () = &mut self.ends => return None,
                alive = changed => if alive { None } else { return None },
                news = self.news.recv() => Some(news),
            };
            match news {
                None => return Some(self.changes()),
                Some(Ok(News { name, data })) => return Some(event(name, &data)),
                Some(Err(broadcast::error::RecvError::Lagged(_))) => {}
                Some(Err(broadcast::error::RecvError::Closed)) => return None,
            }
        }
    }

    /// The changes since the last event of changes, and how many more there were.
    fn changes(&mut self) -> Event {
        let cache = self.page.service.cache();
        let (changes, now) = (cache.recent_changes(self.told), cache.clock().now());
        let newest = changes.last().map_or(self.told, |change| change.number);
        let missed = if self.told == 0 { 0 } else { newest - self.told - changes.len() as u64 };
        self.told = newest;
        self.gathered = Box::pin(sleep(GATHER));
        let changes: Vec<Value> =
            changes.iter().map(|change| to_json(change, now.since(change.at).as_secs_f64())).collect();
        event("changes", &json!({ "missed": missed, "changes": changes }).to_string())
    }
}

/// Waits until the server drains. An error means that it has gone.
async fn drained(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|&draining| draining).await;
}

fn event(name: &str, data: &str) -> Event {
    Event::default().event(name).data(data)
}

fn to_json(change: &RecentChange, age: f64) -> Value {
    let source = match change.source {
        ChangeSource::Own => "OWN",
        ChangeSource::Bus => "BUS",
        ChangeSource::Log => "LOG",
    };
    let (subject, name) = match &change.subject {
        Subject::Entry { key, .. } => ("ENTRY", key.as_str()),
        Subject::Key(key) => ("KEY", key.as_str()),
        Subject::Term(term) => match Term::parse(term) {
            Some(Term::Category(category)) => ("CATEGORY", category),
            Some(Term::Tag(tag)) => ("TAG", tag),
            None => ("TERM", term.as_str()),
        },
        Subject::Pattern(pattern) => ("PATTERN", pattern.as_str()),
        Subject::All => ("ALL", ""),
    };
    json!({ "source": source, "subject": subject, "name": name, "age": age })
}
