//! The values of the standard variables.

use std::{fs, str::FromStr, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    uri::{Parts, PathAndQuery},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::MOST_ATTRIBUTES;
use crate::config::{Invalid, Protocol, Sampler, value::count};

/// A sampler by its name in the specification.
pub(super) enum Named {
    Fixed(Sampler),
    Ratio { parent_based: bool },
}

pub(super) fn sampler(text: &str) -> Result<Named, Invalid> {
    let fixed = |parent_based, ratio| Ok(Named::Fixed(Sampler { parent_based, ratio }));
    match text {
        "always_on" => fixed(false, 1.0),
        "always_off" => fixed(false, 0.0),
        "traceidratio" => Ok(Named::Ratio { parent_based: false }),
        "parentbased_always_on" => fixed(true, 1.0),
        "parentbased_always_off" => fixed(true, 0.0),
        "parentbased_traceidratio" => Ok(Named::Ratio { parent_based: true }),
        _ => Err(Invalid::new(
            "not a sampler",
            "write always_on, always_off or traceidratio, or one of these behind parentbased_",
        )),
    }
}

/// Whether a signal is exported.
pub(super) fn exporter(text: &str) -> Result<bool, Invalid> {
    match text {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err(Invalid::new("not an exporter of this release", "write otlp or none")),
    }
}

/// An endpoint as it stands in its variable. Its path must suit the protocol.
pub(super) fn url(text: &str) -> Result<Uri, Invalid> {
    const HINT: &str = "write a URL such as http://127.0.0.1:4317";
    let uri = Uri::from_str(text).map_err(|_| Invalid::new("not a URL", HINT))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Invalid::new("neither http:// nor https://", HINT));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(Invalid::new("a URL without a host", HINT));
    }
    Ok(uri)
}

/// The endpoint of OTLP over gRPC, which has no path of its own.
pub(super) fn grpc_endpoint(text: &str) -> Result<Uri, Invalid> {
    let uri = url(text)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        let hint = "remove the path, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
        return Err(Invalid::new("a URL with a path, which OTLP over gRPC does not have", hint));
    }
    Ok(uri)
}

/// The endpoint of a signal below that of all signals, for OTLP over HTTP.
pub(super) fn endpoint_below(text: &str, path: &str) -> Result<Uri, Invalid> {
    let uri = url(text)?;
    if uri.query().is_some() {
        return Err(Invalid::new("a URL with a query", "remove everything from the question mark on"));
    }
    let path = format!("{}/{path}", uri.path().trim_end_matches('/'));
    let invalid = || Invalid::new("not a URL", "write a URL such as http://127.0.0.1:4318");
    let mut parts: Parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_str(&path).map_err(|_| invalid())?);
    Uri::from_parts(parts).map_err(|_| invalid())
}

pub(super) fn protocol(text: &str) -> Result<Protocol, Invalid> {
    match text {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::Http),
        _ => Err(Invalid::new("not a protocol of this release", "write grpc or http/protobuf")),
    }
}

/// The largest file of certificates that is read, in bytes.
const MOST_CERTIFICATES: u64 = 1 << 20;

/// Reads the certificates of authorities from a file in PEM.
pub(super) fn authorities(path: &str) -> Result<Vec<u8>, Invalid> {
    const HINT: &str = "name a PEM file with the certificate of the authority that signed the receiver's";
    let size = fs::metadata(path).map_err(|_| Invalid::new("a file that cannot be read", HINT))?.len();
    if size > MOST_CERTIFICATES {
        return Err(Invalid::new("a file of more than 1 MiB", HINT));
    }
    let pem = fs::read(path).map_err(|_| Invalid::new("a file that cannot be read", HINT))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(pem);
    }
    Err(Invalid::new("a file without a certificate in PEM", HINT))
}

pub(super) fn compression(text: &str) -> Result<bool, Invalid> {
    match text {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(Invalid::new("not a compression of exports", "write gzip or none")),
    }
}

pub(super) fn millis(text: &str) -> Result<Duration, Invalid> {
    count(text, 1..=600_000).map(Duration::from_millis)
}

pub(super) fn interval(text: &str) -> Result<Duration, Invalid> {
    count(text, 1..=86_400_000).map(Duration::from_millis)
}

pub(super) fn headers(text: &str) -> Result<HeaderMap, Invalid> {
    const HINT: &str = "write name=value, several separated by commas, with special characters percent-encoded";
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text).ok_or_else(|| Invalid::new("not a list of headers", HINT))? {
        let invalid = || Invalid::new("not a header of HTTP", HINT);
        let name = HeaderName::from_str(&name).map_err(|_| invalid())?;
        if name.as_str().ends_with("-bin") {
            return Err(Invalid::new("a header with a binary value", HINT));
        }
        let mut value = HeaderValue::from_str(&value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

pub(super) fn attributes(text: &str) -> Result<Vec<(String, String)>, Invalid> {
    const HINT: &str = "write name=value, at most 64 separated by commas, with special characters percent-encoded";
    let pairs = pairs(text).filter(|pairs| pairs.len() <= MOST_ATTRIBUTES);
    pairs.ok_or_else(|| Invalid::new("not a list of attributes", HINT))
}

/// Reads `name=value,name=value` as W3C Baggage has it, without properties.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (decoded(name.trim())?, decoded(value.trim())?);
            (!name.is_empty()).then_some((name, value))
        })
        .collect()
}

/// Replaces `%` and two hexadecimal digits by their byte; `None` where the result is not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
