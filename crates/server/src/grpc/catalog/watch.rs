//! `WatchProducts`: returns a stream of committed changes.

use std::{convert::Infallible, pin::Pin, time::Duration};

use futures_util::{StreamExt as _, future::ready, stream::once};
use larder_proto::{
    Product,
    serving::{ProductEvent, ProductEventKind, WatchProductsRequest, WatchProductsResponse},
};
use larder_storage::Filter;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Status};
use tracing::Instrument as _;

use crate::{
    catalog::{Catalog, Event, EventKind, Start, WatchError, Watcher},
    contract::{Position, Violations, parse_filter},
    grpc::{
        call::{Deadline, Share, headers::REQUEST_ID, methods::WATCH},
        errors::{self, deadline},
    },
};

/// The stream of events.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<WatchProductsResponse, Status>> + Send>>;

/// Messages that may wait for a slow reader before the watcher waits as well.
const MESSAGES: usize = 16;
/// A reader that takes no message for this long is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a stream ended: with a status, or because its reader has gone.
type Ended = Option<Status>;

/// Starts a stream. The stream ends when the server drains, when the client goes, or when the client cannot keep up.
pub(super) async fn start(
    catalog: Catalog,
    request: Request<WatchProductsRequest>,
    share: Share,
) -> Result<Events, Status> {
    let until = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
    let id = request.metadata().get(REQUEST_ID.as_str()).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("call", request_id = id, method = WATCH);
    let (start, filter) = parse(request.into_inner()).map_err(|violations| errors::invalid(&violations))?;
    let watcher = catalog.watch(start, filter).await.map_err(|error| errors::watch(&error))?;
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let (end, ended) = oneshot::channel();
    let watch = async move {
        let _share = share;
        let closed = watcher.closed();
        let told = tell(watcher, sender);
        let told = async {
            match until {
                None => told.await,
                Some(until) => timeout_at(until, told).await.unwrap_or_else(|_| Err(Some(deadline()))),
            }
        };
        let Err(status) = tokio::select! {
            biased;
            () = closed => Err(Some(errors::draining())),
            ended = told => ended,
        };
        if let Some(status) = status {
            // The reader may have gone.
            let _ = end.send(status);
        }
    };
    tokio::spawn(watch.instrument(span));
    // The status has a channel of its own, so that it does not wait behind messages that the client does not read.
    let end = once(ended).filter_map(|status| ready(status.ok().map(Err)));
    Ok(Box::pin(ReceiverStream::new(receiver).chain(end)))
}

fn parse(request: WatchProductsRequest) -> Result<(Start, Filter), Violations> {
    let mut violations = Violations::default();
    let start = match request.start_token.as_str() {
        "" => Start::Now,
        token => match Position::decode(token) {
            Some(position) => Start::After(position),
            None => {
                violations.add("start_token", "is not a token of a stream or of a write of this service");
                Start::Now
            }
        },
    };
    let filter = violations.take(parse_filter(request.filter)).unwrap_or_default();
    violations.or((start, filter))
}

/// Sends events until something ends the stream.
async fn tell(
    mut watcher: Watcher,
    sender: mpsc::Sender<Result<WatchProductsResponse, Status>>,
) -> Result<Infallible, Ended> {
    let interval = watcher.config().checkpoint;
    send(&sender, watcher.position(), None).await?;
    let mut checkpoint = Instant::now() + interval;
    loop {
        let events = tokio::select! {
            biased;
            () = sender.closed() => return Err(None),
            events = watcher.next() => events.map_err(|error| Some(errors::watch(&error)))?,
            () = sleep_until(checkpoint) => {
                send(&sender, watcher.position(), None).await?;
                checkpoint = Instant::now() + interval;
                continue;
            }
        };
        for (position, event) in events {
            send(&sender, &position, Some(event)).await?;
            checkpoint = Instant::now() + interval;
        }
    }
}

async fn send(
    sender: &mpsc::Sender<Result<WatchProductsResponse, Status>>,
    position: &Position,
    event: Option<Event>,
) -> Result<(), Ended> {
    let message = WatchProductsResponse { token: position.encode(), event: event.map(to_message) };
    match timeout(PATIENCE, sender.send(Ok(message))).await {
        Ok(sent) => sent.map_err(|_| None),
        Err(_) => Err(Some(errors::watch(&WatchError::TooSlow))),
    }
}

fn to_message(event: Event) -> ProductEvent {
    let kind = match event.kind {
        EventKind::Put => ProductEventKind::Put,
        EventKind::Delete => ProductEventKind::Delete,
        EventKind::Left => ProductEventKind::Left,
        EventKind::Resync => ProductEventKind::Resync,
    };
    let etag = if event.kind == EventKind::Resync { String::new() } else { format!("{:x}", event.version) };
    ProductEvent { kind: kind.into(), id: event.id, etag, product: event.product.map(Product::Ready) }
}
