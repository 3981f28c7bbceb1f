//! The gate of the server, and the door of each connection.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use rustls::{pki_types::UnixTime, server::danger::ClientCertVerifier};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    Caller, Refused,
    audit::{Audit, AuditFile, Called},
    bearer::{Presented, presented},
    certificate,
    jwks::Keys,
    jwt::{self, Rejected},
    rules,
};
use crate::{
    config::{Access, AuthConfig, TokenHash},
    events::WallClock,
    net::Peer,
};

/// Decides who may do what. One for all listeners of a server; its rules can be replaced while it runs.
pub struct Gate {
    /// Even while nobody is asked for credentials. Grows with every replacement, so that doors notice it without a lock.
    version: AtomicU64,
    current: RwLock<Arc<Current>>,
    /// The keys of JSON Web Tokens; `None` where there are no such tokens.
    keys: Option<Arc<Keys>>,
    audit: Audit,
    clock: WallClock,
}

/// The rules and authorities in effect.
#[derive(Clone)]
struct Current {
    version: u64,
    auth: AuthConfig,
    trust: Option<Arc<dyn ClientCertVerifier>>,
}

/// The gate as one connection sees it.
pub(crate) struct Door {
    gate: Arc<Gate>,
    peer: Peer,
    /// Whether a token may come as the password of HTTP's Basic scheme.
    basic: bool,
    remembered: Mutex<Option<Remembered>>,
}

/// What a connection showed, as long as neither rules nor authorities change.
struct Remembered {
    current: Arc<Current>,
    certificate: Option<Verified>,
    /// The last token. Connections have few callers, and a signature takes longer than a hit.
    token: Option<(Zeroizing<Vec<u8>>, Verified)>,
}

/// A caller whose credential was verified.
#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    until: SystemTime,
}

/// How long a verified client certificate is not looked at again. A certificate that expires keeps its connection as long at most.
const CERTIFICATE_REMEMBERED: Duration = Duration::from_mins(1);
/// How long a static token is not looked at again; it has no end of its own.
const TOKEN_REMEMBERED: Duration = Duration::from_hours(1);

impl Gate {
    /// A gate for a configuration. `trust` verifies client certificates, and `audit` takes the records instead of the log.
    pub(crate) fn new(
        auth: AuthConfig,
        trust: Option<Arc<dyn ClientCertVerifier>>,
        keys: Option<Arc<Keys>>,
        audit: Option<Arc<AuditFile>>,
    ) -> Self {
        let version = versioned(0, &auth);
        let current = RwLock::new(Arc::new(Current { version, auth, trust }));
        Self { version: AtomicU64::new(version), current, keys, audit: Audit::new(audit), clock: WallClock::system() }
    }

    /// A gate that stands open.
    pub fn open() -> Self {
        Self::new(AuthConfig::default(), None, None, None)
    }

    /// The door of a connection.
    pub(crate) fn door(self: &Arc<Self>, peer: Peer) -> Door {
        Door { gate: Arc::clone(self), peer, basic: false, remembered: Mutex::default() }
    }

    /// The door of a request of HTTP, where a browser sends a token as a password.
    pub(crate) fn http_door(self: &Arc<Self>, peer: Peer) -> Door {
        Door { basic: true, ..self.door(peer) }
    }

    /// Replaces the rules.
    pub(crate) fn set_auth(&self, auth: AuthConfig) {
        self.replace(|current| current.auth = auth);
    }

    /// Replaces the authorities of client certificates.
    pub(crate) fn set_trust(&self, trust: Option<Arc<dyn ClientCertVerifier>>) {
        self.replace(|current| current.trust = trust);
    }

    /// Has every connection verify its credentials again.
    pub(super) fn forget(&self) {
        self.replace(|_| {});
    }

    /// Refused calls by their reasons.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.audit.counts()
    }

    /// Audit records that did not reach their file; `None` where they go to the log.
    pub(crate) fn lost_records(&self) -> Option<u64> {
        self.audit.lost()
    }

    fn replace(&self, change: impl FnOnce(&mut Current)) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Current::clone(&current);
        change(&mut next);
        next.version = versioned(current.version, &next.auth);
        let version = next.version;
        *current = Arc::new(next);
        self.version.store(version, Ordering::Release);
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The version after another one: odd where callers are asked for credentials.
fn versioned(last: u64, auth: &AuthConfig) -> u64 {
    (last | 1) + 1 + u64::from(auth.has_credentials())
}

impl Door {
    /// The other end of the connection.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Admits a call of a method, named by its path, or of a path of HTTP. Returns the caller, or `None` for an anonymous one. A
    /// refused call is recorded.
    pub(crate) fn admit(
        &self,
        name: &str,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Result<Option<Arc<Caller>>, Refused> {
        let version = self.gate.version.load(Ordering::Acquire);
        if version & 1 == 0 {
            return Ok(None);
        }
        self.decide(version, name, headers).inspect_err(|refused| {
            self.gate.audit.refused(refused, Called { method: name, peer: &self.peer, request_id });
        })
    }

    /// Records a call of `CacheAdmin` with its outcome.
    pub(crate) fn record(&self, caller: Option<&Caller>, call: Called<'_>, outcome: &str) {
        self.gate.audit.admin_call(caller, call, outcome);
    }

    fn decide(&self, version: u64, name: &str, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, Refused> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = match &mut *remembered {
            Some(known) if known.current.version == version => known,
            outdated => outdated.insert(Remembered { current: self.gate.current(), certificate: None, token: None }),
        };
        if !remembered.current.auth.has_credentials() {
            return Ok(None);
        }
        let needed = match rules::access(&remembered.current.auth.rules, name) {
            Access::Open => return Ok(None),
            Access::Role(role) => role,
        };
        let now = self.gate.clock.now();
        let caller = match presented(headers, self.basic) {
            Presented::Malformed => return Err(Refused::Unauthenticated("malformed")),
            Presented::Token(token) => self.by_token(remembered, token, now)?,
            Presented::Nothing => self.by_certificate(remembered, now)?,
        };
        if caller.role >= Some(needed) { Ok(Some(caller)) } else { Err(Refused::Denied(caller)) }
    }

    fn by_token(
        &self,
        remembered: &mut Remembered,
        token: Zeroizing<Vec<u8>>,
        now: SystemTime,
    ) -> Result<Arc<Caller>, Refused> {
        if let Some((known, verified)) = &remembered.token
            && verified.until > now
            && bool::from(known.as_slice().ct_eq(&token))
        {
            return Ok(Arc::clone(&verified.caller));
        }
        let verified = match static_token(&remembered.current.auth, &token) {
            Some(caller) => Verified { caller: Arc::new(caller), until: now + TOKEN_REMEMBERED },
            None => self.by_jwt(&remembered.current.auth, &token)?,
        };
        let caller = Arc::clone(&verified.caller);
        remembered.token = Some((token, verified));
        Ok(caller)
    }

    fn by_jwt(&self, auth: &AuthConfig, token: &[u8]) -> Result<Verified, Refused> {
        let Some(keys) = &self.gate.keys else { return Err(Refused::Unauthenticated("unknown token")) };
        match jwt::verify(&keys.current(), &auth.jwt, token) {
            Ok((caller, until)) => Ok(Verified { caller: Arc::new(caller), until }),
            Err(Rejected::UnknownKey) => {
                keys.miss();
                Err(Refused::Unauthenticated("unknown key"))
            }
            Err(Rejected::Invalid(why)) => Err(Refused::Unauthenticated(why)),
        }
    }

    fn by_certificate(&self, remembered: &mut Remembered, now: SystemTime) -> Result<Arc<Caller>, Refused> {
        const NONE: Refused = Refused::Unauthenticated("no credential");
        if let Some(verified) = &remembered.certificate
            && verified.until > now
        {
            return Ok(Arc::clone(&verified.caller));
        }
        let current = &remembered.current;
        let (Some(chain), Some(trust)) = (&self.peer.certificates, &current.trust) else { return Err(NONE) };
        let [certificate, intermediates @ ..] = &chain[..] else { return Err(NONE) };
        let time = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The handshake verified it by the authorities of that time; these may be others.
        trust
            .verify_client_cert(certificate, intermediates, UnixTime::since_unix_epoch(time))
            .map_err(|_| Refused::Unauthenticated("certificate"))?;
        let caller = certificate::caller(certificate, &current.auth.certificates);
        let caller = Arc::new(caller.ok_or(Refused::Unauthenticated("certificate"))?);
        let until = now + CERTIFICATE_REMEMBERED;
        remembered.certificate = Some(Verified { caller: Arc::clone(&caller), until });
        Ok(caller)
    }
}

/// The caller of a static token. Every hash is compared, each in constant time: neither a part of a hash nor the place in the list
/// can be learned from how long it takes.
fn static_token(auth: &AuthConfig, token: &[u8]) -> Option<Caller> {
    let hash = TokenHash::of(token);
    let mut found = None;
    for rule in &auth.tokens {
        if bool::from(rule.sha256.0.ct_eq(&hash.0)) {
            found = Some(rule);
        }
    }
    found.map(|rule| Caller { name: rule.name.clone(), role: Some(rule.role), by: "token" })
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::config::{Role, TokenRule};

    const GET: &str = "/larder.catalog.v1.ProductCatalog/GetProduct";
    const CREATE: &str = "/larder.catalog.v1.ProductCatalog/CreateProduct";

    fn auth(tokens: &[(&str, Role)]) -> AuthConfig {
        let rule = |&(name, role): &(&str, Role)| TokenRule {
            name: name.to_owned(),
            sha256: TokenHash::of(name.as_bytes()),
            role,
        };
        AuthConfig { tokens: tokens.iter().map(rule).collect(), ..AuthConfig::default() }
    }

    fn gate(auth: AuthConfig) -> Arc<Gate> {
        Arc::new(Gate::new(auth, None, None, None))
    }

    fn peer() -> Peer {
        Peer { address: "10.1.2.3:4".parse().unwrap(), certificates: None }
    }

    fn bearer(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    }

    fn name(admitted: Result<Option<Arc<Caller>>, Refused>) -> Option<String> {
        admitted.unwrap().map(|caller| caller.name.clone())
    }

    #[test]
    fn an_open_gate_admits_everybody() {
        let gate = Arc::new(Gate::open());
        let door = gate.door(peer());
        assert_eq!(door.admit(CREATE, &HeaderMap::new(), ""), Ok(None));
        assert_eq!(door.admit(CREATE, &bearer("whatever"), ""), Ok(None));
    }

    #[test]
    fn a_token_has_its_role_and_no_larger_one() {
        let gate = gate(auth(&[("reads", Role::Reader), ("writes", Role::Writer)]));
        let door = gate.door(peer());
        for _ in 0..2 {
            assert_eq!(name(door.admit(GET, &bearer("reads"), "")).as_deref(), Some("reads"));
            assert!(matches!(door.admit(CREATE, &bearer("reads"), ""), Err(Refused::Denied(_))));
            assert_eq!(name(door.admit(CREATE, &bearer("writes"), "")).as_deref(), Some("writes"));
            assert!(matches!(door.admit(GET, &bearer("guess"), ""), Err(Refused::Unauthenticated(_))));
            assert!(matches!(door.admit(GET, &HeaderMap::new(), ""), Err(Refused::Unauthenticated(_))));
        }
        assert_eq!(door.admit("/grpc.health.v1.Health/Check", &HeaderMap::new(), ""), Ok(None));
        assert_eq!(gate.refused().collect::<Vec<_>>(), [("unauthenticated", 4), ("permission_denied", 2)]);
    }

    #[test]
    fn a_connection_does_not_remember_what_a_reload_takes_away() {
        let gate = gate(auth(&[("a", Role::Writer)]));
        let door = gate.door(peer());
        assert_eq!(name(door.admit(CREATE, &bearer("a"), "")).as_deref(), Some("a"));
        gate.set_auth(auth(&[("a", Role::Reader)]));
        assert!(matches!(door.admit(CREATE, &bearer("a"), ""), Err(Refused::Denied(_))));
        gate.set_auth(auth(&[("b", Role::Reader)]));
        assert!(matches!(door.admit(GET, &bearer("a"), ""), Err(Refused::Unauthenticated(_))));
        gate.set_auth(AuthConfig::default());
        assert_eq!(door.admit(CREATE, &HeaderMap::new(), ""), Ok(None));
        gate.set_auth(auth(&[("a", Role::Writer)]));
        assert!(matches!(door.admit(GET, &HeaderMap::new(), ""), Err(Refused::Unauthenticated(_))));
    }

    #[test]
    fn a_rule_of_the_configuration_replaces_the_default() {
        let mut auth = auth(&[("a", Role::Reader)]);
        auth.rules.insert("larder.catalog.v1.ProductCatalog/CreateProduct".to_owned(), Access::Role(Role::Reader));
        auth.rules.insert("/metrics".to_owned(), Access::Open);
        let gate = gate(auth);
        let door = gate.door(peer());
        assert_eq!(name(door.admit(CREATE, &bearer("a"), "")).as_deref(), Some("a"));
        assert_eq!(gate.http_door(peer()).admit("/metrics", &HeaderMap::new(), ""), Ok(None));
    }
}
