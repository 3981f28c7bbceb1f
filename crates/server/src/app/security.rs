//! TLS and the gate of the server.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{
    auth::{Gate, Keys},
    config::{AuthConfig, SecurityConfig},
    error::ServeError,
    events::WallClock,
    net::{Acceptor, Handshakes, Protocol},
    tls::Tls,
};

/// How connections are secured, and who may do what.
pub(crate) struct Security {
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    keys: Option<Arc<Keys>>,
    handshakes: Arc<Handshakes>,
}

impl Security {
    /// Reads certificates, authorities and keys of tokens. Everything that is wrong with them is one error.
    pub(super) fn open(config: SecurityConfig) -> Result<Self, ServeError> {
        let SecurityConfig { tls, auth } = config;
        let (tls, keys) = match (Tls::open(&tls), Keys::open(&auth.jwt)) {
            (Ok(tls), Ok(keys)) => (tls.map(Arc::new), keys),
            (tls, keys) => {
                let errors = [tls.err(), keys.err()].into_iter().flatten().flatten();
                return Err(ServeError::Security(errors.collect()));
            }
        };
        let trust = tls.as_ref().and_then(|tls| tls.trust());
        let gate = Arc::new(Gate::new(auth, trust, keys.clone(), WallClock::system()));
        Ok(Self { gate, tls, keys, handshakes: Arc::default() })
    }

    /// Keeps certificates and keys up to date. `seed` is the seed of random choices.
    pub(super) fn follow(&self, seed: u64, tasks: &mut JoinSet<()>) {
        if let Some(tls) = &self.tls {
            tasks.spawn(Arc::clone(tls).follow(Arc::clone(&self.gate)));
        }
        if let Some(keys) = &self.keys {
            tasks.spawn(Arc::clone(keys).follow(Arc::clone(&self.gate), seed));
        }
    }

    /// Decides who may do what.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Counts handshakes.
    pub(crate) fn handshakes(&self) -> &Arc<Handshakes> {
        &self.handshakes
    }

    /// Makes the connections of a listener ready.
    pub(super) fn acceptor(&self, protocol: Protocol) -> Acceptor {
        Acceptor::new(self.tls.as_ref().map(|tls| tls.current()), protocol, &self.handshakes)
    }

    /// Replaces the rules of the gate.
    pub(super) fn set_auth(&self, auth: AuthConfig) {
        self.gate.set_auth(auth);
    }

    /// Has the files of TLS looked at now.
    pub(super) fn reload_files(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }
}
