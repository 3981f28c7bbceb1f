//! One HTTP/2 connection and the calls over it.

use std::{future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Request, Response, header};
use tokio::net::TcpStream;

use super::Prepared;
use crate::frame;

/// Bytes that a server may send before it hears from the client: large, so that flow control is never what is measured.
const STREAM_WINDOW: u32 = 1 << 24;
const CONNECTION_WINDOW: u32 = 1 << 26;

/// Why a call did not give the reply that was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the connection failed: {0}")]
    Http2(#[from] h2::Error),
    #[error("HTTP status {0}")]
    Http(http::StatusCode),
    #[error("no grpc-status in the trailers")]
    NoStatus,
    #[error("grpc-status {code}: {message}")]
    Status { code: String, message: String },
    #[error("{received} DATA bytes instead of {least} to {most}")]
    Length { received: usize, least: usize, most: usize },
    #[error("DATA is not one gRPC message")]
    Frame,
    #[error("no reply before the measurement was given up")]
    Unanswered,
}

/// A connection, ready for calls to one method. A clone shares the connection.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    head: Request<()>,
}

impl Connection {
    /// Connects. The task that drives the connection ends with the last clone.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let head = Request::post(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())?;
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(socket)
            .await?;
        tokio::spawn(async move {
            // What breaks a connection is counted where its calls fail.
            let _ = connection.await;
        });
        Ok(Self { sender, head })
    }

    /// Makes a call and checks the reply: status 0 in the trailers, one message, as long as it should be.
    pub(crate) async fn check(&mut self, request: &Prepared) -> Result<(), Fault> {
        let response = self.send(request.frame.clone()).await?;
        let headers_status = grpc_status(response.headers());
        let mut body = response.into_body();
        let mut received = 0;
        let mut announced = None;
        while let Some(data) = next(&mut body).await? {
            if received == 0 {
                announced = frame::announced(&data);
            }
            received += data.len();
        }
        finish(headers_status, body).await?;
        let (least, most) = (request.least, request.most);
        if !(least..=most).contains(&received) {
            return Err(Fault::Length { received, least, most });
        }
        if announced.is_none_or(|length| length + frame::PREFIX != received) {
            return Err(Fault::Frame);
        }
        Ok(())
    }

    /// Makes a call and returns the reply's DATA: the frame as it came.
    pub(crate) async fn fetch(&mut self, request: Bytes) -> Result<Vec<u8>, Fault> {
        let response = self.send(request).await?;
        let headers_status = grpc_status(response.headers());
        let mut body = response.into_body();
        let mut received = Vec::new();
        while let Some(data) = next(&mut body).await? {
            received.extend_from_slice(&data);
        }
        finish(headers_status, body).await?;
        frame::unframe(&received).ok_or(Fault::Frame)?;
        Ok(received)
    }

    async fn send(&mut self, request: Bytes) -> Result<Response<RecvStream>, Fault> {
        poll_fn(|context| self.sender.poll_ready(context)).await?;
        let (response, mut body) = self.sender.send_request(self.head.clone(), false)?;
        body.send_data(request, true)?;
        let response = response.await?;
        if response.status() != http::StatusCode::OK {
            return Err(Fault::Http(response.status()));
        }
        Ok(response)
    }
}

async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, Fault> {
    let Some(data) = body.data().await.transpose()? else {
        return Ok(None);
    };
    body.flow_control().release_capacity(data.len())?;
    Ok(Some(data))
}

/// The reply's status: in the trailers, or, of a reply without a message, in the headers.
async fn finish(headers: Option<Result<(), Fault>>, mut body: RecvStream) -> Result<(), Fault> {
    let trailers = body.trailers().await?;
    match trailers.as_ref().and_then(grpc_status).or(headers) {
        Some(status) => status,
        None => Err(Fault::NoStatus),
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<Result<(), Fault>> {
    let status = headers.get("grpc-status")?;
    if status.as_bytes() == b"0" {
        return Some(Ok(()));
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Some(Err(Fault::Status { code: text(status), message: headers.get("grpc-message").map(text).unwrap_or_default() }))
}
