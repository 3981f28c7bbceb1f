//! TLS and the gate of the server.

use std::{path::Path, sync::Arc};

use tokio::task::JoinSet;

use crate::{
    auth::{AuditFile, Gate, Keys},
    config::{AuthConfig, SecurityConfig},
    error::ServeError,
    net::{Acceptor, Handshakes, Protocol},
    tls::Tls,
};

/// How connections are secured, and who may do what.
pub(crate) struct Security {
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    keys: Option<Arc<Keys>>,
    /// `None`: audit records go to the log.
    audit: Option<Arc<AuditFile>>,
    handshakes: Arc<Handshakes>,
}

impl Security {
    /// Reads certificates, authorities and keys of tokens, and opens the file of audit records. Everything that is wrong with them is one error.
    pub(super) fn open(config: SecurityConfig) -> Result<Self, ServeError> {
        let SecurityConfig { tls, auth, audit } = config;
        let (tls, keys, audit) = match (Tls::open(&tls), Keys::open(&auth.jwt), open_audit(audit.as_deref())) {
            (Ok(tls), Ok(keys), Ok(audit)) => (tls.map(Arc::new), keys, audit.map(Arc::new)),
            (tls, keys, audit) => {
                let errors = [tls.err(), keys.err(), audit.err().map(|error| vec![error])];
                return Err(ServeError::Security(errors.into_iter().flatten().flatten().collect()));
            }
        };
        let trust = tls.as_ref().and_then(|tls| tls.trust());
        let gate = Arc::new(Gate::new(auth, trust, keys.clone(), audit.clone()));
        Ok(Self { gate, tls, keys, audit, handshakes: Arc::default() })
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

    /// Has the files of TLS looked at now, and the file of audit records opened again.
    pub(super) fn reload_files(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Waits until every audit record so far has been written or lost.
    pub(super) async fn flush(&self) {
        if let Some(audit) = &self.audit {
            audit.flush().await;
        }
    }
}

fn open_audit(path: Option<&Path>) -> Result<Option<AuditFile>, String> {
    let Some(path) = path else { return Ok(None) };
    AuditFile::open(path).map(Some).map_err(|why| format!("audit.file = {:?}: {why}", path.display()))
}
