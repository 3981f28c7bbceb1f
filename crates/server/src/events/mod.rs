//! Events of other systems, which report that copies are out of date.
//!
//! They arrive by [webhook](webhook) or from a [queue]. Both end in [`Catalog::invalidate`](crate::catalog::Catalog): a row in the
//! change log, committed before the sender gets its answer. `docs/events.md` is the contract.

mod counts;
mod event;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod queue;
pub(crate) mod webhook;

use std::{convert::Infallible, sync::Arc, time::SystemTime};

use axum::Router;
use larder_cache::SharedConfig;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub(crate) use self::counts::EventCounts;
pub use self::event::Event;
pub(crate) use self::event::parse_event;
use self::{queue::Queue, webhook::Webhook};
use crate::{catalog::Catalog, config::EventsConfig, error::ServeError, telemetry::Tracer};

/// The time of day. It decides only whether a message was signed recently.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

/// The parts of the server that events need.
pub(crate) struct IngestContext {
    pub(crate) catalog: Catalog,
    /// The name of this replica.
    pub(crate) name: String,
    /// The seed of random choices.
    pub(crate) seed: u64,
    pub(crate) clock: WallClock,
    pub(crate) counts: Arc<EventCounts>,
    /// `None` where no span leaves the server.
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// Turns true when the server drains.
    pub(crate) draining: watch::Receiver<bool>,
}

/// The open webhook and queue.
pub(crate) struct Events {
    /// The path of webhooks, if there are any.
    pub(crate) routes: Router,
    /// Ends with the queue.
    running: mpsc::Receiver<Infallible>,
}

impl WallClock {
    /// The clock of the machine.
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
        Self::new(SystemTime::now)
    }

    /// A clock that a function drives.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Events {
    /// Opens the configured webhook and queue. The queue's task ends by itself soon after the server begins to drain.
    pub(crate) fn open(
        config: EventsConfig,
        shared: Option<&SharedConfig>,
        context: IngestContext,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let EventsConfig { webhook, queue } = config;
        let (guard, running) = mpsc::channel(1);
        let mut routes = Router::new();
        if !webhook.secrets.is_empty() {
            routes = Webhook::new(&context, &webhook).routes();
        }
        // The configuration was checked: there is no queue without Redis.
        if let (Some(stream), Some(shared)) = (&queue.stream, shared) {
            let queue = Queue::new(&context, shared, &queue, stream).map_err(ServeError::Redis)?;
            tasks.spawn(async move {
                queue.run(context.draining).await;
                drop(guard);
            });
        }
        Ok(Self { routes, running })
    }

    /// Waits until the events in progress at the beginning of the drain have ended.
    pub(crate) async fn ended(&mut self) {
        self.running.recv().await;
    }
}

/// Waits until the server drains.
async fn drained(mut draining: watch::Receiver<bool>) {
    // An error means that the server has gone.
    let _ = draining.wait_for(|&draining| draining).await;
}
