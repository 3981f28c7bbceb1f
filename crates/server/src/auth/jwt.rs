//! JSON Web Tokens (RFC 7519).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Validation,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
    signature::{self, Verifier},
};
use ring::signature as ring_signature;
use serde_json::Value;

use super::{Caller, printable};
use crate::config::{JwtConfig, Role};

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// A key, and the one algorithm with which it is used: the token has no say in it.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    public: DecodingKey,
    algorithm: Algorithm,
}

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// The key set does not have its key; a newer one may.
    UnknownKey,
    /// The text is for the log.
    Invalid(&'static str),
}

/// Keys that are read from a set.
const MOST_KEYS: usize = 100;

impl KeySet {
    /// Reads a JSON Web Key Set. Keys that are of no use here are left out: those of other algorithms, symmetric ones, and those for
    /// encryption.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(bytes).map_err(|_| "is not JSON")?;
        let keys = set["keys"].as_array().ok_or("is not a JSON Web Key Set: it has no list of keys")?;
        if keys.len() > MOST_KEYS {
            return Err("has more than 100 keys");
        }
        let keys = keys.iter().filter_map(|key| Key::read(&serde_json::from_value(key.clone()).ok()?));
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() { Err("has no key for RS256, ES256, EdDSA or their like") } else { Ok(Self(keys)) }
    }

    /// The key of a name. A token without a name means the only key there is.
    fn find(&self, id: Option<&str>) -> Result<&Key, Rejected> {
        match (id, &self.0[..]) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Rejected::Invalid("no key named")),
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)).ok_or(Rejected::UnknownKey),
        }
    }
}

impl Key {
    fn read(key: &Jwk) -> Option<Self> {
        if key.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let named = key.common.key_algorithm.as_ref();
        let algorithm = match (&key.algorithm, named) {
            (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS384)) => Algorithm::RS384,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS512)) => Algorithm::RS512,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::PS256)) => Algorithm::PS256,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::PS384)) => Algorithm::PS384,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::PS512)) => Algorithm::PS512,
            (AlgorithmParameters::EllipticCurve(key), None | Some(KeyAlgorithm::ES256))
                if key.curve == EllipticCurve::P256 =>
            {
                Algorithm::ES256
            }
            (AlgorithmParameters::EllipticCurve(key), None | Some(KeyAlgorithm::ES384))
                if key.curve == EllipticCurve::P384 =>
            {
                Algorithm::ES384
            }
            (AlgorithmParameters::OctetKeyPair(key), None | Some(KeyAlgorithm::EdDSA))
                if key.curve == EllipticCurve::Ed25519 =>
            {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let id = key.common.key_id.clone();
        Some(Self { id, public: DecodingKey::from_jwk(key).ok()?, algorithm })
    }
}

/// Verifies a token: its signature, its times, its issuer and its audience. Returns the caller, and the end of the token.
pub(super) fn verify(keys: &KeySet, config: &JwtConfig, token: &[u8]) -> Result<(Caller, SystemTime), Rejected> {
    // Only the first installation has an effect. A program that embeds the server may have one of its own.
    let _ = CryptoProvider::install_default(&RING);
    let (Some(issuer), Some(audience)) = (&config.issuer, &config.audience) else {
        return Err(Rejected::Invalid("issuer or audience not configured"));
    };
    let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::Invalid("unknown token"))?;
    let key = keys.find(header.kid.as_deref())?;
    let mut validation = Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.validate_nbf = true;
    validation.leeway = config.leeway.as_secs();
    let decoded = jsonwebtoken::decode::<Value>(token, &key.public, &validation);
    let claims = decoded.map_err(|error| Rejected::Invalid(why(&error)))?.claims;
    let end = claims["exp"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let end = end.and_then(|end| SystemTime::UNIX_EPOCH.checked_add(end + config.leeway));
    let end = end.ok_or(Rejected::Invalid("expiry"))?;
    let name = printable(claims["sub"].as_str().unwrap_or("token without a subject"));
    Ok((Caller { name, role: role(&claims, config), by: "jwt" }, end))
}

fn why(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::ImmatureSignature => "not valid yet",
        ErrorKind::InvalidSignature => "signature",
        ErrorKind::InvalidAlgorithm => "algorithm",
        ErrorKind::InvalidAudience => "audience",
        ErrorKind::InvalidIssuer => "issuer",
        ErrorKind::MissingRequiredClaim(_) => "missing claim",
        _ => "malformed token",
    }
}

/// The largest role among the values of the role claim.
fn role(claims: &Value, config: &JwtConfig) -> Option<Role> {
    let name = config.role_claim.as_str();
    // The name of a claim may have dots of its own, as in https://shop.example/role.
    let nested = || name.split('.').try_fold(claims, |object, part| object.get(part));
    match claims.get(name).or_else(nested)? {
        Value::String(words) => words.split_whitespace().filter_map(|word| role_of(word, &config.roles)).max(),
        Value::Array(values) => values.iter().filter_map(|value| role_of(value.as_str()?, &config.roles)).max(),
        _ => None,
    }
}

fn role_of(value: &str, roles: &BTreeMap<String, Role>) -> Option<Role> {
    if roles.is_empty() { Role::parse(value) } else { roles.get(value).copied() }
}

/// Signatures by ring. Nothing here signs.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
        rsa_pub_components_from_public_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ec_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ed_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        compute_digest: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
};

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let parameters = rsa(self.algorithm).ok_or_else(signature::Error::new)?;
                ring_signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            DecodingKeyKind::SecretOrDer(point) => {
                let algorithm = elliptic(self.algorithm).ok_or_else(signature::Error::new)?;
                ring_signature::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
        };
        verified.map_err(|_| signature::Error::new())
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static ring_signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &ring_signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &ring_signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &ring_signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn elliptic(algorithm: Algorithm) -> Option<&'static dyn ring_signature::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &ring_signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &ring_signature::ED25519,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL};
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };
    use serde_json::json;

    use super::*;

    struct Issuer {
        ec: EcdsaKeyPair,
        ed: Ed25519KeyPair,
    }

    impl Issuer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let ec = EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap();
            let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            Self { ec, ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap() }
        }

        fn jwks(&self) -> Value {
            let (point, ed) = (self.ec.public_key().as_ref(), self.ed.public_key().as_ref());
            let (x, y) = point[1..].split_at(32);
            let (x, y, ed) = (BASE64_URL.encode(x), BASE64_URL.encode(y), BASE64_URL.encode(ed));
            json!({ "keys": [
                { "kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y, "use": "sig" },
                { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": ed, "alg": "EdDSA" },
                { "kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256" },
                { "kty": "future", "kid": "unknown", "alg": "XX1" },
            ] })
        }

        fn keys(&self) -> KeySet {
            KeySet::parse(self.jwks().to_string().as_bytes()).unwrap()
        }

        fn token(&self, header: &Value, claims: &Value) -> Vec<u8> {
            let message =
                format!("{}.{}", BASE64_URL.encode(header.to_string()), BASE64_URL.encode(claims.to_string()));
            let signature = match header["alg"].as_str() {
                Some("EdDSA") => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
                Some("none") => Vec::new(),
                Some("HS256") => {
                    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
                    ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
                }
                _ => self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            };
            format!("{message}.{}", BASE64_URL.encode(signature)).into_bytes()
        }
    }

    fn config() -> JwtConfig {
        let (issuer, audience) = (Some("https://issuer.example".to_owned()), Some("larder".to_owned()));
        JwtConfig { issuer, audience, ..JwtConfig::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "the crate reads the time of day itself")]
    fn now() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    /// Claims that are accepted, with changes; `null` takes a claim away.
    fn claims(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": "https://issuer.example", "aud": ["other", "larder"], "sub": "till-7", "exp": now() + 600, "larder_role": "writer",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    #[test]
    fn a_genuine_token_names_its_caller() {
        let issuer = Issuer::new();
        for (alg, kid) in [("ES256", "ec"), ("EdDSA", "ed")] {
            let token = issuer.token(&json!({ "alg": alg, "kid": kid }), &claims(&json!({})));
            let (caller, until) = verify(&issuer.keys(), &config(), &token).unwrap();
            assert_eq!(caller, Caller { name: "till-7".to_owned(), role: Some(Role::Writer), by: "jwt" });
            assert!(until > SystemTime::UNIX_EPOCH + Duration::from_secs(now() + 500));
        }
    }

    #[test]
    fn what_is_not_genuine_is_rejected() {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let header = json!({ "alg": "ES256", "kid": "ec" });
        let bad_claims = [
            (json!({ "exp": now() - 600 }), "expired"),
            (json!({ "exp": null }), "missing claim"),
            (json!({ "nbf": now() + 600 }), "not valid yet"),
            (json!({ "iss": "https://other.example" }), "issuer"),
            (json!({ "iss": null }), "missing claim"),
            (json!({ "aud": "other" }), "audience"),
            (json!({ "aud": null }), "missing claim"),
            (json!({ "exp": "soon" }), "missing claim"),
        ];
        for (changes, expected) in bad_claims {
            let token = issuer.token(&header, &claims(&changes));
            assert_eq!(verify(&issuer.keys(), &config(), &token), Err(Rejected::Invalid(expected)), "{changes}");
        }
        let good = claims(&json!({}));
        let bad_headers = [
            (json!({ "alg": "none", "kid": "ec" }), Rejected::Invalid("unknown token")),
            // The public key is no secret: a token must not choose to be checked by a secret.
            (json!({ "alg": "HS256", "kid": "ec" }), Rejected::Invalid("algorithm")),
            (json!({ "alg": "EdDSA", "kid": "ec" }), Rejected::Invalid("algorithm")),
            (json!({ "alg": "HS256", "kid": "shared" }), Rejected::UnknownKey),
            (json!({ "alg": "ES256", "kid": "gone" }), Rejected::UnknownKey),
            (json!({ "alg": "ES256" }), Rejected::Invalid("no key named")),
        ];
        for (header, expected) in bad_headers {
            assert_eq!(verify(&issuer.keys(), &config(), &issuer.token(&header, &good)), Err(expected), "{header}");
        }
        let token = issuer.token(&header, &good);
        assert_eq!(verify(&other.keys(), &config(), &token), Err(Rejected::Invalid("signature")));
        let forged = issuer.token(&header, &claims(&json!({ "larder_role": "admin" })));
        let (head, signature) = (forged.rsplitn(2, |&byte| byte == b'.'), token.rsplitn(2, |&byte| byte == b'.'));
        let forged = [head.last().unwrap(), b".", signature.into_iter().next().unwrap()].concat();
        assert_eq!(verify(&issuer.keys(), &config(), &forged), Err(Rejected::Invalid("signature")));
        for noise in [&b""[..], b".", b"..", b"a.b.c", b"\xff.\xff.\xff", &[b'.'; 1_000]] {
            assert!(matches!(verify(&issuer.keys(), &config(), noise), Err(Rejected::Invalid(_))));
        }
    }

    /// A key and a token of OpenSSL, which ends in the year 2100.
    #[test]
    fn a_token_of_another_program_is_read() {
        let modulus = "odcBp1bl90ku7i5jupH8Y8F2KDFwi3C6Ei8VaQRYLSwgG3yaYxAStFKQgXV8mNqjgehtEV-UnaGALQX7s2Lfz32KtJCJZWSX\
             Eh0Rteutisnd_X7YbXCBo_qdh3i4UNwNuvNGK31p1WhI0932vWhM_KnolKc6g_-CPq4QEbZF90wEVVW-pHtiwJpr6B3jcRRc\
             93E3AVwPsh6_T4zGt3UN-uZyzDkWnkEPp_Hw9JjglqbJcjjrHLz-3ReohgMD7Vk5KIJWuOlSFGygrlhh1vKvNTBUR2QU38WK\
             q-mcHVJpHsRUZexT31K0ebPjXycZJfnZEP4OPgXJltcGsticOqTz3w";
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiw\
             iYXVkIjoibGFyZGVyIiwic3ViIjoib3BlbnNzbCIsImV4cCI6NDEwMjQ0NDgwMCwibGFyZGVyX3JvbGUiOiJyZWFkZXIifQ.\
             bzaM7xj3OPnROCvRLkJGxl-rM3KsCwl6CycD-3x9abFQFLphgqoLA0XBi0YcqDIacN_atK0kX4PN8ZoV6uzeJMbuXqzRmp0F\
             Lm9njFpsqaMOU9oFWBLh1nUDjchvsnWK2r58d053Qltf_ZIx9jd-5gtYamUmwN6kCDI5XNPXA0_8SettCSjeR6yTABFnd90O\
             eAbWg5F3_S47ya5NBwd55MX0_rcztA7a8c2og014Y0TxY6QX5SrM6wqIXtzXVgondIMl7XcSqO_tyinu1cKNQmW7yNaZPVhk\
             zqjCAHf8wtSuwM_riunUl6wz-_J2O0D2uyH9CMdOP5z6VBOUxDBxLQ";
        let set = |alg: &str| {
            let set = json!({ "keys": [{ "kty": "RSA", "kid": "rsa", "alg": alg, "n": modulus, "e": "AQAB" }] });
            KeySet::parse(set.to_string().as_bytes()).unwrap()
        };
        let (caller, _) = verify(&set("RS256"), &config(), token.as_bytes()).unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("openssl", Some(Role::Reader)));
        for other in ["RS384", "PS256"] {
            assert_eq!(verify(&set(other), &config(), token.as_bytes()), Err(Rejected::Invalid("algorithm")));
        }
    }

    #[test]
    fn the_role_is_read_from_its_claim() {
        let named = |claim: &str, roles: &[(&str, Role)]| JwtConfig {
            role_claim: claim.to_owned(),
            roles: roles.iter().map(|&(name, role)| (name.to_owned(), role)).collect(),
            ..config()
        };
        let mapped = [("catalogue:read", Role::Reader), ("catalogue:write", Role::Writer)];
        for (claims, config, expected) in [
            (json!({ "larder_role": "admin" }), config(), Some(Role::Admin)),
            (json!({ "larder_role": ["reader", "writer", "x"] }), config(), Some(Role::Writer)),
            (json!({ "larder_role": 7 }), config(), None),
            (json!({}), config(), None),
            (json!({ "scope": "openid catalogue:read" }), named("scope", &mapped), Some(Role::Reader)),
            (json!({ "scope": "admin" }), named("scope", &mapped), None),
            (json!({ "realm": { "roles": ["admin"] } }), named("realm.roles", &[]), Some(Role::Admin)),
            (json!({ "https://a.b/role": "reader" }), named("https://a.b/role", &[]), Some(Role::Reader)),
        ] {
            assert_eq!(role(&claims, &config), expected, "{claims}");
        }
    }

    #[test]
    fn a_set_without_a_usable_key_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#, r#"{"keys":{}}"#] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
