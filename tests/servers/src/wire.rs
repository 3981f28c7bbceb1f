//! HTTP/2 by hand: frames that no library would send.

#![expect(clippy::missing_panics_doc, reason = "a test has no use for an error that it would only unwrap")]

use std::net::{IpAddr, SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Duration, timeout},
};

/// A type of frames (RFC 9113, section 6.1, and the following sections for the others).
pub const DATA: u8 = 0;
/// A type of frames.
pub const HEADERS: u8 = 1;
/// A type of frames.
pub const PRIORITY: u8 = 2;
/// A type of frames.
pub const RST_STREAM: u8 = 3;
/// A type of frames.
pub const SETTINGS: u8 = 4;
/// A type of frames.
pub const PING: u8 = 6;
/// A type of frames.
pub const GOAWAY: u8 = 7;
/// A type of frames.
pub const WINDOW_UPDATE: u8 = 8;
/// A type of frames.
pub const CONTINUATION: u8 = 9;
/// A flag of `DATA` and `HEADERS`.
pub const END_STREAM: u8 = 1;
/// A flag of `SETTINGS` and `PING`.
pub const ACK: u8 = 1;
/// A flag of `HEADERS` and `CONTINUATION`.
pub const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u8 = 4;
/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that sends any bytes. Its methods panic where the connection does not do what the caller relies on.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
}

/// A frame that came.
#[derive(Debug)]
pub struct Received {
    /// Its type.
    pub kind: u8,
    /// Its stream.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Wire {
    /// Connects, and says nothing.
    pub async fn silent(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.expect("a connection") }
    }

    /// Connects from an address of this machine, and greets.
    pub async fn greet_from(source: IpAddr, address: SocketAddr) -> std::io::Result<Self> {
        let mut wire = Self::silent_from(source, address).await?;
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await?;
        Ok(wire)
    }

    /// Connects from an address of this machine, and says nothing.
    pub async fn silent_from(source: IpAddr, address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        Ok(Self { socket: socket.connect(address).await? })
    }

    /// Connects from an address of this machine, greets, and allows the server to send nothing of any reply.
    pub async fn without_window_from(source: IpAddr, address: SocketAddr) -> std::io::Result<Self> {
        let mut wire = Self::silent_from(source, address).await?;
        let settings = frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0]);
        wire.send(&[PREFACE, &settings].concat()).await?;
        Ok(wire)
    }

    /// Connects and greets.
    pub async fn greet(address: SocketAddr) -> Self {
        let mut wire = Self::silent(address).await;
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("a greeting");
        wire
    }

    /// Connects, greets, and allows the server to send nothing of any reply. The server allows a megabyte.
    pub async fn without_window(address: SocketAddr) -> Self {
        let mut wire = Self::silent(address).await;
        let settings = frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0]);
        wire.send(&[PREFACE, &settings].concat()).await.expect("a greeting");
        while wire.receive().await.expect("a window").kind != WINDOW_UPDATE {}
        wire
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Sends a call of a method of the catalogue.
    pub async fn call(&mut self, stream: u32, method: &str, headers: &[(&str, &str)], message: &[u8]) {
        self.send(&call(stream, method, headers, message)).await.expect("a call");
    }

    /// Begins a call of a method of the catalogue, and sends no message.
    pub async fn begin(&mut self, stream: u32, method: &str, headers: &[(&str, &str)]) {
        let block = request(method, headers);
        self.send(&frame(HEADERS, END_HEADERS, stream, &block)).await.expect("a call");
    }

    /// The next frame; `None` when the connection has ended.
    ///
    /// # Panics
    /// When none comes for a minute.
    pub async fn receive(&mut self) -> Option<Received> {
        let receive = async {
            let mut header = [0; 9];
            self.socket.read_exact(&mut header).await.ok()?;
            let [high, middle, low, kind, _, stream @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            Some(Received { kind, stream: u32::from_be_bytes(stream), payload })
        };
        timeout(Duration::from_mins(1), receive).await.expect("a frame or an end within a minute")
    }

    /// Waits until the server has ended the connection.
    pub async fn ended(&mut self) {
        while self.receive().await.is_some() {}
    }

    /// Sends the same bytes again and again until the server ends the connection, but at most `times`. Whatever the server sends is
    /// read. Returns whether the connection was ended.
    pub async fn flood(&mut self, bytes: &[u8], times: usize) -> bool {
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

/// A call of a method of the catalogue.
pub fn call(stream: u32, method: &str, headers: &[(&str, &str)], message: &[u8]) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &request(method, headers));
    let length = u32::try_from(message.len()).expect("a message below 4 GiB").to_be_bytes();
    let body = [&[0], &length[..], message].concat();
    let pieces = body.chunks(16_384);
    let last = pieces.len() - 1;
    for (number, piece) in pieces.enumerate() {
        bytes.extend(frame(DATA, if number == last { END_STREAM } else { 0 }, stream, piece));
    }
    bytes
}

/// The headers of a call of a method of the catalogue.
pub fn request(method: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let path = format!("/larder.catalog.v1.ProductCatalog/{method}");
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "larder"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    fixed.iter().chain(headers).flat_map(|(name, value)| literal(name, value)).collect()
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header without compression (RFC 7541, section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
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
