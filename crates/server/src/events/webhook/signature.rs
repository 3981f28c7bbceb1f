//! Whether a webhook comes from somebody who has one of the secrets, and was signed just now.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::Engine as _;
use http::HeaderMap;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::config::{BASE64, WebhookConfig};

/// Checks signatures.
pub(super) struct Verifier {
    keys: Vec<hmac::Key>,
    tolerance: Duration,
}

/// A message that is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Genuine<'a> {
    pub(super) id: &'a str,
    /// When its sender made this attempt, in seconds since 1970.
    pub(super) signed: u64,
}

/// Why it is not known that a message is genuine. The specification has no words for what is told of it; a message that was
/// signed too long ago is as good as one that was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unverified {
    Missing(&'static str),
    Id,
    Timestamp,
    TooOld(Duration),
    TooNew(Duration),
    Signature,
}

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
const LONGEST_ID: usize = 128;
/// Signatures of one message that are looked at.
const MOST_SIGNATURES: usize = 16;

impl Verifier {
    pub(super) fn new(config: &WebhookConfig) -> Self {
        let keys = config.secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()));
        Self { keys: keys.collect(), tolerance: config.tolerance }
    }

    /// Finds out whether a message is genuine.
    pub(super) fn verify<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Genuine<'a>, Unverified> {
        let header = |name| {
            let value = headers.get(name).ok_or(Unverified::Missing(name))?;
            Ok(value.to_str().unwrap_or_default())
        };
        let (id, timestamp, signatures) = (header(ID)?, header(TIMESTAMP)?, header(SIGNATURE)?);
        // A full stop in it would leave open where it ends in what was signed.
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
            return Err(Unverified::Id);
        }
        let signed = self.check_time(timestamp, now)?;
        if self.is_signed(id, timestamp, body, signatures) {
            Ok(Genuine { id, signed })
        } else {
            Err(Unverified::Signature)
        }
    }

    fn check_time(&self, timestamp: &str, now: SystemTime) -> Result<u64, Unverified> {
        if timestamp.is_empty() || timestamp.len() > 12 || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Unverified::Timestamp);
        }
        let seconds = timestamp.parse().map_err(|_| Unverified::Timestamp)?;
        let (signed, now) = (Duration::from_secs(seconds), now.duration_since(UNIX_EPOCH).unwrap_or_default());
        if now.saturating_sub(signed) > self.tolerance {
            return Err(Unverified::TooOld(self.tolerance));
        }
        if signed.saturating_sub(now) > self.tolerance {
            return Err(Unverified::TooNew(self.tolerance));
        }
        Ok(seconds)
    }

    /// Whether one of the signatures was made with one of the secrets. The body is gone through once for each secret, however
    /// many signatures there are.
    fn is_signed(&self, id: &str, timestamp: &str, body: &[u8], signatures: &str) -> bool {
        let given: Vec<_> = signatures
            .split(' ')
            .filter_map(|signature| BASE64.decode(signature.strip_prefix("v1,")?).ok())
            .take(MOST_SIGNATURES)
            .collect();
        if given.is_empty() {
            return false;
        }
        self.keys.iter().any(|key| {
            let mut context = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            let right = context.sign();
            given.iter().any(|given| bool::from(given.as_slice().ct_eq(right.as_ref())))
        })
    }
}

impl Unverified {
    /// The same for programs.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missing(_) => "HEADER_MISSING",
            Self::Id => "WEBHOOK_ID_INVALID",
            Self::Timestamp => "TIMESTAMP_INVALID",
            Self::TooOld(_) => "TIMESTAMP_TOO_OLD",
            Self::TooNew(_) => "TIMESTAMP_TOO_NEW",
            Self::Signature => "SIGNATURE_INVALID",
        }
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "the header {name} is required"),
            Self::Id => {
                write!(f, "{ID} must be 1 to {LONGEST_ID} visible characters of ASCII, none of them a full stop")
            }
            Self::Timestamp => write!(f, "{TIMESTAMP} must be a whole number of seconds since 1970"),
            Self::TooOld(limit) => {
                write!(f, "signed more than {} seconds ago; sign it again for each attempt", limit.as_secs())
            }
            Self::TooNew(limit) => {
                write!(f, "signed more than {} seconds in the future; look at the clocks", limit.as_secs())
            }
            Self::Signature => {
                write!(f, "no signature v1 of {SIGNATURE} fits the id, the timestamp, the body and a secret known here")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebhookSecret;

    const BODY: &[u8] = br#"{"type":"all.invalidated"}"#;
    const NOW: u64 = 1_700_000_000;

    fn verifier(secrets: &[&[u8]]) -> Verifier {
        let secrets = secrets.iter().map(|&secret| WebhookSecret::new(secret)).collect();
        Verifier::new(&WebhookConfig { secrets, tolerance: Duration::from_mins(5) })
    }

    fn sign(secret: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        format!("v1,{}", BASE64.encode(hmac::sign(&key, &content)))
    }

    fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
        [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signature)]
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_example_of_the_reference_implementation() {
        // The test vector of the libraries of the specification.
        let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let body = br#"{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let headers = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", signature);
        let verified = verifier(&[&secret]).verify(&headers, body, at(1_614_265_330));
        assert_eq!(verified, Ok(Genuine { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", signed: 1_614_265_330 }));
    }

    #[test]
    fn any_of_the_secrets_and_of_the_signatures_will_do() {
        let (old, new) = (&[1; 24][..], &[2; 64][..]);
        let time = NOW.to_string();
        let (by_old, by_new) = (sign(old, "m", &time, BODY), sign(new, "m", &time, BODY));
        let both = format!("v1a,AAAA {by_old} v1,AAAA v1,? x {by_new}");
        for (secrets, signature, good) in [
            (&[old][..], &by_old, true),
            (&[new], &by_old, false),
            (&[old, new], &by_old, true),
            (&[old, new], &by_new, true),
            (&[old], &both, true),
            (&[new], &both, true),
            (&[&[3; 24]], &both, false),
            (&[old], &by_old.replace("v1,", "v1a,"), false),
            (&[old], &by_old.replace("v1,", ""), false),
            (&[old], &by_old.trim_end_matches('=').to_owned(), true),
            (&[old], &by_old.chars().take(20).collect(), false),
            (&[old], &"v1,".to_owned(), false),
            (&[old], &String::new(), false),
            (&[old], &format!("{}{by_old}", "v1,AAAA ".repeat(MOST_SIGNATURES)), false),
        ] {
            let headers = headers("m", &time, signature);
            let verified = verifier(secrets).verify(&headers, BODY, at(NOW));
            assert_eq!(
                verified,
                if good { Ok(Genuine { id: "m", signed: NOW }) } else { Err(Unverified::Signature) },
                "{signature}"
            );
        }
    }

    #[test]
    fn whatever_is_changed_after_signing_shows() {
        let secret = &[7; 32][..];
        let time = NOW.to_string();
        let signature = sign(secret, "m", &time, BODY);
        let verify = |id: &str, time: &str, body: &[u8]| {
            verifier(&[secret])
                .verify(&headers(id, time, &signature), body, at(NOW))
                .map(|genuine| genuine.id.to_owned())
        };
        assert_eq!(verify("m", &time, BODY), Ok("m".to_owned()));
        assert_eq!(verify("n", &time, BODY), Err(Unverified::Signature));
        assert_eq!(verify("m", &(NOW + 1).to_string(), BODY), Err(Unverified::Signature));
        assert_eq!(verify("m", &time, &BODY[1..]), Err(Unverified::Signature));
        assert_eq!(verify("m", &time, b""), Err(Unverified::Signature));
    }

    #[test]
    fn the_time_of_signing_is_within_the_tolerance() {
        let secret = &[7; 32][..];
        let limit = Duration::from_mins(5);
        for (signed, now, told) in [
            (NOW, NOW + 300, Ok(())),
            (NOW, NOW + 301, Err(Unverified::TooOld(limit))),
            (NOW + 300, NOW, Ok(())),
            (NOW + 301, NOW, Err(Unverified::TooNew(limit))),
            (0, NOW, Err(Unverified::TooOld(limit))),
        ] {
            let time = signed.to_string();
            let headers = headers("m", &time, &sign(secret, "m", &time, BODY));
            assert_eq!(verifier(&[secret]).verify(&headers, BODY, at(now)).map(drop), told, "{signed} at {now}");
        }
        for time in ["", "-1", "1.5", "soon", "+1700000000", "1700000000000000"] {
            let headers = headers("m", time, &sign(secret, "m", time, BODY));
            assert_eq!(verifier(&[secret]).verify(&headers, BODY, at(NOW)), Err(Unverified::Timestamp), "{time}");
        }
    }

    #[test]
    fn headers_are_there_and_well_formed() {
        let secret = &[7; 32][..];
        let time = NOW.to_string();
        for missing in [ID, TIMESTAMP, SIGNATURE] {
            let mut headers = headers("m", &time, &sign(secret, "m", &time, BODY));
            headers.remove(missing);
            assert_eq!(verifier(&[secret]).verify(&headers, BODY, at(NOW)), Err(Unverified::Missing(missing)));
        }
        for id in ["", "a.b", "a b", "ä", &"x".repeat(129)] {
            let headers = headers(id, &time, &sign(secret, id, &time, BODY));
            assert_eq!(verifier(&[secret]).verify(&headers, BODY, at(NOW)), Err(Unverified::Id), "{id}");
        }
    }
}
