//! Where the keys of JSON Web Tokens come from, and how they are replaced.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{Gate, jwt::KeySet};
use crate::{
    config::{Jwks, JwtConfig},
    tls,
};

/// The keys in effect, and their source.
pub(crate) struct Keys {
    source: Source,
    current: RwLock<Arc<KeySet>>,
    /// Told when a token names a key that is not there.
    missed: Notify,
}

enum Source {
    File(std::path::PathBuf),
    Url { uri: http::Uri, tls: Arc<ClientConfig> },
}

/// Bytes of a key set. A hundred RSA keys take half of it.
const MOST_BYTES: usize = 256 << 10;
/// How long one request for a key set may take.
const FETCH: Duration = Duration::from_secs(5);
/// How often a key set is fetched anew, although no token names a key that is missing.
const REFRESH: Duration = Duration::from_mins(5);
/// The least time between two requests for a key set, whatever keys tokens name: anybody can name one.
const LEAST_PAUSE: Duration = Duration::from_secs(10);
/// The first pause after a failed request; each later one is twice as long, up to [`REFRESH`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl Keys {
    /// The keys of a configuration; `None` without a key set. A file is read now, so that a wrong one is found at the start. A URL
    /// is fetched by [`follow`](Self::follow): an issuer that is away must not keep the server from starting.
    pub(crate) fn open(config: &JwtConfig) -> Result<Option<Arc<Self>>, Vec<String>> {
        let (source, keys) = match &config.jwks {
            None => return Ok(None),
            Some(Jwks::File(path)) => {
                let told =
                    |why: &str| vec![format!("auth.jwt.jwks = {:?}: {why}; name a JSON Web Key Set", path.display())];
                let keys = tls::read_file(path).map_err(|why| told(&why))?;
                (Source::File(path.clone()), KeySet::parse(&keys).map_err(told)?)
            }
            Some(Jwks::Url(uri)) => {
                let tls = client_tls(config.jwks_ca.as_deref())?;
                (Source::Url { uri: uri.clone(), tls }, KeySet::default())
            }
        };
        let current = RwLock::new(Arc::new(keys));
        Ok(Some(Arc::new(Self { source, current, missed: Notify::new() })))
    }

    /// The keys in effect.
    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that a token names a key that is not there.
    pub(super) fn miss(&self) {
        self.missed.notify_one();
    }

    /// Keeps the keys up to date. A source that fails keeps the previous keys.
    pub(crate) async fn follow(self: Arc<Self>, gate: Arc<Gate>, seed: u64) {
        match &self.source {
            Source::File(path) => self.follow_file(path, &gate).await,
            Source::Url { uri, tls } => self.follow_url(uri, tls, &gate, seed).await,
        }
    }

    async fn follow_file(&self, path: &Path, gate: &Gate) {
        let mut seen = tls::read_file(path).ok();
        loop {
            sleep(tls::POLL).await;
            let read = {
                let path = path.to_owned();
                tokio::task::spawn_blocking(move || tls::read_file(&path)).await
            };
            let Ok(Ok(bytes)) = read else { continue };
            if seen.as_ref() == Some(&bytes) {
                continue;
            }
            match KeySet::parse(&bytes) {
                Ok(keys) => {
                    self.replace(keys, gate);
                    tracing::info!(path = %path.display(), "key set reloaded");
                }
                Err(error) => {
                    tracing::error!(path = %path.display(), error, "key set not reloaded; keeping the previous one");
                }
            }
            seen = Some(bytes);
        }
    }

    async fn follow_url(&self, uri: &http::Uri, tls: &Arc<ClientConfig>, gate: &Gate, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut pause, mut last) = (FIRST_PAUSE, Bytes::new());
        loop {
            let fetched = timeout(FETCH, fetch(uri, tls)).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            let read = fetched.and_then(|bytes| {
                let keys = KeySet::parse(&bytes).map_err(str::to_owned)?;
                Ok((keys, bytes))
            });
            let wait = match read {
                Ok((keys, bytes)) => {
                    if last != bytes {
                        self.replace(keys, gate);
                        tracing::info!(%uri, "key set fetched");
                        last = bytes;
                    }
                    pause = FIRST_PAUSE;
                    REFRESH
                }
                Err(error) => {
                    tracing::warn!(%uri, error, "key set not fetched; keeping the previous one");
                    pause = (pause * 2).min(REFRESH);
                    pause
                }
            };
            // A share of chance, so that replicas that started together do not ask together.
            let wait = wait.mul_f64(random.random_range(0.8..=1.0));
            let missed = async {
                sleep(LEAST_PAUSE).await;
                self.missed.notified().await;
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = missed => {}
            }
        }
    }

    fn replace(&self, keys: KeySet, gate: &Gate) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        gate.forget();
    }
}

/// TLS for fetching a key set.
fn client_tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Vec<String>> {
    let roots = match ca {
        Some(path) => {
            tls::authorities(path).map_err(|why| vec![format!("auth.jwt.jwks-ca = {:?}: {why}", path.display())])?
        }
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect::<RootCertStore>(),
    };
    let config = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| vec![format!("TLS: {error}")])?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Fetches a key set. The error is for the log.
async fn fetch(uri: &http::Uri, tls: &Arc<ClientConfig>) -> Result<Bytes, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return Err("a URL without a host".to_owned());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|error| told(&error))?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await.map_err(|error| told(&error))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(|error| told(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| told(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| told(&error))
    };
    // The connection does its work beside the request, and ends with it.
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.map_or_else(|error| told(&error), |()| "the connection ended".to_owned())),
    }
}
