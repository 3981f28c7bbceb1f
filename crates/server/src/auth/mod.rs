//! Who may do what.
//!
//! Credentials become a [`Caller`] with a role, and [rules] say what role each method asks for. The [`Gate`] is one for the whole
//! server; each connection has a [`Door`] in it, which remembers the last credential of that connection. Where the configuration has
//! no credentials, the gate stands open.

mod audit;
mod bearer;
pub(crate) mod certificate;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod gate;
mod jwks;
mod jwt;
mod rules;

use std::sync::Arc;

pub(crate) use audit::{AdminCall, AuditFile, Called};
pub(crate) use gate::Door;
pub use gate::Gate;
pub(crate) use jwks::Keys;
pub(crate) use rules::{METRICS, PAGE, has_rule, rule_names};

use crate::config::Role;

/// Who calls, as a credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the token, the subject of the JSON Web Token, or the name in the certificate.
    pub(crate) name: String,
    /// `None`: the credential is genuine, and no rule gives it a role.
    pub(crate) role: Option<Role>,
    /// The kind of credential.
    pub(crate) by: &'static str,
}

/// Why a call is refused. The caller learns only the variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no credential, or it is not accepted; the text is for the log.
    Unauthenticated(&'static str),
    /// The caller's role does not suffice.
    Denied(Arc<Caller>),
}

/// The longest name of a caller in a log line, in characters.
const LONGEST_NAME: usize = 128;

/// A name as it may stand in a log line.
fn printable(name: &str) -> String {
    name.chars().take(LONGEST_NAME).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
