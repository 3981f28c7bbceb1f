//! The way of a call to its service.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep_until};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use super::{
    admission::Admission,
    body::{Corrected, Inbound, code, polled},
    caller::CallerKey,
    content_type::{ContentType, content_type},
    context::{CallContext, CallLimits, TimeLimit},
    headers::REQUEST_ID,
    methods,
    observed::{Observed, Observers},
    shares::Share,
    sliced::Sliced,
    unfinished::Room,
    web::{Web, WebReply},
};
use crate::{
    auth::{self, AdminCall, Door, Gate},
    config::WebOrigins,
    grpc::errors::{self, tonic_status},
    metrics::Measured,
    net::{Caller, Peer, Respond, Standing, limit_reply},
    telemetry,
};

/// Routes calls to services by their paths. Cloned for every connection.
#[derive(Clone)]
pub struct Router<S> {
    /// The service on the hot path and its path, called without `dyn`.
    hot: Option<(&'static str, S)>,
    others: Arc<[(&'static str, Other)]>,
    limits: CallLimits,
    room: Room,
    observers: Observers,
    web: Option<Web>,
    /// `None`: whoever reaches the port may do everything.
    gate: Option<Arc<Gate>>,
    /// The gate as the connection sees it.
    door: Option<Arc<Door>>,
    /// `None`: every call is admitted.
    admission: Option<Arc<Admission>>,
    /// The same, as the connection sees it.
    entrance: Option<Arc<Entrance>>,
}

/// A service that is not on the hot path.
type Other = Arc<dyn Fn(Request<Inbound>) -> Answer + Send + Sync>;
/// The reply to come, as generated services return it.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Router<S> {
    /// A router without services.
    pub fn new(limits: CallLimits) -> Self {
        Self {
            hot: None,
            others: Arc::new([]),
            limits,
            room: Room::new(limits.message),
            observers: Observers::default(),
            web: None,
            gate: None,
            door: None,
            admission: None,
            entrance: None,
        }
    }

    /// Limits the calls.
    #[must_use]
    pub fn admitting(self, admission: Arc<Admission>) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// Has a gate decide about every call.
    #[must_use]
    pub fn gated(self, gate: Arc<Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Tells `observers` of every call.
    #[must_use]
    pub(crate) fn observed(self, observers: Observers) -> Self {
        Self { observers, ..self }
    }

    /// Lets web pages call by gRPC-Web.
    #[must_use]
    pub fn with_web(self, origins: WebOrigins) -> Self {
        Self { web: Web::new(origins), ..self }
    }

    /// Adds the service on the hot path, named by the path before its methods: `/package.Service/`.
    #[must_use]
    pub(crate) fn with_hot(self, path: &'static str, service: S) -> Self {
        Self { hot: Some((path, service)), ..self }
    }

    /// Adds another service, named likewise.
    #[must_use]
    pub fn with<O>(mut self, path: &'static str, service: O) -> Self
    where
        O: Service<Request<Inbound>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        O::Future: Send + 'static,
    {
        let other: Other = Arc::new(move |request| Box::pin(service.clone().call(request)));
        self.others = self.others.iter().cloned().chain([(path, other)]).collect();
        self
    }

    /// Admits a call within the limits: returns its time limit, or the answer that refuses it.
    fn admit(
        &self,
        request: &Request<Incoming>,
        standing: Standing,
        web: &mut Option<WebReply>,
    ) -> Result<TimeLimit, Answer> {
        let refused = |status| Err(answer(status));
        match standing {
            Standing::Good => {}
            Standing::Spare if methods::is_health(request.uri().path()) => {}
            Standing::Spare => return refused(errors::too_many_connections()),
            Standing::Unread => return refused(errors::unread_replies()),
        }
        if *request.method() != Method::POST {
            return Err(not_grpc(StatusCode::METHOD_NOT_ALLOWED));
        }
        match (content_type(request.headers()), &self.web) {
            // HTTP/1.1 is there for gRPC-Web alone: gRPC needs trailers.
            (ContentType::Grpc, _) if request.version() >= Version::HTTP_2 => {}
            (ContentType::GrpcOther, _) => return refused(errors::content_subtype()),
            (ContentType::GrpcWeb, Some(pages)) => match pages.admit(request.headers()) {
                None => return Err(not_grpc(StatusCode::FORBIDDEN)),
                reply => *web = reply,
            },
            (ContentType::Grpc | ContentType::GrpcWeb | ContentType::Other, _) => {
                return Err(not_grpc(StatusCode::UNSUPPORTED_MEDIA_TYPE));
            }
        }
        let (size, most) = (size_of_headers(request), self.limits.header_bytes);
        if size > most {
            return refused(errors::headers_too_large(size, most));
        }
        let limit = TimeLimit::of(request, &self.limits).or_else(|violations| refused(errors::invalid(&violations)))?;
        if limit.asked == Some(Duration::ZERO) { refused(errors::deadline()) } else { Ok(limit) }
    }

    /// Lets a caller in, or returns the answer that refuses it.
    fn enter(&self, request: &Request<Incoming>, context: &CallContext) -> Result<Option<Arc<auth::Caller>>, Answer> {
        let Some(door) = &self.door else { return Ok(None) };
        let request_id = context.id.to_str().unwrap_or_default();
        let caller = door.admit(&context.method, request.headers(), request_id);
        caller.map_err(|refused| answer(errors::refused(&refused)))
    }

    /// Begins the record of a call of `CacheAdmin`.
    fn record(&self, caller: Option<Arc<auth::Caller>>, context: &CallContext) -> Option<Box<AdminCall>> {
        let door = self.door.as_ref().filter(|_| methods::is_admin(&context.method))?;
        Some(Box::new(AdminCall {
            door: Arc::clone(door),
            caller,
            method: context.method.clone(),
            request_id: context.id.to_str().unwrap_or_default().to_owned(),
            recorded: false,
        }))
    }

    /// Counts a call towards the limits of its caller, or returns the answer that refuses it.
    fn limit(&self, context: &CallContext, caller: &CallerKey) -> Result<Option<Ticket>, Answer> {
        let Some(entrance) = &self.entrance else { return Ok(None) };
        entrance.0.begin(&context.method, caller).map_err(answer)?;
        let mut ticket = Ticket { entrance: Arc::clone(entrance), caller: caller.clone(), place: None };
        if methods::writes(&context.method) || methods::is_aside(&context.method) {
            ticket.wait(&context.method).map_err(answer)?;
        }
        Ok(Some(ticket))
    }
}

impl<S> Router<S>
where
    S: Service<Request<Inbound>, Response = Response<Body>, Error = Infallible, Future = Answer> + Clone,
{
    fn route(&self, request: Request<Incoming>) -> Answer {
        let takes_stream = methods::takes_stream(request.uri().path());
        let request = request.map(|body| Inbound::new(body, takes_stream, self.room.clone()));
        let path = request.uri().path();
        if let Some((prefix, service)) = &self.hot
            && path.starts_with(prefix)
        {
            return service.clone().call(request);
        }
        match self.others.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            Some((_, service)) => service(request),
            None => answer(errors::unknown_method()),
        }
    }
}

impl<S> Respond for Router<S>
where
    S: Service<Request<Inbound>, Response = Response<Body>, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + 'static,
{
    type Body = Body;
    type Future = Call;

    fn connected(self, peer: Peer) -> Self {
        let door = self.gate.as_ref().map(|gate| Arc::new(gate.door(peer)));
        let entrance = self.admission.clone().map(|admission| Arc::new(Entrance(admission)));
        Self { door, entrance, ..self }
    }

    fn respond(&self, mut request: Request<Incoming>, caller: Caller) -> Call {
        let mut context = CallContext::new(&request);
        if let Some(preflight) = self.web.as_ref().and_then(|web| web.preflight(&request)) {
            return Call::answered(preflight, context);
        }
        let mut web = None;
        let trace = telemetry::caller(request.headers());
        let recorded = trace.filter(|trace| trace.sampled).map(|trace| trace.trace_id);
        let measured = Some(self.observers.calls.begin(&context.method, recorded));
        let observed = self.observers.begin(&request, trace);
        let (mut record, mut ticket) = (None, None);
        let admitted = self.admit(&request, caller.standing, &mut web);
        let entered = admitted.and_then(|time| {
            context.time = time;
            let named = self.enter(&request, &context)?;
            let caller = CallerKey::new(caller.peer, named.as_ref());
            ticket = self.limit(&context, &caller)?;
            record = self.record(named, &context);
            Ok(caller)
        });
        let answer = match entered {
            Err(answer) => answer,
            Ok(caller) => {
                context.pass_on(&mut request, caller);
                self.route(request)
            }
        };
        Call { answer, context, measured, timer: None, ticket, observed, web, record }
    }
}

/// The way of the calls of one connection to the limits of all: counting references to what all threads share is slow.
struct Entrance(Arc<Admission>);

/// What a call needs to take a place when it first waits.
struct Ticket {
    entrance: Arc<Entrance>,
    caller: CallerKey,
    place: Option<Share>,
}

impl Ticket {
    fn wait(&mut self, method: &str) -> Result<(), Status> {
        if self.place.is_none() {
            self.place = Some(self.entrance.0.wait(method, self.caller.clone())?);
        }
        Ok(())
    }
}

/// A call in progress.
///
/// A call gets a timer when it first has to wait, and fields for its log lines when it first waits for something other than
/// its body. A hit whose body arrives with its headers pays for neither; a hit whose body arrives later pays for the timer.
pub struct Call {
    answer: Answer,
    context: CallContext,
    /// Taken when the call ends or its reply begins.
    measured: Option<Measured>,
    timer: Option<Pin<Box<Sleep>>>,
    /// `None` where every call is admitted.
    ticket: Option<Ticket>,
    observed: Observed,
    /// For a call by gRPC-Web.
    web: Option<WebReply>,
    /// The record of a call of `CacheAdmin`. A stream has its record when it begins.
    record: Option<Box<AdminCall>>,
}

impl Call {
    /// A request that is no call, with its answer.
    fn answered(response: Response<Body>, context: CallContext) -> Self {
        let answer = Box::pin(std::future::ready(Ok(response)));
        Self {
            answer,
            context,
            measured: None,
            timer: None,
            ticket: None,
            observed: Observed::default(),
            web: None,
            record: None,
        }
    }
}

impl Future for Call {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (polled, awaits_body) = polled(|| this.observed.enter(|| this.answer.as_mut().poll(cx)));
        let mut response = match polled {
            Poll::Ready(Ok(_)) if this.context.time.has_passed() => errors::deadline().into_http(),
            Poll::Ready(Ok(response)) => response,
            Poll::Ready(Err(never)) => match never {},
            Poll::Pending => {
                // Clients such as tonic's send the body after the headers; nothing is logged before it arrives.
                if !awaits_body {
                    this.observed.wait(&this.context);
                }
                match this.ticket.as_mut().map_or(Ok(()), |ticket| ticket.wait(&this.context.method)) {
                    Err(refused) => refused.into_http(),
                    Ok(()) => {
                        let Some(until) = this.context.time.until else { return Poll::Pending };
                        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
                        ready!(timer.as_mut().poll(cx));
                        errors::deadline().into_http()
                    }
                }
            }
        };
        if let Some(sliced) = response.extensions_mut().remove::<Sliced>() {
            response = response.map(|_| Body::new(sliced));
        }
        tonic_status::correct_headers(response.headers_mut());
        let code = code(response.headers());
        if let Some(record) = this.record.take() {
            record.end(code.unwrap_or(Code::Ok));
        }
        let measured = this.measured.take();
        if this.context.has_trailers && code.is_none() {
            // A stream of health or reflection keeps its place; other streams have shares of their own.
            let aside = methods::is_aside(&this.context.method);
            let place = this.ticket.take().filter(|_| aside).and_then(|ticket| ticket.place);
            response = response.map(|body| Body::new(Corrected::new(body, measured, place)));
        } else if let Some(measured) = measured {
            measured.finish(code.unwrap_or(Code::Ok));
        }
        response.headers_mut().insert(REQUEST_ID, this.context.id.clone());
        if let Some(until) = this.context.time.until {
            limit_reply(until);
        }
        let response = this.observed.end(response);
        Poll::Ready(Ok(match this.web.take() {
            None => response,
            Some(web) => web.write(response),
        }))
    }
}

fn answer(status: Status) -> Answer {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// Answers a caller that does not speak gRPC, such as a browser.
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
