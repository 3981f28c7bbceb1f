//! Signatures of webhooks for fuzzing.

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use ring::hmac;

use super::{BASE64, Duration, ID, SIGNATURE, TIMESTAMP, UNIX_EPOCH, Unverified, Verifier, WebhookConfig};
use crate::{config::WebhookSecret, fuzzing::parts};

const NOW: u64 = 1_700_000_000;
const TOLERANCE: u64 = 300;
const SECRET: &[u8] = b"a secret that nobody knows";

/// Reads parts as the id, the time, the signatures and the body of a webhook. Nothing that was not signed is genuine; what was
/// signed is, exactly as it was signed.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn webhook(input: &[u8]) {
    let [id, timestamp, signatures, body] = parts::<4>(input);
    let config = WebhookConfig { secrets: vec![WebhookSecret::new(SECRET)], tolerance: Duration::from_secs(TOLERANCE) };
    let verifier = Verifier::new(&config);
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let headers = |signatures: &[u8]| {
        let all = [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signatures)];
        let value = |(name, value)| Some((http::HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?));
        all.into_iter().filter_map(value).collect::<HeaderMap>()
    };
    assert!(verifier.verify(&headers(signatures), body, now).is_err(), "nobody signed this");

    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let content = [id, b".", timestamp, b".", body].concat();
    let signed = format!("v1,{}", BASE64.encode(hmac::sign(&key, &content)));
    let signed = [signatures.rsplit(|&byte| byte == b' ').next().unwrap_or_default(), b" ", signed.as_bytes()].concat();
    let headers = headers(&signed);
    let Ok(genuine) = verifier.verify(&headers, body, now) else { return };
    assert_eq!(genuine.id.as_bytes(), id);
    assert!(genuine.signed.abs_diff(NOW) <= TOLERANCE);
    let altered = [body, b" "].concat();
    assert_eq!(verifier.verify(&headers, &altered, now), Err(Unverified::Signature));
}
