//! Who calls, as far as limits tell callers apart.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use crate::auth;

/// Whose limits a call counts towards.
#[derive(Debug, Clone)]
pub(in crate::grpc) enum CallerKey {
    /// Whoever calls from this address, without a credential.
    Address(IpAddr),
    /// Whoever has this credential, from wherever it calls.
    Named(Arc<auth::Caller>),
}

impl CallerKey {
    /// The key of a call from an address, with the caller that its credential names.
    pub(super) fn new(address: IpAddr, named: Option<&Arc<auth::Caller>>) -> Self {
        named.map_or(Self::Address(address), |named| Self::Named(Arc::clone(named)))
    }

    /// Who calls a method that streams. Without a connection, as in tests of services, this machine does.
    pub(in crate::grpc) fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or(Self::Address(Ipv4Addr::LOCALHOST.into()))
    }
}

impl PartialEq for CallerKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            // A name counts within its kind of credential.
            (Self::Named(one), Self::Named(other)) => one.name == other.name && one.by == other.by,
            _ => false,
        }
    }
}

impl Eq for CallerKey {}

impl Hash for CallerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Address(address) => address.hash(state),
            Self::Named(caller) => caller.name.hash(state),
        }
    }
}
