//! Client certificates for fuzzing.

use super::{CertificateDer, CertificateMatch, CertificateRule, Role, caller, common_name};
use crate::auth::LONGEST_NAME;

/// Reads bytes as a certificate, and as the subject of one.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn certificate(input: &[u8]) {
    if let Some(name) = common_name(input) {
        assert!(input.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "a name that is not there");
        let twice = [input, input].concat();
        assert_eq!(common_name(&twice), None, "one of two names");
    }
    let rule = CertificateRule { matches: CertificateMatch::Spiffe("spiffe://shop/*".to_owned()), role: Role::Reader };
    if let Some(caller) = caller(&CertificateDer::from(input), &[rule]) {
        assert!(caller.name.chars().count() <= LONGEST_NAME && !caller.name.contains(char::is_control));
        assert!(caller.role.is_none() || caller.name.starts_with("spiffe://shop/"));
    }
}
