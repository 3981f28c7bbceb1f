//! Calls that go round all replicas.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        Body as _, Bytes, Service,
        http::{Request, Response, request::Parts},
    },
    transport::{Channel, Endpoint},
};

use super::config::ServiceConfig;

/// Between two attempts to reach a replica again, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The replicas, as a client of all of them knows them.
#[derive(Debug)]
pub(crate) struct Balanced {
    config: ServiceConfig,
    replicas: Vec<Arc<Backend>>,
    next: AtomicUsize,
    retried: AtomicU64,
    throttled: AtomicU64,
}

/// What a client did beyond its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Attempts after the first one.
    pub(crate) retried: u64,
    /// Attempts that were not made because too many had failed.
    pub(crate) throttled: u64,
}

/// One replica.
#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    channel: Channel,
    /// Whether calls go there: a connection that was lost is made anew first.
    ready: AtomicBool,
}

impl Balanced {
    pub(crate) fn new(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let backend = |address: &SocketAddr| {
            let endpoint = Endpoint::try_from(format!("http://{address}"))?.tcp_nodelay(true);
            let channel = endpoint.connect_timeout(RECONNECT.1).connect_lazy();
            Ok(Arc::new(Backend { address: *address, channel, ready: AtomicBool::new(true) }))
        };
        Ok(Self {
            config: ServiceConfig::shipped()?,
            replicas: addresses.iter().map(backend).collect::<anyhow::Result<_>>()?,
            next: AtomicUsize::new(0),
            retried: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        })
    }

    /// Makes a call, and makes it again as the service config says.
    pub(super) async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let message = match whole(body).await {
            Ok(message) => message,
            Err(status) => return status.into_http(),
        };
        let policy = self.config.policy(parts.uri.path());
        let mut attempt = 1;
        loop {
            let response = self.attempt(&parts, message.clone()).await;
            // Headers of a reply end the retries, whatever becomes of the rest.
            let failed = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            let Some(policy) = policy.filter(|policy| policy.retries(failed)) else {
                self.config.throttling.succeeded();
                return response;
            };
            let allowed = self.config.throttling.failed();
            if attempt >= policy.attempts || !allowed {
                self.throttled.fetch_add(u64::from(!allowed), Ordering::Relaxed);
                return response;
            }
            let wait = policy.back_off(attempt).mul_f64(rand::random());
            sleep(wait).await;
            self.retried.fetch_add(1, Ordering::Relaxed);
            attempt += 1;
        }
    }

    /// What it did beyond its calls so far.
    pub(crate) fn counts(&self) -> Counts {
        let [retried, throttled] = [&self.retried, &self.throttled].map(|count| count.load(Ordering::Relaxed));
        Counts { retried, throttled }
    }

    /// Sends a call to the next replica. A connection that is lost is UNAVAILABLE, as gRPC has it.
    async fn attempt(&self, parts: &Parts, message: Bytes) -> Response<Body> {
        let backend = self.pick();
        let mut request = Request::new(Body::new(Message(Some(message))));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        let mut channel = backend.channel.clone();
        let sent = async {
            std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
            channel.call(request).await
        };
        match sent.await {
            Ok(response) => response,
            Err(error) => {
                backend.lost();
                Status::unavailable(error.to_string()).into_http()
            }
        }
    }

    /// The next replica that is ready, or the next one where none is.
    fn pick(&self) -> &Arc<Backend> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let all = || (first..first + self.replicas.len()).map(|number| &self.replicas[number % self.replicas.len()]);
        let ready = all().find(|backend| backend.ready.load(Ordering::Relaxed));
        ready.unwrap_or_else(|| &self.replicas[first % self.replicas.len()])
    }
}

impl Backend {
    /// Keeps calls away until the replica can be reached again.
    fn lost(self: &Arc<Self>) {
        if self.ready.swap(false, Ordering::Relaxed) {
            let backend = Arc::clone(self);
            tokio::spawn(async move {
                let (mut wait, most) = RECONNECT;
                loop {
                    let jitter = 0.8 + 0.4 * rand::random::<f64>();
                    sleep(wait.mul_f64(jitter)).await;
                    if TcpStream::connect(backend.address).await.is_ok() {
                        break;
                    }
                    wait = (wait * 2).min(most);
                }
                backend.ready.store(true, Ordering::Relaxed);
            });
        }
    }
}

/// A message that can be sent again.
struct Message(Option<Bytes>);

impl tonic::codegen::Body for Message {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|message| Ok(http_body::Frame::data(message))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The whole of a message.
async fn whole(mut body: Body) -> Result<Bytes, Status> {
    let mut message = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            message.extend_from_slice(&data);
        }
    }
    Ok(message.into())
}
