//! One connection of the load.
//!
//! It writes prepared frames and looks at no more of a reply than whether it has a message: the load must cost far less than the
//! replica that it is ten times too much for.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use larder_test_servers::wire::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
    literal,
};
use tokio::net::{TcpSocket, TcpStream};

use super::{DEADLINE, Kind, Tally};

/// Calls of one connection at once: the limit that the replica names. A client fails further ones by itself.
const OPEN: usize = 256;
/// Bytes that may wait for the socket. More means that the replica does not read.
const UNSENT: usize = 256 << 10;
/// The window of a connection opens again after so many bytes.
const WINDOW: usize = 64 << 20;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const INITIAL_WINDOW: u32 = 65_535;

/// A connection.
pub(super) struct Lane {
    socket: TcpStream,
    /// The headers of a call of each kind, as the replica's table knows them by now.
    blocks: [Vec<u8>; Kind::ALL.len()],
    next: u32,
    open: HashMap<u32, Open>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    since_update: usize,
}

/// A call under way.
struct Open {
    kind: Kind,
    due: Instant,
    answered: bool,
}

impl Lane {
    /// Connects, and makes both sides remember the headers.
    pub(super) async fn connect(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let socket = socket.connect(address).await?;
        socket.set_nodelay(true)?;
        let settings = frame(SETTINGS, 0, 0, &[&[0, 4][..], &LARGEST_WINDOW.to_be_bytes()].concat());
        let window = frame(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - INITIAL_WINDOW).to_be_bytes());
        let mut lane = Self {
            socket,
            blocks: Default::default(),
            next: 1,
            open: HashMap::new(),
            unsent: [PREFACE, &settings, &frame(SETTINGS, ACK, 0, &[]), &window].concat(),
            received: Vec::new(),
            since_update: 0,
        };
        lane.teach();
        Ok(lane)
    }

    /// Calls whose headers enter the table of the connection (RFC 7541, section 6.2.1), so that those of later calls are some bytes.
    fn teach(&mut self) {
        /// `:method: POST` and `:scheme: http` in the static table.
        const FIXED: [u8; 2] = [0x83, 0x86];
        /// The newest entry of the dynamic table.
        const NEWEST: u8 = 0x80 | 0x3e;
        let timeout = format!("{}m", DEADLINE.as_millis());
        let others = [
            (":authority", "larder"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", &timeout),
        ];
        let entry = |(name, value): (&str, &str)| {
            let mut entry = literal(name, value);
            entry[0] = 0x40;
            entry
        };
        let path = |kind: Kind| entry((":path", &format!("/larder.catalog.v1.ProductCatalog/{}", kind.method())));
        let others_last = u8::try_from(others.len()).expect("few headers");
        for (number, kind) in (0..).zip(Kind::ALL) {
            let taught: Vec<u8> = if number == 0 {
                others.into_iter().flat_map(entry).collect()
            } else {
                // Older than the paths of this call and of those between. The pseudo-header was the first, and comes first again.
                (0..others_last).rev().map(|place| NEWEST + number + place).collect()
            };
            let block = [&FIXED[..], &path(kind), &taught].concat();
            self.unsent.extend(call(self.next, &block, &kind.message(0)));
            self.next += 2;
        }
        let paths = u8::try_from(Kind::ALL.len()).expect("few kinds");
        for (number, block) in (0..).zip(&mut self.blocks) {
            // From the newest entry: the later paths, the other headers, the first path.
            let path = if number == 0 { NEWEST + paths - 1 + others_last } else { NEWEST + paths - 1 - number };
            block.extend(FIXED);
            block.push(path);
            block.extend((0..others_last).rev().map(|place| NEWEST + paths - 1 + place));
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Begins a call that was due at a moment, unless the connection has no room for one.
    pub(super) fn begin(&mut self, kind: Kind, random: u32, due: Instant) -> bool {
        if self.open.len() >= OPEN || self.unsent.len() >= UNSENT {
            return false;
        }
        let call = call(self.next, &self.blocks[kind as usize], &kind.message(random));
        self.unsent.extend(call);
        self.open.insert(self.next, Open { kind, due, answered: false });
        self.next += 2;
        true
    }

    /// Sends and receives what is there, without waiting.
    pub(super) fn turn(&mut self, tally: &mut Tally) -> io::Result<()> {
        self.send()?;
        let mut buffer = [0; 8 << 10];
        loop {
            match self.socket.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    self.frames(tally)?;
                    if length < buffer.len() {
                        return self.send();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.send(),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match self.socket.try_write(&self.unsent[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..sent);
        Ok(())
    }

    /// Looks at the frames that are complete.
    fn frames(&mut self, tally: &mut Tally) -> io::Result<()> {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let [high, middle, low, kind, flags, one, two, three, four, following @ ..] = rest {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            let Some((payload, after)) = following.split_at_checked(length) else { break };
            let stream = u32::from_be_bytes([*one, *two, *three, *four]);
            self.frame(*kind, *flags, stream, payload, tally)?;
            rest = after;
        }
        self.received = rest.to_vec();
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8], tally: &mut Tally) -> io::Result<()> {
        match kind {
            DATA => {
                self.since_update += payload.len();
                if self.since_update >= WINDOW {
                    let bytes = u32::try_from(self.since_update).unwrap_or(LARGEST_WINDOW).to_be_bytes();
                    self.unsent.extend(frame(WINDOW_UPDATE, 0, 0, &bytes));
                    self.since_update = 0;
                }
                // A refused call has a status and no message.
                if let Some(open) = self.open.get_mut(&stream).filter(|_| !payload.is_empty()) {
                    open.answered = true;
                }
            }
            PING if flags & ACK == 0 => self.unsent.extend(frame(PING, ACK, 0, payload)),
            GOAWAY => return Err(io::ErrorKind::ConnectionAborted.into()),
            _ => {}
        }
        let ends = kind == RST_STREAM || (kind == HEADERS || kind == DATA) && flags & END_STREAM != 0;
        if ends && let Some(open) = self.open.remove(&stream) {
            tally.end(open.kind, open.answered, open.due);
        }
        Ok(())
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }
}

fn call(stream: u32, block: &[u8], message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let body = [&[0], &length[..], message].concat();
    [frame(HEADERS, END_HEADERS, stream, block), frame(DATA, END_STREAM, stream, &body)].concat()
}
