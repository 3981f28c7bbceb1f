//! Who may use the page, and for what.
//!
//! Where the configuration has credentials, the gate has admitted the caller before; an admin may invalidate from anywhere. Without
//! them everything rests on where a request comes from. A page of another site must not use the browser of an operator: neither by a request of its own, which `Origin` and `Sec-Fetch-Site` show, nor by a name that it lets
//! point to this server (DNS rebinding), which `Host` shows. To invalidate, the browser must run on the machine of the replica.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{FORWARDED, HOST, ORIGIN, VIA},
    uri::Authority,
};

use super::assets::harden;
use crate::http::{Refusal, access::caller};

/// Why somebody may only look.
pub(super) const LOOK_ONLY: &str = "Invalidating needs a browser on the replica's own machine: open the page at a \
                                    loopback address, or use larder invalidate.";

/// Headers by which a proxy says that the client is elsewhere.
const FORWARDING: [HeaderName; 4] =
    [FORWARDED, VIA, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Answers only under names that no other site can point to this server. Every response of the page passes here.
pub(super) async fn known_host_only(request: Request, next: Next) -> Response {
    // Whoever points another name here has no credential under that name.
    let known = caller(request.extensions()).is_some();
    let mut response = if known || host(request.headers()).is_some_and(|host| is_known(host.host())) {
        next.run(request).await
    } else {
        let text = "the page answers under an IP address, as localhost, or under a name without a dot";
        Refusal::new(StatusCode::MISDIRECTED_REQUEST, "UNKNOWN_HOST", text).into_response()
    };
    harden(response.headers_mut());
    response
}

/// Answers the page itself, and no page of another site.
pub(super) async fn own_page_only(request: Request, next: Next) -> Response {
    if is_own(request.headers()) {
        return next.run(request).await;
    }
    Refusal::new(StatusCode::FORBIDDEN, "OTHER_SITE", "only the page itself may ask this").into_response()
}

/// Why an anonymous client may not invalidate, if it may not.
pub(super) fn refusal(ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: &HeaderMap) -> Option<&'static str> {
    let here = peer.ip().to_canonical().is_loopback();
    let forwarded = FORWARDING.iter().any(|name| headers.contains_key(name));
    let named_here = host(headers).is_some_and(|host| is_loopback(host.host()));
    (!here || forwarded || !named_here).then_some(LOOK_ONLY)
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(HOST)?.as_bytes()).ok()
}

/// The address that a host is written as. IPv6 has brackets.
fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

fn is_known(host: &str) -> bool {
    address(host).is_some() || !host.contains('.') || is_loopback(host)
}

fn is_loopback(host: &str) -> bool {
    let name = host.to_ascii_lowercase();
    address(host).map_or(name == "localhost" || name.ends_with(".localhost"), |address| address.is_loopback())
}

/// Whether a request comes from the page itself or from no page at all. Browsers send `Origin` with every POST, and cannot be made
/// to leave it out; they send `Sec-Fetch-Site` to loopback addresses and over TLS.
fn is_own(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none");
    let origin = headers.get(ORIGIN).is_none_or(|origin| {
        let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        theirs.is_some_and(|(_, theirs)| host(headers).is_some_and(|host| host.as_str().eq_ignore_ascii_case(theirs)))
    });
    site && origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_that_nobody_else_owns_are_known() {
        let hosts = [
            ("127.0.0.1:9464", true),
            ("localhost:9464", true),
            ("LOCALHOST", true),
            ("[::1]:9464", true),
            ("10.1.2.3:9464", true),
            ("larder:9464", true),
            ("a.localhost", true),
            ("rebound.example:9464", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("user@127.0.0.1.example", false),
        ];
        for (name, known) in hosts {
            let found = host(&headers(&[("host", name)]));
            assert_eq!(found.is_some_and(|host| is_known(host.host())), known, "{name}");
        }
        assert!(host(&HeaderMap::new()).is_none());
    }

    #[test]
    fn another_site_is_told_by_its_headers() {
        let host = ("host", "127.0.0.1:9464");
        let cases = [
            (vec![host], true),
            (vec![host, ("origin", "http://127.0.0.1:9464")], true),
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("origin", "http://127.0.0.1:9465")], false),
            (vec![host, ("origin", "http://127.0.0.1")], false),
            (vec![host, ("origin", "https://other.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:9464")], false),
        ];
        for (sent, own) in cases {
            assert_eq!(is_own(&headers(&sent)), own, "{sent:?}");
        }
    }

    #[test]
    fn only_the_same_machine_may_invalidate() {
        let peer = |text: &str| ConnectInfo(format!("{text}:40000").parse().unwrap());
        let local = headers(&[("host", "localhost:9464")]);
        for near in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(refusal(peer(near), &local), None, "{near}");
        }
        assert_eq!(refusal(peer("10.0.0.7"), &local), Some(LOOK_ONLY));
        assert_eq!(refusal(peer("[2001:db8::1]"), &local), Some(LOOK_ONLY));
        for sent in [
            [("host", "localhost"), ("x-forwarded-for", "10.0.0.7")],
            [("host", "localhost"), ("forwarded", "for=10.0.0.7")],
            [("host", "larder"), ("accept", "*/*")],
        ] {
            assert_eq!(refusal(peer("127.0.0.1"), &headers(&sent)), Some(LOOK_ONLY), "{sent:?}");
        }
    }
}
