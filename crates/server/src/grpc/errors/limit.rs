//! Errors that every client can receive.
//!
//! A client refuses a reply with larger headers or trailers than it accepts (8 KiB with grpcio), and reports that instead of
//! the error. The message and the details of every error therefore have a limit.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::DOMAIN;
use crate::contract::{Violation, Violations, cut};

/// Bytes of `grpc-message` and `grpc-status-details-bin` together, as they are sent.
pub(super) const MAX_ERROR: usize = 2 << 10;
/// The field of `ErrorInfo` that counts the violations left out.
const MORE: &str = "more_violations";
/// A text is cut to the first of these lengths that fits, in bytes; the last one fits with any escaping.
const LENGTHS: [usize; 3] = [512, 128, 32];

/// A status whose message is cut until it fits. Details that still do not fit are reduced to their reason.
pub(super) fn status(code: Code, message: &str, details: ErrorDetails) -> Status {
    let whole = Status::with_error_details(code, message, details.clone());
    if fits(&whole) {
        return whole;
    }
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let bare = ErrorDetails::with_error_info(reason, DOMAIN, []);
    let attempts = [details, bare].into_iter().flat_map(|details| {
        LENGTHS.map(|most| Status::with_error_details(code, cut(message.to_owned(), most), details.clone()))
    });
    let mut attempts = attempts;
    attempts.find(fits).unwrap_or_else(|| Status::new(code, cut(message.to_owned(), 32)))
}

/// A request that breaks rules. The status names as many violations as fit, and counts the others.
pub(super) fn invalid(reason: &str, violations: &Violations) -> Status {
    let named = violations.named();
    let attempts = LENGTHS.into_iter().flat_map(|most| (1..=named.len()).rev().map(move |count| (most, count)));
    let mut attempts = attempts.map(|(most, count)| {
        let named: Vec<_> = named[..count].iter().map(|violation| violation.clone().cut(most)).collect();
        naming(reason, &named, violations.count() - count)
    });
    attempts.find(fits).unwrap_or_else(|| naming(reason, &[], violations.count()))
}

fn naming(reason: &str, named: &[Violation], more: usize) -> Status {
    let counted = (more > 0).then(|| (MORE.to_owned(), more.to_string()));
    let counted: HashMap<_, _> = counted.into_iter().collect();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, counted);
    let broken = named.iter().map(|violation| FieldViolation::new(violation.field.clone(), violation.rule.clone()));
    details.set_bad_request(broken.collect::<Vec<_>>());
    let message = format!("invalid request: {}", Violations::told(named, more));
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Whether every client can receive a status.
pub(super) fn fits(status: &Status) -> bool {
    escaped(status.message()) + encoded(status.details().len()) <= MAX_ERROR
}

/// The length of a message as `grpc-message`, where an escaped byte takes three characters.
fn escaped(message: &str) -> usize {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#%<>`?{}".contains(&byte);
    message.bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum()
}

/// The length of so many bytes in base64 without padding.
fn encoded(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of an error as they are sent.
    fn sent(status: &Status) -> usize {
        let headers = status.clone().into_http::<tonic::body::Body>().into_parts().0.headers;
        let length = |name| headers.get(name).map_or(0, http::HeaderValue::len);
        length("grpc-message") + length("grpc-status-details-bin")
    }

    fn many(count: usize, field: &str, rule: &str) -> Violations {
        let mut violations = Violations::default();
        (0..count).for_each(|number| violations.add(format!("{field}[{number}]"), rule));
        violations
    }

    #[test]
    fn lengths_are_those_that_are_sent() {
        for message in ["", "plain", "two words", "Zürich 100 % <a> `b` {c} #d ? \"e\"", "a\tb\nc\u{7f}", "~^|\\'"] {
            for reason in ["A", "AB", "ABC", "ABCD"] {
                let details = ErrorDetails::with_error_info(reason, DOMAIN, []);
                let status = Status::with_error_details(Code::Internal, message, details);
                assert_eq!(escaped(message) + encoded(status.details().len()), sent(&status), "{message}");
            }
        }
    }

    #[test]
    fn a_few_violations_are_all_named() {
        let status = invalid("INVALID_REQUEST", &many(3, "ids", "must be good"));
        let expected = "invalid request: ids[0]: must be good; ids[1]: must be good; ids[2]: must be good";
        assert_eq!(status.message(), expected);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), 3);
        assert!(status.get_details_error_info().unwrap().metadata.is_empty());
    }

    #[test]
    fn as_many_violations_are_named_as_fit() {
        let status =
            invalid("INVALID_REQUEST", &many(1_000, "ids", "must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ -"));
        let named = status.get_details_bad_request().unwrap().field_violations.len();
        assert!((5..30).contains(&named), "{named}");
        assert!(status.message().ends_with(&format!("; and {} more", 1_000 - named)), "{}", status.message());
        let more = &status.get_details_error_info().unwrap().metadata["more_violations"];
        assert_eq!(*more, (1_000 - named).to_string());
        assert!((1_700..=MAX_ERROR).contains(&sent(&status)), "{}", sent(&status));
    }

    #[test]
    fn texts_are_cut_when_even_one_does_not_fit() {
        for text in ["x", "ä", "\u{0}", " ", "𝄞"] {
            for length in [100, 500, 1_000, 5_000, 100_000] {
                let long = text.repeat(length);
                for status in [
                    invalid("INVALID_REQUEST", &many(1, &long, &long)),
                    invalid("INVALID_REQUEST", &many(2_000, &long, &long)),
                    super::status(Code::NotFound, &long, ErrorDetails::with_error_info("R", DOMAIN, [])),
                    super::status(
                        Code::NotFound,
                        &long,
                        ErrorDetails::with_error_info("R", DOMAIN, [("id".to_owned(), long.clone())]),
                    ),
                ] {
                    assert!(sent(&status) <= MAX_ERROR, "{text:?} × {length}: {}", sent(&status));
                    assert!(!status.message().is_empty());
                    assert!(!status.get_details_error_info().unwrap().reason.is_empty());
                }
            }
        }
    }
}
