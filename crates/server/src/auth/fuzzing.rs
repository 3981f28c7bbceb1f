//! Credentials for fuzzing.

use std::{sync::LazyLock, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{
    LONGEST_NAME,
    bearer::{Presented, presented},
    jwt::{KeySet, verify},
};
use crate::{
    config::JwtConfig,
    fuzzing::{headers, parts},
};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "larder";

/// An issuer, and the set with its key.
static KEYS: LazyLock<(Ed25519KeyPair, KeySet)> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed");
    let key = BASE64_URL.encode(pair.public_key().as_ref());
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": key, "alg": "EdDSA", "kid": "a" }] });
    let set = KeySet::parse(set.to_string().as_bytes()).expect("a set with a key");
    (pair, set)
});

fn config() -> JwtConfig {
    JwtConfig { issuer: Some(ISSUER.to_owned()), audience: Some(AUDIENCE.to_owned()), ..JwtConfig::default() }
}

/// Reads bytes as a JSON Web Token, and parts as the header and the claims of one that is signed. Only a signed one for this
/// audience names a caller.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn jwt(input: &[u8]) {
    let (pair, set) = &*KEYS;
    assert!(verify(set, &config(), input).is_err(), "nobody signed this");
    let [header, claims] = parts::<2>(input);
    let message = format!("{}.{}", BASE64_URL.encode(header), BASE64_URL.encode(claims));
    let signature = BASE64_URL.encode(pair.sign(message.as_bytes()).as_ref());
    let Ok((caller, end)) = verify(set, &config(), format!("{message}.{signature}").as_bytes()) else { return };
    assert!(caller.name.chars().count() <= LONGEST_NAME && !caller.name.contains(char::is_control));
    assert!(end > SystemTime::UNIX_EPOCH);
    let [header, claims] = [header, claims].map(|part| serde_json::from_slice::<Value>(part).expect("it was read"));
    assert_eq!(header["alg"], "EdDSA", "the token chose an algorithm");
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    assert!(audience == AUDIENCE || audience.as_array().is_some_and(|all| all.iter().any(|one| one == AUDIENCE)));
}

/// Reads bytes as a JSON Web Key Set, and verifies a token by it.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn jwks(input: &[u8]) {
    let Ok(set) = KeySet::parse(input) else { return };
    let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": 4_102_444_800_u64, "sub": "a" });
    for alg in ["RS256", "ES256", "EdDSA"] {
        let header = json!({ "alg": alg, "kid": "a" });
        let parts =
            [header.to_string(), claims.to_string(), "no signature".to_owned()].map(|part| BASE64_URL.encode(part));
        assert!(verify(&set, &config(), parts.join(".").as_bytes()).is_err(), "nobody signed this");
    }
}

/// Reads lines as headers, and the credential in them.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn authorization(input: &[u8]) {
    let headers = headers(input);
    for basic in [false, true] {
        if let Presented::Token(token) = presented(&headers, basic) {
            assert!(!token.is_empty() && token.len() < input.len());
        }
    }
}
