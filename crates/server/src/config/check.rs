//! Rules between settings.

use std::{net::SocketAddr, time::Duration};

use super::{Config, Invalid, SecurityConfig, value::show_duration};

/// A rule that two settings break together.
pub(super) struct Broken {
    /// First the setting to change, then the other one.
    pub(super) keys: [&'static str; 2],
    /// The rule, and how to keep it.
    pub(super) invalid: Invalid,
}

/// Finds the rules that a configuration breaks.
pub(super) fn check(config: &Config) -> Vec<Broken> {
    let cache = &config.cache;
    let mut broken = Vec::new();
    let mut at_most = |low: (&'static str, Duration), high: (&'static str, Duration), raise: bool, why: &str| {
        if low.1 > high.1 {
            let (change, verb, limit) = if raise { (high, "at least", low) } else { (low, "at most", high) };
            broken.push(Broken {
                keys: [change.0, limit.0],
                invalid: Invalid::new(
                    format!("it must be {verb} {} ({})", limit.0, show_duration(limit.1)),
                    format!("{why}: change one of the two"),
                ),
            });
        }
    };
    at_most(
        ("staleness-bound", cache.staleness_bound),
        ("max-stale", cache.max_stale),
        true,
        "copies within the bound are always served",
    );
    let policies = &cache.policies;
    let each = [
        ("policy.item.ttl", "policy.item.l2-ttl", &policies.item),
        ("policy.list.ttl", "policy.list.l2-ttl", &policies.list),
        ("policy.search.ttl", "policy.search.l2-ttl", &policies.search),
        ("policy.not-found.ttl", "policy.not-found.l2-ttl", &policies.not_found),
    ];
    for (ttl, l2_ttl, policy) in each {
        let retention = ("change-retention", config.server.change_retention);
        let why = "a copy must not outlive the changes that it is checked against";
        at_most((ttl, policy.ttl), retention, false, why);
        // Without Redis the time to live in Redis has no effect.
        if config.redis_url.is_some() {
            at_most((l2_ttl, policy.l2_ttl), retention, false, why);
        }
    }
    at_most(
        ("staleness-bound", cache.staleness_bound),
        ("change-retention", config.server.change_retention),
        false,
        "the log must keep changes until replicas have read them",
    );
    broken.extend(security(config));
    if config.events.queue.stream.is_some() && config.redis_url.is_none() {
        broken.push(Broken {
            keys: ["queue-stream", "redis-url"],
            invalid: Invalid::new(
                "a queue without Redis",
                "set redis-url to the Redis that has the stream, or write none",
            ),
        });
    }
    let scheme = config.redis_url.as_deref().and_then(|url| url.split_once("://")).map(|(scheme, _)| scheme);
    if config.events.queue.stream.is_some() && scheme.is_some_and(|scheme| !matches!(scheme, "redis" | "rediss")) {
        broken.push(Broken {
            keys: ["queue-stream", "redis-url"],
            invalid: Invalid::new(
                "a queue in a Redis of several servers",
                "the stream is read from one server: give redis-url as redis:// or rediss://, or write none",
            ),
        });
    }
    broken
}

/// Finds the rules that TLS and credentials break.
fn security(config: &Config) -> Vec<Broken> {
    let SecurityConfig { tls, auth, .. } = &config.security;
    let mut broken = Vec::new();
    let mut needs = |when: bool, keys: [&'static str; 2], reason: &str, hint: &str| {
        if when {
            broken.push(Broken { keys, invalid: Invalid::new(reason, hint) });
        }
    };
    let (certificate, key, client_ca) = ("tls.certificate", "tls.key", "tls.client-ca");
    let whole = "name both files, or none of them";
    needs(tls.certificate.is_some() && tls.key.is_none(), [certificate, key], "a certificate without its key", whole);
    needs(tls.certificate.is_none() && tls.key.is_some(), [key, certificate], "a key without its certificate", whole);
    needs(
        tls.client_ca.is_some() && tls.certificate.is_none(),
        [client_ca, certificate],
        "clients show certificates only where the server has one",
        "name tls.certificate and tls.key too",
    );
    needs(
        tls.client_ca.is_some() && auth.certificates.is_empty(),
        [client_ca, client_ca],
        "no certificate has a role",
        "add [[auth.certificate]] with spiffe or subject, and role",
    );
    needs(
        tls.client_ca.is_none() && !auth.certificates.is_empty(),
        [client_ca, client_ca],
        "[[auth.certificate]] without the authorities of the certificates",
        "name their file in client-ca of [tls]",
    );
    needs(
        tls.client_crl.is_some() && tls.client_ca.is_none(),
        ["tls.client-crl", client_ca],
        "revoked certificates without the authorities of the certificates",
        "name their file in client-ca of [tls]",
    );
    let (jwks, issuer, audience) = ("auth.jwt.jwks", "auth.jwt.issuer", "auth.jwt.audience");
    let jwt = &auth.jwt;
    for (name, given) in [(issuer, jwt.issuer.is_some()), (audience, jwt.audience.is_some())] {
        let hint = "name it: a token that was made for another service must not be accepted";
        needs(jwt.jwks.is_some() && !given, [name, jwks], "tokens whose issuer or audience is not checked", hint);
        needs(jwt.jwks.is_none() && given, [jwks, name], "no key set for the tokens", "name the key set of the issuer");
    }
    let open = |address: SocketAddr| !address.ip().is_loopback() && !auth.has_credentials();
    needs(
        config.server.admin_listen.is_some_and(open),
        ["admin-listen", "admin-listen"],
        "not a loopback address, and nobody is asked for credentials",
        "add credentials such as [[auth.token]] to the file, or write 127.0.0.1 or [::1] with a port, and reach it through a tunnel \
         such as `ssh -L` or `kubectl port-forward`",
    );
    broken
}

/// What lets everybody in, or shows credentials to the network.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let SecurityConfig { tls, auth, .. } = &config.security;
    let (listen, http) = (Some(config.server.listen), config.server.http_listen);
    let mut warnings = Vec::new();
    for (name, address) in [("listen", listen), ("admin-listen", config.server.admin_listen), ("http-listen", http)] {
        let Some(address) = address.filter(|address| !address.ip().is_loopback()) else { continue };
        if !auth.has_credentials() {
            let what = if name == "http-listen" {
                "reads metrics and looks at the page"
            } else {
                "reads and changes products"
            };
            warnings.push(format!(
                "{name} = {address}: nobody is asked for credentials, so whoever reaches this address {what}; docs/security.md says how \
                 to ask for them"
            ));
        } else if tls.certificate.is_none() {
            warnings.push(format!(
                "{name} = {address}: tokens cross the network in the clear; set certificate and key in [tls], unless a proxy in front \
                 ends TLS"
            ));
        }
    }
    warnings
}
