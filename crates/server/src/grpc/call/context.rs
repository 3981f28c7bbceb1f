//! The context of a call: its id, its method and its deadline.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request};
use tokio::time::Instant;

use super::{
    caller::CallerKey,
    headers::{REQUEST_ID, TIMEOUT},
    methods,
};
use crate::contract::Violations;

/// Limits of every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Bytes of a call's headers, with 32 for each of them.
    pub header_bytes: usize,
    /// The deadline of a call that names none. Streams are exempt.
    pub default_deadline: Duration,
    /// The latest deadline that a call can name; the server shortens a later one. Streams are exempt.
    pub max_deadline: Duration,
    /// How long a message may take from its first byte to its last, of a stream, too.
    pub message: Duration,
}

/// The deadline of a call, for services that stream.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct Deadline(pub(in crate::grpc) Instant);

/// What is known of a call before a service sees it.
pub(super) struct CallContext {
    /// Names the call in logs and replies.
    pub(super) id: HeaderValue,
    /// The path of the method.
    pub(super) method: String,
    /// When the call must have ended.
    pub(super) time: TimeLimit,
    /// Whether the trailers of the reply may hold an error that tonic made.
    pub(super) has_trailers: bool,
}

impl CallContext {
    /// The context of a call without a deadline.
    pub(super) fn new<B>(request: &Request<B>) -> Self {
        let method = request.uri().path().to_owned();
        let has_trailers = methods::has_trailers(&method);
        Self { id: request_id(request.headers()), method, time: TimeLimit::default(), has_trailers }
    }

    /// Prepares a call for its service, which needs id and deadline when it streams.
    pub(super) fn pass_on<B>(&self, request: &mut Request<B>, caller: CallerKey) {
        if let Some(until) = self.time.until {
            request.extensions_mut().insert(Deadline(until));
        }
        if methods::streams(&self.method) {
            // The stream goes on when the call's future has ended, and logs under the same id.
            request.headers_mut().insert(REQUEST_ID, self.id.clone());
            request.extensions_mut().insert(caller);
        }
    }
}

/// When a call must have ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeLimit {
    /// The time that the caller gave.
    pub(super) asked: Option<Duration>,
    /// The end of the caller's time or of the server's limit, whichever comes first.
    pub(super) until: Option<Instant>,
}

impl TimeLimit {
    /// The limit of a call that begins now.
    pub(super) fn of<B>(request: &Request<B>, limits: &CallLimits) -> Result<Self, Violations> {
        let asked = match request.headers().get(TIMEOUT) {
            None => None,
            Some(value) => {
                let rule = "must be 1 to 8 digits and a unit of H, M, S, m, u or n";
                Some(parse_timeout(value).ok_or_else(|| Violations::one("grpc-timeout", rule))?)
            }
        };
        let limit = if methods::is_limited(request.uri().path()) {
            Some(asked.unwrap_or(limits.default_deadline).min(limits.max_deadline))
        } else {
            asked
        };
        Ok(Self { asked, until: limit.map(|limit| Instant::now() + limit) })
    }

    /// Whether the caller's deadline has passed. It counts even for a call that was answered without waiting. Only for a caller
    /// with a deadline does this read the clock.
    pub(super) fn has_passed(&self) -> bool {
        self.asked.is_some() && self.until.is_some_and(|until| until <= Instant::now())
    }
}

const LONGEST_REQUEST_ID: usize = 128;

/// The caller's id if it is fit for a log, or else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(make_request_id)
}

#[expect(clippy::disallowed_methods, reason = "the id only has to differ from others")]
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
