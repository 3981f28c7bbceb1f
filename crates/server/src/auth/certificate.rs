//! The names in a client's certificate.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{Caller, printable};
use crate::config::{CertificateMatch, CertificateRule, Role};

/// The object identifier of a common name, 2.5.4.3, as DER encodes it.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;

/// The caller that a verified certificate names, with the largest role of the rules that fit. `None` for one that cannot be read.
pub(super) fn caller(certificate: &CertificateDer<'_>, rules: &[CertificateRule]) -> Option<Caller> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let ids: Vec<&str> = certificate.valid_uri_names().filter(|uri| uri.starts_with("spiffe://")).collect();
    let subject = common_name(certificate.subject());
    // A certificate of SPIFFE has exactly one ID (X509-SVID, section 2).
    let id = if let [id] = ids[..] { Some(id) } else { None };
    let role = role(rules, id, subject);
    let name = id.or(subject).unwrap_or("certificate without a name");
    Some(Caller { name: printable(name), role, by: "certificate" })
}

/// The largest role of the rules that fit.
fn role(rules: &[CertificateRule], id: Option<&str>, subject: Option<&str>) -> Option<Role> {
    rules.iter().filter(|rule| fits(&rule.matches, id, subject)).map(|rule| rule.role).max()
}

fn fits(matches: &CertificateMatch, id: Option<&str>, subject: Option<&str>) -> bool {
    match matches {
        CertificateMatch::Subject(name) => subject == Some(name),
        CertificateMatch::Spiffe(pattern) => id.is_some_and(|id| match pattern.strip_suffix('*') {
            Some(prefix) => id.len() > prefix.len() && id.starts_with(prefix),
            None => id == pattern,
        }),
    }
}

/// The common name of a subject, if it has exactly one that is not empty: a `Name` of RFC 5280, section 4.1.2.4, without its outer tag.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    let mut found = None;
    while !subject.is_empty() {
        let (mut attributes, rest) = element(subject, SET)?;
        subject = rest;
        while !attributes.is_empty() {
            let (attribute, rest) = element(attributes, SEQUENCE)?;
            attributes = rest;
            let (kind, value) = element(attribute, OBJECT_IDENTIFIER)?;
            if kind != COMMON_NAME {
                continue;
            }
            let (text, _) = element(value, UTF8_STRING).or_else(|| element(value, PRINTABLE_STRING))?;
            if found.replace(std::str::from_utf8(text).ok()?).is_some() {
                return None;
            }
        }
    }
    found.filter(|name| !name.is_empty())
}

/// The contents of the element at the beginning, and what follows it (X.690, section 8.1).
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        let head = if contents.len() < 0x80 { vec![tag, length[1]] } else { vec![tag, 0x82, length[0], length[1]] };
        [head, contents.to_vec()].concat()
    }

    fn attribute(kind: &[u8], string: u8, text: &[u8]) -> Vec<u8> {
        let parts = [tagged(OBJECT_IDENTIFIER, kind), tagged(string, text)].concat();
        tagged(SET, &tagged(SEQUENCE, &parts))
    }

    #[test]
    fn the_common_name_is_found_among_attributes() {
        let organisation = attribute(&[0x55, 0x04, 0x0a], UTF8_STRING, &[b'o'; 300]);
        let name = attribute(&COMMON_NAME, UTF8_STRING, "café".as_bytes());
        let subject = [organisation.clone(), name.clone()].concat();
        assert_eq!(common_name(&subject), Some("café"));
        assert_eq!(common_name(&attribute(&COMMON_NAME, PRINTABLE_STRING, b"till")), Some("till"));
        assert_eq!(common_name(&organisation), None);
        assert_eq!(common_name(&[name.clone(), name].concat()), None, "two names are none");
        for cut in 1..subject.len() {
            // Whole attributes may remain; nothing else is read from half a subject.
            assert!(cut == organisation.len() || common_name(&subject[..cut]).is_none(), "{cut}");
        }
        assert_eq!(common_name(&attribute(&COMMON_NAME, UTF8_STRING, &[0xff])), None);
        assert_eq!(common_name(&attribute(&COMMON_NAME, UTF8_STRING, b"")), None, "logs would name nobody");
        assert_eq!(common_name(&[SET, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn the_largest_role_of_the_fitting_rules_counts() {
        let rule = |matches, role| CertificateRule { matches, role };
        let spiffe = |id: &str| CertificateMatch::Spiffe(id.to_owned());
        let rules = [
            rule(spiffe("spiffe://shop/*"), Role::Reader),
            rule(spiffe("spiffe://shop/till"), Role::Writer),
            rule(CertificateMatch::Subject("operator".to_owned()), Role::Admin),
        ];
        for (id, subject, role) in [
            (Some("spiffe://shop/till"), None, Some(Role::Writer)),
            (Some("spiffe://shop/till/2"), None, Some(Role::Reader)),
            (Some("spiffe://shop/"), None, None),
            (Some("spiffe://shopping/till"), None, None),
            (None, Some("operator"), Some(Role::Admin)),
            (None, Some("Operator"), None),
            (None, None, None),
        ] {
            assert_eq!(super::role(&rules, id, subject), role, "{id:?} {subject:?}");
        }
    }
}
