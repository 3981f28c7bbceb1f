//! Certificates and tokens of a test.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use larder_test_servers::TempDir;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// An authority, which signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub(super) struct Certified {
    pub(super) certificate: String,
    pub(super) key: String,
    serial: u64,
}

/// Files of a server, which a test replaces while the server runs.
pub(super) struct Files(TempDir);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for servers on this machine.
    pub(super) fn server(&self) -> Certified {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.sign(CertificateParams::new(names).expect("parameters"), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client with a SPIFFE ID.
    pub(super) fn spiffe(&self, id: &str) -> Certified {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("an ID"))];
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for a client with a common name.
    pub(super) fn subject(&self, name: &str) -> Certified {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A list of revoked certificates, in PEM, of long ago. It is valid until the first of January of a year.
    pub(super) fn revoked(&self, revoked: &[&Certified], until: i32) -> String {
        let long_ago = || date_time_ymd(2020, 1, 1);
        let revoke = |certified: &&Certified| RevokedCertParams {
            serial_number: certified.serial.into(),
            revocation_time: long_ago(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: long_ago(),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoke).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Certified {
        params.extended_key_usages = vec![usage];
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certified { certificate: certificate.pem(), key: key.serialize_pem(), serial }
    }
}

/// The serial number of the next certificate.
static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Files {
    pub(super) fn new() -> Self {
        Self(TempDir::new("security"))
    }

    /// Writes a file as a whole, and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, partial) = (self.0.join(name), self.0.join(format!("{name}.partial")));
        std::fs::write(&partial, text).expect("a file");
        std::fs::rename(partial, &path).expect("a file");
        path
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// An issuer of JSON Web Tokens.
pub(super) struct Tokens {
    key: EcdsaKeyPair,
    id: &'static str,
}

impl Tokens {
    pub(super) fn new(id: &'static str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        Self { key: EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key"), id }
    }

    /// The key set with the public key.
    pub(super) fn jwks(&self) -> String {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": BASE64_URL.encode(x), "y": BASE64_URL.encode(y) });
        json!({ "keys": [key] }).to_string()
    }

    /// A genuine token with a role.
    pub(super) fn token(&self, role: &str) -> String {
        self.token_with(&json!({ "larder_role": role }))
    }

    /// A signed token whose claims are changed.
    pub(super) fn token_with(&self, changes: &Value) -> String {
        let message = self.message("ES256", changes);
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", BASE64_URL.encode(signature))
    }

    /// A token that names another algorithm, and is signed with the public key as the secret.
    pub(super) fn confused(&self) -> String {
        let message = self.message("HS256", &json!({ "larder_role": "admin" }));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.key.public_key().as_ref());
        format!("{message}.{}", BASE64_URL.encode(ring::hmac::sign(&key, message.as_bytes())))
    }

    /// A token without a signature.
    pub(super) fn unsigned(&self) -> String {
        format!("{}.", self.message("none", &json!({ "larder_role": "admin" })))
    }

    fn message(&self, algorithm: &str, changes: &Value) -> String {
        let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "caller", "exp": now() + 600 });
        for (name, value) in changes.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        let header = json!({ "alg": algorithm, "kid": self.id });
        format!("{}.{}", BASE64_URL.encode(header.to_string()), BASE64_URL.encode(claims.to_string()))
    }
}

pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const AUDIENCE: &str = "larder";

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the server under test reads the time of day itself")]
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_secs()
}
