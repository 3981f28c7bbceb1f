//! What a client is told when its request is refused.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;

use crate::contract::Violations;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: &'static str,
    message: String,
    violations: Vec<(String, String)>,
    retry: bool,
    /// The credentials that an unauthorized client may bring.
    challenge: &'static str,
}

/// Broken rules that are told one by one.
const MOST_TOLD: usize = 20;
/// Seconds after which to try again.
const RETRY: &str = "5";

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            violations: Vec::new(),
            retry: false,
            challenge: "StandardWebhooks",
        }
    }

    /// The refusal of an event that breaks rules.
    pub(crate) fn invalid(broken: &Violations) -> Self {
        let named = &broken.named()[..broken.named().len().min(MOST_TOLD)];
        let message = format!("invalid event: {}", Violations::told(named, broken.count() - named.len()));
        let violations = named.iter().map(|broken| (broken.field.clone(), broken.rule.clone())).collect();
        Self { violations, ..Self::new(StatusCode::BAD_REQUEST, "INVALID_EVENT", message) }
    }

    /// Asks the sender to try again.
    pub(crate) fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    /// Names the credentials that an unauthorized client may bring.
    pub(crate) fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge, ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "reason": self.reason, "message": self.message });
        if !self.violations.is_empty() {
            let broken = self.violations.iter().map(|(field, rule)| json!({ "field": field, "rule": rule }));
            body["violations"] = broken.collect();
        }
        let mut response = Response::new(Body::from(format!("{body}\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 15.5.2, asks for one.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        }
        if self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_many_broken_rules_are_told() {
        let mut broken = Violations::default();
        for number in 0..1_000 {
            broken.add(format!("data.ids[{number}]"), "is required");
        }
        let refusal = Refusal::invalid(&broken);
        assert_eq!(refusal.violations.len(), MOST_TOLD);
        assert!(refusal.message.ends_with("data.ids[19]: is required; and 980 more"), "{}", refusal.message);
    }
}
