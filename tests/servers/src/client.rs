//! The smallest client of Redis that tests can do with.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::resp::{self, Frame, Value};

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What Redis said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A string, a status or a number.
    Text(String),
    /// An error.
    Error(String),
    /// Nothing.
    Nil,
    /// Several replies; of a map, its keys and values in turn.
    List(Vec<Reply>),
    /// What Redis said unasked (RESP3).
    Push(Vec<Reply>),
}

impl Reply {
    /// The text; of a list or a push, that of the elements, each on a line of its own, as `redis-cli` prints them.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Error(text) => text.clone(),
            Self::Nil => String::new(),
            Self::List(replies) | Self::Push(replies) => replies.iter().map(Self::text).collect::<Vec<_>>().join("\n"),
        }
    }

    fn from(frame: &Frame<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match &frame.value {
            Value::Line(line) => Self::Text(text(line)),
            Value::Bulk(bulk) => Self::Text(text(bulk)),
            Value::Error(error) => Self::Error(text(error)),
            Value::Null => Self::Nil,
            Value::List(frames) => Self::List(frames.iter().map(Self::from).collect()),
            Value::Push(frames) => Self::Push(frames.iter().map(Self::from).collect()),
        }
    }
}

/// A connection to Redis. Nothing about it is clever: it shows what came over the wire, in the order in which it came.
#[derive(Debug)]
pub struct RedisClient {
    stream: TcpStream,
    read: Vec<u8>,
}

impl RedisClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(LIMIT, TcpStream::connect(address)).await??;
        refuse_itself(&stream)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Over a stream that is connected.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends a command and returns the next message, which is its reply unless there are pushes on this connection. Fails
    /// when the connection ends, or when nothing came for a minute.
    pub async fn call(&mut self, words: &[&str]) -> io::Result<Reply> {
        self.send(words).await?;
        self.next().await
    }

    /// Sends a command.
    pub async fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        timeout(LIMIT, self.stream.write_all(&resp::command(&words))).await?
    }

    /// Returns the next message. Fails like [`RedisClient::call`].
    pub async fn next(&mut self) -> io::Result<Reply> {
        timeout(LIMIT, self.read_one()).await?
    }

    /// Returns the next message, or `None` when none came within `wait`.
    pub async fn next_within(&mut self, wait: Duration) -> io::Result<Option<Reply>> {
        timeout(wait, self.read_one()).await.map_or(Ok(None), |reply| reply.map(Some))
    }

    /// What came of a message that is not complete.
    pub fn unfinished(&self) -> &[u8] {
        &self.read
    }

    async fn read_one(&mut self) -> io::Result<Reply> {
        loop {
            let frame = resp::parse(&self.read)?;
            if let Some(frame) = frame {
                let (reply, length) = (Reply::from(&frame), frame.raw.len());
                self.read.drain(..length);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Fails for a connection from a port to the same port. TCP makes such a one when nobody listens there and the system
/// happens to choose it; tests that call a dead server often enough would meet themselves, and keep it from its port.
pub(crate) fn refuse_itself(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}
