//! The headers of calls for fuzzing.

use std::time::Duration;

use http::Request;

use super::{
    content_type::content_type,
    context::{CallContext, CallLimits, TimeLimit},
    web::Web,
};
use crate::{config::WebOrigins, fuzzing::parts};

/// Reads a path, and lines as the headers of a call.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn call_headers(input: &[u8]) {
    let [path, lines] = parts::<2>(input);
    let Ok(uri) = http::Uri::try_from(path) else { return };
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.headers_mut() = crate::fuzzing::headers(lines);
    let limits = CallLimits {
        header_bytes: 16 << 10,
        default_deadline: Duration::from_secs(30),
        max_deadline: Duration::from_mins(1),
        message: Duration::from_secs(30),
    };
    let context = CallContext::new(&request);
    assert!((1..=128).contains(&context.id.len()) && context.id.as_bytes().iter().all(u8::is_ascii_graphic));
    if let Ok(limit) = TimeLimit::of(&request, &limits) {
        assert!(limit.asked.is_none() || limit.until.is_some());
    }
    let _ = content_type(request.headers());
    let listed = "https://shop.example";
    let web = Web::new(WebOrigins::Listed(vec![listed.to_owned()])).expect("there is an origin");
    let origin = request.headers().get(http::header::ORIGIN).cloned();
    let admitted = web.admit(request.headers()).is_some();
    assert_eq!(admitted, origin.as_ref().is_none_or(|origin| origin == listed), "another page");
    *request.method_mut() = http::Method::OPTIONS;
    let allowed = web
        .preflight(&request)
        .is_some_and(|response| response.headers().contains_key(http::header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert!(!allowed || origin.is_some_and(|origin| origin == listed));
}
