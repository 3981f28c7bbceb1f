//! HTTP/2 by hand: frames that no library would send.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, timeout},
};

use crate::harness::framed;

/// Types of frames (RFC 9113, section 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u8 = 4;
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that sends any bytes.
pub(super) struct Wire {
    socket: TcpStream,
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) kind: u8,
    pub(super) stream: u32,
}

impl Wire {
    /// Connects, and says nothing.
    pub(super) async fn silent(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.expect("a connection") }
    }

    /// Connects and greets.
    pub(super) async fn greet(address: SocketAddr) -> Self {
        let mut wire = Self::silent(address).await;
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("a greeting");
        wire
    }

    /// Connects, greets, and allows the server to send nothing of any reply. The server allows a megabyte.
    pub(super) async fn without_window(address: SocketAddr) -> Self {
        let mut wire = Self::silent(address).await;
        let settings = frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0]);
        wire.send(&[PREFACE, &settings].concat()).await.expect("a greeting");
        while wire.receive().await.expect("a window").kind != WINDOW_UPDATE {}
        wire
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Sends a call of a method of the catalogue.
    pub(super) async fn call(&mut self, stream: u32, method: &str, headers: &[(&str, &str)], message: &[u8]) {
        let path = format!("/larder.catalog.v1.ProductCatalog/{method}");
        let fixed =
            [(":method", "POST"), (":scheme", "http"), (":path", &path), (":authority", "larder"), ("te", "trailers")];
        let typed = [("content-type", "application/grpc")];
        let block: Vec<u8> =
            fixed.iter().chain(&typed).chain(headers).flat_map(|(name, value)| literal(name, value)).collect();
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &block);
        let body: Bytes = framed(message);
        let pieces = body.chunks(16_384);
        let last = pieces.len() - 1;
        for (number, piece) in pieces.enumerate() {
            bytes.extend(frame(DATA, if number == last { END_STREAM } else { 0 }, stream, piece));
        }
        self.send(&bytes).await.expect("a call");
    }

    /// Begins a call of a method of the catalogue, and sends no message.
    pub(super) async fn begin(&mut self, stream: u32, method: &str) {
        let path = format!("/larder.catalog.v1.ProductCatalog/{method}");
        let headers =
            [(":method", "POST"), (":scheme", "http"), (":path", &path), ("content-type", "application/grpc")];
        let block: Vec<u8> = headers.iter().flat_map(|(name, value)| literal(name, value)).collect();
        self.send(&frame(HEADERS, END_HEADERS, stream, &block)).await.expect("a call");
    }

    /// The next frame; `None` when the connection has ended.
    ///
    /// # Panics
    /// When none comes for a minute.
    pub(super) async fn receive(&mut self) -> Option<Received> {
        let receive = async {
            let mut header = [0; 9];
            self.socket.read_exact(&mut header).await.ok()?;
            let [high, middle, low, kind, _, stream @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            Some(Received { kind, stream: u32::from_be_bytes(stream) })
        };
        timeout(Duration::from_mins(1), receive).await.expect("a frame or an end within a minute")
    }

    /// Waits until the server has ended the connection.
    pub(super) async fn ended(&mut self) {
        while self.receive().await.is_some() {}
    }

    /// Sends the same bytes again and again until the server ends the connection, but at most `times`. Whatever the server sends is
    /// read. Returns whether the connection was ended.
    pub(super) async fn flood(&mut self, bytes: &[u8], times: usize) -> bool {
        let (mut from, mut to) = self.socket.split();
        let piece = bytes.repeat(64);
        let sent = async {
            for _ in 0..times / 64 {
                if to.write_all(&piece).await.is_err() {
                    return true;
                }
            }
            false
        };
        let read = async {
            let mut buffer = [0; 4096];
            while !matches!(from.read(&mut buffer).await, Ok(0) | Err(_)) {}
            true
        };
        let ended = async {
            tokio::select! { ended = sent => ended, ended = read => ended }
        };
        timeout(Duration::from_mins(1), ended).await.expect("a flood that ends within a minute")
    }
}

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header without compression (RFC 7541, section 6.2.2).
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

fn text(text: &str) -> Vec<u8> {
    let length = text.len();
    let mut bytes = if length < 127 {
        vec![u8::try_from(length).expect("below 127")]
    } else {
        let mut rest = length - 127;
        let mut bytes = vec![127];
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128 + 128).expect("a byte"));
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).expect("below 128"));
        bytes
    };
    bytes.extend(text.as_bytes());
    bytes
}
