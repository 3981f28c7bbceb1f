//! gRPC-Web: calls of pages in browsers, which can neither send nor read HTTP trailers.
//!
//! A request is one of gRPC with another content type. In a reply the trailers are the last message of the body. Messages are
//! bytes; the older form, in base64, is not served. The protocol is in PROTOCOL-WEB.md of grpc/grpc.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN,
        VARY,
    },
};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use crate::config::WebOrigins;

/// The content type of replies.
const REPLY: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
/// Marks the message that holds the trailers.
const TRAILERS: u8 = 0x80;
/// What a page may send.
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,grpc-timeout,traceparent,tracestate,x-cache-debug,x-grpc-web,x-larder-token,x-request-id,\
     x-user-agent",
);
/// What a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-message,grpc-status,grpc-status-details-bin,x-cache-key,x-cache-status,x-cache-tier,x-cache-ttl,x-larder-token,\
     x-request-id",
);
/// How long a browser may remember what is allowed, in seconds: the longest that Chromium accepts.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Which pages may call.
#[derive(Debug, Clone)]
pub(super) struct Web(Arc<WebOrigins>);

/// How the reply to a page's call is written.
#[derive(Debug)]
pub(super) struct WebReply {
    /// The origin of the page. `None` for a caller that is no page.
    origin: Option<HeaderValue>,
}

impl Web {
    /// `None` if no page may call.
    pub(super) fn new(origins: WebOrigins) -> Option<Self> {
        (origins != WebOrigins::None).then(|| Self(Arc::new(origins)))
    }

    /// The answer to a browser that asks whether a page may call.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let asks =
            *request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.origin(request.headers()) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Some(response)
    }

    /// How to reply to a call; `None` refuses the page that makes it.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<WebReply> {
        match self.origin(headers) {
            None if headers.contains_key(ORIGIN) => None,
            origin => Some(WebReply { origin }),
        }
    }

    /// The origin of the page, if the page may call.
    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let allowed = match &*self.0 {
            WebOrigins::None => false,
            WebOrigins::Any => true,
            WebOrigins::Listed(origins) => origins.iter().any(|listed| origin == listed.as_str()),
        };
        allowed.then(|| origin.clone())
    }
}

impl WebReply {
    /// Writes a reply as pages read it.
    pub(super) fn write(self, response: Response<Body>) -> Response<Body> {
        let mut response = response.map(|body| Body::new(WebBody { body, ended: false }));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, REPLY);
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        response
    }
}

/// The body of a reply, with its trailers as the last message.
struct WebBody {
    body: Body,
    ended: bool,
}

impl http_body::Body for WebBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None | Some(Err(_)) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => frame,
        };
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => {
                self.ended = true;
                Frame::data(trailers_message(&trailers))
            }
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The message that holds trailers: a flag, a length, and lines as in HTTP/1.1.
fn trailers_message(trailers: &HeaderMap) -> Bytes {
    const EACH: usize = ": \r\n".len();
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + EACH;
    let length: usize = trailers.iter().map(size).sum();
    let mut message = BytesMut::with_capacity(5 + length);
    message.put_u8(TRAILERS);
    // Trailers are our own, and an error has at most a few KiB.
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            message.put_slice(part);
        }
    }
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&'static str>) -> HeaderMap {
        origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))).into_iter().collect()
    }

    #[test]
    fn only_the_pages_of_listed_origins_call() {
        let web = Web::new(WebOrigins::Listed(vec!["https://shop.example".to_owned()])).expect("some");
        for (origin, admitted) in [
            (None, true),
            (Some("https://shop.example"), true),
            (Some("https://shop.example:8443"), false),
            (Some("http://shop.example"), false),
            (Some("https://shop.example.evil"), false),
            (Some("null"), false),
        ] {
            assert_eq!(web.admit(&headers(origin)).is_some(), admitted, "{origin:?}");
        }
        assert!(Web::new(WebOrigins::None).is_none());
        let any = Web::new(WebOrigins::Any).expect("any");
        assert!(any.admit(&headers(Some("null"))).is_some());
    }

    #[test]
    fn trailers_are_lines_behind_a_flag() {
        let trailers = HeaderMap::from_iter([
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
            (HeaderName::from_static("grpc-message"), HeaderValue::from_static("")),
        ]);
        let message = trailers_message(&trailers);
        assert_eq!(message[..5], [0x80, 0, 0, 0, 32]);
        let mut lines: Vec<_> = std::str::from_utf8(&message[5..]).expect("text").split_inclusive("\r\n").collect();
        lines.sort_unstable();
        assert_eq!(lines, ["grpc-message: \r\n", "grpc-status: 0\r\n"]);
    }
}
