//! Headers of traces for fuzzing.

use larder_cache::trace::TraceContext;

use super::{baggage, caller};

/// Reads lines as the headers of a traced call, and text as the context of a trace.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn trace_headers(input: &[u8]) {
    let headers = crate::fuzzing::headers(input);
    let names = ["tenant".to_owned(), "a".to_owned()];
    for (name, value) in baggage::members(&headers, &names) {
        assert!(names.iter().any(|known| known == name) && value.len() <= 256);
    }
    let text = String::from_utf8_lossy(input);
    for context in [caller(&headers), TraceContext::parse(text.trim())].into_iter().flatten() {
        assert!(context.trace_id != 0 && context.span_id != 0);
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
    }
}
