//! What every call goes through: its id, its deadline, its way to a service, and the repair of foreign errors.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use larder_proto::serving::product_catalog_server::ProductCatalogServer;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, body::Body};
use tower_service::Service;
use tracing::Span;

use super::{
    body::{Inbound, Repaired, polled},
    content_type::{ContentType, content_type},
    errors,
    names::{REQUEST_ID, TIMEOUT},
    repair::{content_subtype, deadline, headers_too_large, repair, unknown_method},
    service::CatalogService,
};
use crate::{catalog::Catalog, config::Compression, contract::Violations, net::Respond};

/// Where calls come in. Cloned for every connection.
#[derive(Clone)]
pub struct Front {
    /// On the hot path, and so no service among others.
    catalog: Option<ProductCatalogServer<CatalogService>>,
    others: Arc<[(&'static str, Other)]>,
    options: FrontOptions,
}

/// Limits of every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontOptions {
    /// Bytes of a message that is received.
    pub max_request: usize,
    /// Bytes of a message that is sent.
    pub max_response: usize,
    /// Bytes of a call's headers, with 32 for each of them.
    pub max_headers: usize,
    /// How replies are compressed.
    pub compression: Compression,
    /// How long a call may take that names no deadline. Streams are exempt.
    pub request_default: Duration,
    /// The longest deadline that a call can name; a later one is cut to this. Streams are exempt.
    pub request_max: Duration,
}

/// When a call must have ended, for services that stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) Instant);

/// A service that is not on the hot path.
type Other = Arc<dyn Fn(Request<Inbound>) -> Answer + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

const CATALOG: &str = "/larder.catalog.v1.ProductCatalog/";
pub(super) const ADMIN: &str = "/larder.admin.v1.CacheAdmin/";
/// The methods that stream.
pub(super) const IMPORT: &str = "/larder.catalog.v1.ProductCatalog/ImportProducts";
pub(super) const WATCH: &str = "/larder.catalog.v1.ProductCatalog/WatchProducts";
pub(super) const WATCH_STATS: &str = "/larder.admin.v1.CacheAdmin/WatchStats";
pub(super) const WARM: &str = "/larder.admin.v1.CacheAdmin/WarmCache";
/// The name of the only method besides [`IMPORT`] that takes more than one message.
const REFLECT: &str = "/ServerReflectionInfo";
const LONGEST_REQUEST_ID: usize = 128;

impl Front {
    /// The catalogue's service alone.
    pub fn new(catalog: Catalog, options: FrontOptions) -> Self {
        let service = CatalogService::new(catalog, options.max_response, options.compression);
        let catalog = ProductCatalogServer::new(service).max_decoding_message_size(options.max_request);
        let catalog = compressed!(catalog, options.compression);
        Self { catalog: Some(catalog), ..Self::empty(options) }
    }

    /// No service yet.
    pub fn empty(options: FrontOptions) -> Self {
        Self { catalog: None, others: Arc::new([]), options }
    }

    /// Adds a service, named by the path before its methods: `/package.Service/`.
    #[must_use]
    pub fn with<S>(mut self, path: &'static str, service: S) -> Self
    where
        S: Service<Request<Inbound>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let other: Other = Arc::new(move |request| Box::pin(service.clone().call(request)));
        self.others = self.others.iter().cloned().chain([(path, other)]).collect();
        self
    }

    fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let takes_stream = path == IMPORT || path.ends_with(REFLECT);
        let request = request.map(|body| Inbound::new(body, takes_stream));
        let path = request.uri().path();
        if path.starts_with(CATALOG)
            && let Some(catalog) = &self.catalog
        {
            return catalog.clone().call(request);
        }
        match self.others.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            Some((_, service)) => service(request),
            None => answer(unknown_method()),
        }
    }

    /// Lets a call in: when it must have ended, or the answer to one that cannot be.
    fn admit(&self, request: &Request<Incoming>) -> Result<Limit, Answer> {
        let refused = |status| Err(answer(status));
        if *request.method() != Method::POST {
            return Err(not_grpc(StatusCode::METHOD_NOT_ALLOWED));
        }
        match content_type(request.headers()) {
            ContentType::Grpc => {}
            ContentType::GrpcOther => return refused(content_subtype()),
            ContentType::Other => return Err(not_grpc(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        }
        let (size, most) = (size_of_headers(request), self.options.max_headers);
        if size > most {
            return refused(headers_too_large(size, most));
        }
        let limit = self.limit(request).or_else(|violations| refused(errors::invalid(&violations)))?;
        if limit.asked == Some(Duration::ZERO) { refused(deadline()) } else { Ok(limit) }
    }

    /// When a call must have ended: at its own deadline or after the server's limit, whichever comes first.
    fn limit(&self, request: &Request<Incoming>) -> Result<Limit, Violations> {
        let asked = match request.headers().get(TIMEOUT) {
            None => None,
            Some(value) => {
                let rule = "must be 1 to 8 digits and a unit of H, M, S, m, u or n";
                Some(parse_timeout(value).ok_or_else(|| Violations::one("grpc-timeout", rule))?)
            }
        };
        let path = request.uri().path();
        let unlimited = streams(path) || !(path.starts_with(CATALOG) || path.starts_with(ADMIN));
        let FrontOptions { request_default, request_max, .. } = self.options;
        let limit = if unlimited { asked } else { Some(asked.unwrap_or(request_default).min(request_max)) };
        Ok(Limit { asked, until: limit.map(|limit| Instant::now() + limit) })
    }
}

/// When a call must have ended.
#[derive(Debug, Clone, Copy, Default)]
struct Limit {
    /// What the caller said.
    asked: Option<Duration>,
    until: Option<Instant>,
}

impl Limit {
    /// Whether the caller's deadline has passed. It holds for a call that was answered without waiting, too; the clock is
    /// read only for a caller who has one.
    fn has_passed(&self) -> bool {
        self.asked.is_some() && self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Respond for Front {
    type Body = Body;
    type Future = Call;

    fn respond(&self, mut request: Request<Incoming>) -> Call {
        let id = request_id(request.headers());
        let method = request.uri().path().to_owned();
        // Errors of the catalogue's other methods stand in the headers.
        let streams = streams(&method);
        let has_trailers = streams || !method.starts_with(CATALOG);
        let (answer, limit) = match self.admit(&request) {
            Err(answer) => (answer, Limit::default()),
            Ok(limit) => {
                if let Some(until) = limit.until {
                    request.extensions_mut().insert(Deadline(until));
                }
                if streams {
                    // It goes on when this call's future has ended, and logs under the same id.
                    request.headers_mut().insert(REQUEST_ID, id.clone());
                }
                (self.route(request), limit)
            }
        };
        Call { answer, id, method, limit, has_trailers, timer: None, span: None }
    }
}

/// A call under way.
///
/// What a call needs only when it waits is made when it first has to: a timer, and, unless it waits for its body, a span
/// for its log lines. A hit whose body came with its headers pays for neither, one whose body came later for the timer.
pub struct Call {
    answer: Answer,
    id: HeaderValue,
    method: String,
    limit: Limit,
    /// Whether its trailers may hold an error that tonic made.
    has_trailers: bool,
    timer: Option<Pin<Box<Sleep>>>,
    span: Option<Span>,
}

impl Future for Call {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (polled, awaits_body) = polled(|| match &this.span {
            None => this.answer.as_mut().poll(cx),
            Some(span) => span.in_scope(|| this.answer.as_mut().poll(cx)),
        });
        let mut response = match polled {
            Poll::Ready(Ok(_)) if this.limit.has_passed() => deadline().into_http(),
            Poll::Ready(Ok(response)) => response,
            Poll::Ready(Err(never)) => match never {},
            Poll::Pending => {
                // Clients such as tonic's send the body behind the headers; nothing is logged before it has come.
                if !awaits_body && this.span.is_none() {
                    let id = this.id.to_str().unwrap_or_default();
                    this.span = Some(tracing::info_span!("call", request_id = id, method = this.method));
                }
                let Some(until) = this.limit.until else { return Poll::Pending };
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(timer.as_mut().poll(cx));
                deadline().into_http()
            }
        };
        repair(response.headers_mut());
        if this.has_trailers {
            response = response.map(|body| Body::new(Repaired(body)));
        }
        response.headers_mut().insert(REQUEST_ID, this.id.clone());
        Poll::Ready(Ok(response))
    }
}

/// Whether a method may take any time.
fn streams(path: &str) -> bool {
    [IMPORT, WATCH, WATCH_STATS, WARM].contains(&path)
}

fn answer(status: Status) -> Answer {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// Tells whoever came with a browser.
fn not_grpc(code: StatusCode) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response.headers_mut().insert("x-larder", HeaderValue::from_static("this port speaks gRPC"));
    Box::pin(std::future::ready(Ok(response)))
}

/// The size of a list of headers as HTTP/2 counts it (RFC 9113, section 6.5.2).
fn size_of_headers(request: &Request<Incoming>) -> usize {
    const EACH: usize = 32;
    let uri = request.uri();
    let parts = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", http::uri::Authority::as_str)),
        (":path", uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str)),
    ];
    let parts = parts.iter().map(|(name, value)| name.len() + value.len() + EACH);
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + EACH);
    parts.chain(headers).sum()
}

/// Takes the caller's id if it can stand in a log, or makes one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(make_request_id)
}

#[expect(clippy::disallowed_methods, reason = "nothing depends on the id but that it is another one")]
fn make_request_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random: u128 = rand::random();
    let digits: [u8; 32] = std::array::from_fn(|at| DIGITS[(random >> (4 * at)) as usize & 15]);
    HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Reads a timeout: up to 8 digits and a unit (gRPC over HTTP/2, "Requests").
fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.as_bytes().split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b"H" => Some(Duration::from_hours(count)),
        b"M" => Some(Duration::from_mins(count)),
        b"S" => Some(Duration::from_secs(count)),
        b"m" => Some(Duration::from_millis(count)),
        b"u" => Some(Duration::from_micros(count)),
        b"n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_digits_and_a_unit() {
        let parse = |text: &'static str| parse_timeout(&HeaderValue::from_static(text));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "m", "1", "1x", "-1S", "+1S", "123456789n", "1.5S"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_id_is_taken_or_made() {
        let id = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            request_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        assert_eq!(id("abc-1"), "abc-1");
        assert_eq!(id("has a space").len(), 32);
        assert_eq!(id(&"x".repeat(129)).len(), 32);
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
