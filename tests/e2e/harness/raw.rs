//! Requests that no generated client sends.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Status;

/// A connection that sends whatever it is given.
pub(crate) struct Raw {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct RawReply {
    pub(crate) http: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body as it was on the wire, with the prefixes of its messages.
    pub(crate) body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Raw {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.expect("a greeting");
        // It ends with the sender.
        tokio::spawn(connection);
        Self { address, sender }
    }

    /// A request of a method of the catalogue, to be changed before it is sent.
    pub(crate) fn method(&self, name: &str) -> Builder {
        self.path(&format!("/larder.catalog.v1.ProductCatalog/{name}")).header(CONTENT_TYPE, "application/grpc")
    }

    /// A request of a path, without any header.
    pub(crate) fn path(&self, path: &str) -> Builder {
        Request::post(format!("http://{}{path}", self.address))
    }

    /// Sends a request and waits for the whole reply.
    pub(crate) async fn send(&mut self, request: Builder, body: impl Into<Bytes>) -> RawReply {
        self.try_send(request, body).await.expect("a reply")
    }

    /// Sends a request and waits for the whole reply, or the end of the connection.
    pub(crate) async fn try_send(
        &mut self,
        request: Builder,
        body: impl Into<Bytes>,
    ) -> Result<RawReply, hyper::Error> {
        self.sender.ready().await?;
        let request = request.body(Full::new(body.into())).expect("a request");
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(RawReply { http: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
    }
}

impl RawReply {
    /// The status of the call: in the trailers, or in the headers of a reply that has nothing else.
    pub(crate) fn status(&self) -> Status {
        let mut places = self.trailers.iter().chain([&self.headers]);
        places.find_map(Status::from_header_map).unwrap_or_else(|| panic!("a reply without status: {self:?}"))
    }
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: impl AsRef<[u8]>) -> Bytes {
    flagged(0, message.as_ref())
}

/// A message, compressed before, as gRPC frames it.
pub(crate) fn framed_compressed(message: impl AsRef<[u8]>) -> Bytes {
    flagged(1, message.as_ref())
}

fn flagged(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
    frame.put_slice(message);
    frame.freeze()
}
