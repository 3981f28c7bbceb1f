//! OTLP over HTTP/1.1, in Protobuf.

use std::{io::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, crypto,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::{Failure, Signal};
use crate::{config::ReceiverConfig, error::ServeError};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// The largest answer that is read, in bytes. Receivers answer with a few.
const MOST_REPLY: usize = 64 << 10;

pub(super) struct Http {
    /// The path and the query of every request.
    target: Uri,
    headers: HeaderMap,
    gzip: bool,
    timeout: Duration,
    address: Address,
    /// The connection of the export before.
    connection: Option<Connection>,
}

struct Address {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// A connection that ends when this is dropped.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http {
    /// A client that connects once it is used.
    pub(super) fn new(config: &ReceiverConfig) -> Result<Self, ServeError> {
        let wrong = |text: &str| ServeError::Telemetry(text.to_owned());
        let authority = config.endpoint.authority().ok_or_else(|| wrong("the endpoint has no host"))?;
        let secure = config.endpoint.scheme_str() == Some("https");
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|error| wrong(&error.to_string()))?;
            Some((tls(config.authorities.as_deref())?, name))
        } else {
            None
        };
        let target = config.endpoint.path_and_query().map_or(Ok(Uri::from_static("/")), |path| path.as_str().parse());
        let target = target.map_err(|_| wrong("the endpoint has no path"))?;
        // Without a user, who does not belong there.
        let named = match authority.port() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        let mut headers = config.headers.clone();
        headers.insert(HOST, HeaderValue::from_str(&named).map_err(|error| wrong(&error.to_string()))?);
        headers.insert(CONTENT_TYPE, PROTOBUF);
        if config.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let address = Address { host, port, tls };
        Ok(Self { target, headers, gzip: config.gzip, timeout: config.timeout, address, connection: None })
    }

    /// Sends a message once.
    pub(super) async fn send<S: Signal>(&mut self, message: &S) -> Result<S::Reply, Failure> {
        let body = self.encoded(message)?;
        let kept = self.connection.take();
        match timeout(self.timeout, self.exchange(kept, body)).await {
            // What is no message of the receiver's rejects nothing.
            Ok(answer) => answer.map(|reply| S::Reply::decode(reply).unwrap_or_default()),
            Err(_elapsed) => Err(Failure::late()),
        }
    }

    fn encoded(&self, message: &impl Signal) -> Result<Bytes, Failure> {
        let bytes = message.encode_to_vec();
        if !self.gzip {
            return Ok(bytes.into());
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(&bytes).and_then(|()| encoder.finish());
        written.map(Bytes::from).map_err(Failure::unreachable)
    }

    /// Sends a body over the connection that was kept, if it lives, or over a new one, and reads the answer.
    async fn exchange(&mut self, kept: Option<Connection>, body: Bytes) -> Result<Bytes, Failure> {
        let mut connection = match alive(kept).await {
            Some(connection) => connection,
            None => self.address.connect().await?,
        };
        let mut request = Request::post(self.target.clone()).body(Full::new(body)).map_err(Failure::unreachable)?;
        *request.headers_mut() = self.headers.clone();
        let response = connection.sender.send_request(request).await.map_err(Failure::unreachable)?;
        let status = response.status();
        let reply = Limited::new(response.into_body(), MOST_REPLY).collect().await;
        if !status.is_success() {
            return Err(refused(status));
        }
        let reply = reply.map_err(Failure::unreachable)?.to_bytes();
        self.connection = Some(connection);
        Ok(reply)
    }
}

/// A connection that can still take a request.
async fn alive(kept: Option<Connection>) -> Option<Connection> {
    let mut connection = kept?;
    connection.sender.ready().await.ok()?;
    Some(connection)
}

impl Address {
    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(Failure::unreachable)?;
        match &self.tls {
            None => begin(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(Failure::unreachable)?;
                begin(stream).await
            }
        }
    }
}

async fn begin(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection, Failure> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(Failure::unreachable)?;
    let task = tokio::spawn(async move {
        // The request fails with its connection, and says why.
        let _ = connection.await;
    });
    Ok(Connection { sender, task: task.abort_handle() })
}

/// TLS that trusts the authorities of a file, or those of the web.
fn tls(authorities: Option<&[u8]>) -> Result<TlsConnector, ServeError> {
    let wrong = |error: &dyn std::fmt::Display| ServeError::Telemetry(error.to_string());
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
        }
    }
    // Other crates may have brought a provider of their own.
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| wrong(&error))?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The codes after which the specification has clients try again.
fn refused(status: StatusCode) -> Failure {
    let passing = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    let text = status.canonical_reason().unwrap_or("the receiver refuses").to_lowercase();
    Failure { passing, code: status.as_u16().to_string(), text }
}
