//! The certificate of the server, the authorities of its clients and the revoked certificates, read from files again when these change.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ring::digest;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use zeroize::Zeroizing;

use crate::{
    auth::Gate,
    config::{ClientCertificates, TlsConfig},
};

/// TLS of a server.
pub(crate) struct Tls {
    config: TlsConfig,
    current: watch::Sender<Arc<Secured>>,
    /// The digest of the files that were read last, good or bad: a bad set of files is reported once.
    seen: Mutex<Digest>,
    asked: Notify,
}

/// What connections are served with.
pub(crate) struct Secured {
    /// For gRPC, which needs HTTP/2.
    pub(crate) grpc: Arc<ServerConfig>,
    /// For HTTP/1.1.
    pub(crate) http: Arc<ServerConfig>,
    /// Verifies client certificates; `None`: clients are asked for none.
    pub(crate) trust: Option<Arc<dyn ClientCertVerifier>>,
}

type Digest = [u8; 32];

/// The contents of the files.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
    client_crl: Option<Vec<u8>>,
}

/// How often the files are looked at. An orchestrator replaces them long before the old ones expire.
pub(crate) const POLL: Duration = Duration::from_secs(2);
/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

impl Tls {
    /// Reads the files of a configuration; `None` without any. The error names each setting that is wrong.
    pub(crate) fn open(config: &TlsConfig) -> Result<Option<Self>, Vec<String>> {
        if config.certificate.is_none() {
            return Ok(None);
        }
        let files = Files::read(config)?;
        let (current, _) = watch::channel(Arc::new(secured(config, &files)?));
        let seen = Mutex::new(files.digest());
        Ok(Some(Self { config: config.clone(), current, seen, asked: Notify::new() }))
    }

    /// What connections are served with, now and later.
    pub(crate) fn current(&self) -> watch::Receiver<Arc<Secured>> {
        self.current.subscribe()
    }

    /// Verifies client certificates.
    pub(crate) fn trust(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.current.borrow().trust.clone()
    }

    /// Asks for the files to be looked at now.
    pub(crate) fn reload(&self) {
        self.asked.notify_one();
    }

    /// Reads the files again when they change. Broken ones keep what was there, and are reported once.
    pub(crate) async fn follow(self: Arc<Self>, gate: Arc<Gate>) {
        loop {
            tokio::select! {
                () = sleep(POLL) => {}
                () = self.asked.notified() => {}
            }
            let tls = Arc::clone(&self);
            let changed = tokio::task::spawn_blocking(move || tls.changed()).await;
            match changed {
                Ok(Some(Ok(secured))) => {
                    // The gate first: no connection is let in by an authority that its calls are refused by.
                    gate.set_trust(secured.trust.clone());
                    self.current.send_replace(Arc::new(secured));
                    tracing::info!("certificate and authorities reloaded");
                }
                Ok(Some(Err(errors))) => {
                    let error = errors.join(", ");
                    tracing::error!(error, "certificate and authorities not reloaded; keeping the previous ones");
                }
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// What the files hold now, if they have changed.
    fn changed(&self) -> Option<Result<Secured, Vec<String>>> {
        let files = match Files::read(&self.config) {
            Ok(files) => files,
            // A file may be away for a moment while it is replaced.
            Err(errors) => return self.is_new([0; 32]).then_some(Err(errors)),
        };
        self.is_new(files.digest()).then(|| secured(&self.config, &files))
    }

    fn is_new(&self, digest: Digest) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, digest) != digest
    }
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, Vec<String>> {
        let read = |name: &str, path: Option<&Path>| {
            let Some(path) = path else { return Ok(None) };
            read_file(path).map(Some).map_err(|why| format!("{name} = {:?}: {why}", path.display()))
        };
        let certificate = read("tls.certificate", config.certificate.as_deref());
        let key = read("tls.key", config.key.as_deref());
        let client_ca = read("tls.client-ca", config.client_ca.as_deref());
        let client_crl = read("tls.client-crl", config.client_crl.as_deref());
        match (certificate, key, client_ca, client_crl) {
            (Ok(certificate), Ok(key), Ok(client_ca), Ok(client_crl)) => Ok(Self {
                certificate: certificate.unwrap_or_default(),
                key: Zeroizing::new(key.unwrap_or_default()),
                client_ca,
                client_crl,
            }),
            (certificate, key, client_ca, client_crl) => {
                Err([certificate, key, client_ca, client_crl].into_iter().filter_map(Result::err).collect())
            }
        }
    }

    fn digest(&self) -> Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        let [client_ca, client_crl] =
            [&self.client_ca, &self.client_crl].map(|file| file.as_deref().unwrap_or_default());
        for part in [&self.certificate, &**self.key, client_ca, client_crl] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

/// The cryptography of all TLS here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads a file of at most a mebibyte. The error is for people.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;

    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MOST_BYTES { Err("is larger than 1 MiB".to_owned()) } else { Ok(bytes) }
}

/// Reads authorities from a file in PEM.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    roots(&read_file(path)?)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("has a certificate that is no authority: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    items(pem, "certificate")
}

/// The items of one kind in a file, at least one.
fn items<T: PemObject>(pem: &[u8], kind: &str) -> Result<Vec<T>, String> {
    let items: Result<Vec<_>, _> = T::pem_slice_iter(pem).collect();
    match items {
        Ok(items) if !items.is_empty() => Ok(items),
        Ok(_) => Err(format!("has no {kind} in PEM")),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

fn named(name: &str, path: Option<&Path>, why: &str) -> String {
    format!("{name} = {:?}: {why}", path.unwrap_or(Path::new("")).display())
}

fn secured(config: &TlsConfig, files: &Files) -> Result<Secured, Vec<String>> {
    let chain =
        certificates(&files.certificate).map_err(|why| named("tls.certificate", config.certificate.as_deref(), &why));
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|_| named("tls.key", config.key.as_deref(), "has no private key in PEM"));
    let trust = trust(config, files);
    let (chain, key, trust) = match (chain, key, trust) {
        (Ok(chain), Ok(key), Ok(trust)) => (chain, key, trust),
        (chain, key, trust) => return Err([chain.err(), key.err(), trust.err()].into_iter().flatten().collect()),
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| vec![format!("TLS: {error}")])?;
    let builder = match &trust {
        Some(trust) => builder.with_client_cert_verifier(Arc::clone(trust)),
        None => builder.with_no_client_auth(),
    };
    let mut http = builder.with_single_cert(chain, key).map_err(|error| {
        let why =
            format!("does not fit the certificate in {:?}: {error}", config.certificate.as_deref().map(Path::display));
        vec![named("tls.key", config.key.as_deref(), &why)]
    })?;
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut grpc = http.clone();
    grpc.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Secured { grpc: Arc::new(grpc), http: Arc::new(http), trust })
}

/// The lists of a file. A file without any is a mistake: every client would be let in.
fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    items(pem, "list of revoked certificates (X509 CRL)")
}

/// Verifies client certificates; `None` without authorities. With revocation lists, each authority in a chain must have one that has
/// not expired.
fn trust(config: &TlsConfig, files: &Files) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let Some(client_ca) = &files.client_ca else { return Ok(None) };
    let of_authorities = |why: String| named("tls.client-ca", config.client_ca.as_deref(), &why);
    let of_lists = |why: String| named("tls.client-crl", config.client_crl.as_deref(), &why);
    let roots = roots(client_ca).map_err(of_authorities)?;
    let revoked = files.client_crl.as_deref().map_or(Ok(Vec::new()), revocation_lists).map_err(of_lists)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls(revoked)
        .enforce_revocation_expiration();
    let builder = match config.client_certificates {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map(|verifier| Some(verifier as Arc<dyn ClientCertVerifier>)).map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => of_lists(format!("has a list that cannot be used: {error:?}")),
        error => of_authorities(format!("cannot be used: {error}")),
    })
}
