//! Errors, as scripts read them.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What of an error scripts rely on: its code, the reason of its `ErrorInfo`, the fields of its `BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) fields: Vec<String>,
}

impl Refusal {
    /// A refusal for another reason than its fields.
    pub(crate) fn of(code: Code, reason: &str) -> Self {
        Self { code, reason: reason.to_owned(), fields: Vec::new() }
    }

    /// A refusal because of fields.
    pub(crate) fn invalid(fields: &[&str]) -> Self {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        Self { code: Code::InvalidArgument, reason: "INVALID_REQUEST".to_owned(), fields }
    }

    /// A refusal because of a token that says nothing here.
    pub(crate) fn token(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::invalid(&["read.at_least_as_fresh"]) }
    }
}

/// Words that only a driver or a library would write.
const FOREIGN: [&str; 20] = [
    "sqlx",
    "sqlite",
    "postgres",
    "psql",
    "relation",
    "constraint",
    "sql",
    "pool",
    "tokio",
    "hyper",
    "h2 ",
    "tonic",
    "prost",
    "protobuf",
    "panick",
    "connection refused",
    "os error",
    "broken pipe",
    "varint",
    "wire type",
];

/// Reasons of what may be tried again as it is.
const RETRIED: [&str; 10] = [
    "DATABASE_FULL",
    "DATABASE_UNAVAILABLE",
    "OVERLOADED",
    "RATE_LIMITED",
    "REPLIES_UNREAD",
    "TOO_MANY_CALLS",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_IMPORTS",
    "UNFINISHED_MESSAGES",
    "WRITE_CONFLICT",
];

/// The bytes of an error's message and its details, as they were sent.
pub(crate) fn sent(status: &Status) -> usize {
    let (head, ()) = status.clone().into_http().into_parts();
    let length = |name| head.headers.get(name).map_or(0, http::HeaderValue::len);
    length("grpc-message") + length("grpc-status-details-bin")
}

/// Reads an error.
///
/// # Panics
/// When it breaks a rule of [`read_refusal`].
pub(crate) fn refusal(status: &Status) -> Refusal {
    read_refusal(status).unwrap_or_else(|broken| panic!("{broken}: {status:?}"))
}

/// Reads an error, and checks what holds for each: it has one `ErrorInfo` of this service, every broken rule has a field
/// and a text, it is short enough for every client, no text of a driver or a library is in it, and what may be tried again says when. Otherwise it says what is
/// wrong.
pub(crate) fn read_refusal(status: &Status) -> Result<Refusal, String> {
    let info = status.get_details_error_info().ok_or("no ErrorInfo")?;
    let violations = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
    let rule = |holds: bool, broken: &str| if holds { Ok(()) } else { Err(broken.to_owned()) };
    rule(info.domain == "larder.dev", "another domain")?;
    let because_of_fields = info.reason == "INVALID_REQUEST" || info.reason.starts_with("TOKEN_");
    rule(because_of_fields != violations.is_empty(), "a reason that does not go with the fields")?;

    rule(sent(status) <= 2_048, &format!("{} bytes, which is more than every client accepts", sent(status)))?;
    let texts = violations.iter().map(|violation| violation.description.as_str());
    for text in texts.chain([status.message()]) {
        rule(!text.is_empty(), "no explanation")?;
        let lower = text.to_lowercase();
        for word in FOREIGN {
            rule(!lower.contains(word), &format!("{word:?} in the text"))?;
        }
    }
    let retried = RETRIED.contains(&info.reason.as_str());
    let delay = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    rule(delay.is_some_and(|delay| !delay.is_zero()) == retried, "RetryInfo where there should be none, or none")?;

    let fields = violations.into_iter().map(|violation| violation.field).collect();
    Ok(Refusal { code: status.code(), reason: info.reason, fields })
}
