//! What an operator decides about who may do what, and how connections are secured.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::Invalid;

/// How connections are secured, and who may do what. By [`Default`] connections are plain and everybody may do everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityConfig {
    /// The server's certificate, and the authorities of clients.
    pub tls: TlsConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// The file of audit records; `None`: they go to the log.
    pub audit: Option<PathBuf>,
}

/// TLS on every listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// The server's certificate and its intermediates in PEM; `None`: connections are plain.
    pub certificate: Option<PathBuf>,
    /// The private key of the certificate in PEM.
    pub key: Option<PathBuf>,
    /// The authorities of client certificates in PEM; `None`: clients are asked for none.
    pub client_ca: Option<PathBuf>,
    /// The revoked client certificates in PEM, with a list for each authority; `None`: no certificate counts as revoked.
    pub client_crl: Option<PathBuf>,
    /// Whether a client may come without a certificate.
    pub client_certificates: ClientCertificates,
}

/// Whether a client may come without a certificate, where there are authorities for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// The handshake fails without one.
    #[default]
    Required,
    /// A client without one needs a token.
    Optional,
}

/// Who may do what. Without any credential in it everybody may do everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthConfig {
    /// Static tokens.
    pub tokens: Vec<TokenRule>,
    /// Client certificates.
    pub certificates: Vec<CertificateRule>,
    /// JSON Web Tokens.
    pub jwt: JwtConfig,
    /// What single methods and paths ask for, where that differs from the default.
    pub rules: BTreeMap<String, Access>,
}

/// A static token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRule {
    /// Names the caller in logs.
    pub name: String,
    /// The SHA-256 of the token.
    pub sha256: TokenHash,
    /// What the caller may do.
    pub role: Role,
}

/// The SHA-256 of a token. It is not shown: a short token can be guessed from it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash(pub(crate) [u8; 32]);

/// Client certificates of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// Which certificates.
    pub matches: CertificateMatch,
    /// What the caller may do.
    pub role: Role,
}

/// Names in a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateMatch {
    /// A SPIFFE ID among the alternative names; one that ends in `/*` stands for all IDs below it.
    Spiffe(String),
    /// The common name of the subject.
    Subject(String),
}

/// Which JSON Web Tokens are accepted. Without a key set none is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtConfig {
    /// Where the keys of the issuer are.
    pub jwks: Option<Jwks>,
    /// The authorities in PEM that vouch for the URL of the keys; `None`: the public ones.
    pub jwks_ca: Option<PathBuf>,
    /// The claim `iss` of every token.
    pub issuer: Option<String>,
    /// A member of the claim `aud` of every token.
    pub audience: Option<String>,
    /// How far the issuer's clock may differ from the server's.
    pub leeway: Duration,
    /// The claim with the caller's roles; dots lead into objects.
    pub role_claim: String,
    /// The roles of the values of that claim. Without any, the values are `reader`, `writer` and `admin`.
    pub roles: BTreeMap<String, Role>,
}

/// Where a JSON Web Key Set is (RFC 7517, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// In a file.
    File(PathBuf),
    /// At a URL with the scheme https.
    Url(http::Uri),
}

/// What a caller may do; each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads products.
    Reader,
    /// Changes products too.
    Writer,
    /// Uses `CacheAdmin` too.
    Admin,
}

/// What a method asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// At least this role.
    Role(Role),
}

impl AuthConfig {
    /// Whether there are credentials. If so, a caller without any may only do what is open.
    pub fn has_credentials(&self) -> bool {
        !self.tokens.is_empty() || !self.certificates.is_empty() || self.jwt.jwks.is_some()
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            jwks: None,
            jwks_ca: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            role_claim: "larder_role".to_owned(),
            roles: BTreeMap::new(),
        }
    }
}

impl Role {
    /// The role as the configuration and logs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }

    /// Reads a role.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Reader, Self::Writer, Self::Admin].into_iter().find(|role| role.name() == text)
    }
}

impl Access {
    /// Reads a role, or `open`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "open" { Some(Self::Open) } else { Role::parse(text).map(Self::Role) }
    }
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }

    /// The hash as the configuration has it: 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Makes a token of 256 random bits; `None` when the system has no randomness to give.
pub fn new_token() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).ok()?;
    Some(Zeroizing::new(format!("larder_{}", BASE64_URL_SAFE_NO_PAD.encode(*bytes))))
}

/// Reads where a key set is.
pub(super) fn jwks(text: &str) -> Result<Jwks, Invalid> {
    const HINT: &str = "write the path of a JSON Web Key Set, or its URL with https://";
    let text = text.trim();
    if text.contains("://") {
        let uri: http::Uri = text.parse().map_err(|_| Invalid::new("not a URL", HINT))?;
        return match (uri.scheme_str(), uri.authority()) {
            (Some("https"), Some(authority)) if !authority.as_str().contains('@') => Ok(Jwks::Url(uri)),
            _ => Err(Invalid::new("a URL that is not https://, or that has a user", HINT)),
        };
    }
    super::value::path(text).map(Jwks::File)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_they_are_read() {
        let hash = TokenHash::of(b"secret");
        assert_eq!(hash.hex(), "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        assert_eq!(TokenHash::parse(&hash.hex()), Some(hash.clone()));
        assert_eq!(TokenHash::parse(&hash.hex().to_uppercase()), Some(hash.clone()));
        for text in ["", "2b", &"g".repeat(64), &"é".repeat(32), &hash.hex()[1..]] {
            assert_eq!(TokenHash::parse(text), None, "{text}");
        }
        assert_eq!(format!("{hash:?}"), "***");
    }

    #[test]
    fn key_sets_are_files_or_secure_urls() {
        assert_eq!(jwks("/etc/larder/jwks.json"), Ok(Jwks::File("/etc/larder/jwks.json".into())));
        assert!(matches!(jwks("https://issuer.example/jwks.json"), Ok(Jwks::Url(_))));
        for text in ["", "http://issuer.example/jwks.json", "https://u:p@issuer.example/", "file:///jwks", "https://"] {
            assert!(jwks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_role_includes_those_before_it() {
        assert!(Role::Reader < Role::Writer && Role::Writer < Role::Admin);
        assert_eq!(Role::parse("writer"), Some(Role::Writer));
        assert_eq!((Role::parse("open"), Role::parse("Admin")), (None, None));
        assert_eq!(Access::parse("open"), Some(Access::Open));
    }
}
