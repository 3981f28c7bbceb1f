//! Commands that are taken out of what passes.

use std::{collections::HashMap, io, net::SocketAddr};

use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot};

use crate::client::{RedisClient, Reply, refuse_itself};

/// The next command of one name that a proxy sees. Neither that nor anything behind it on its connection reaches Redis, and nobody is
/// told. Dropping this lets the next one pass.
#[derive(Debug)]
pub struct Caught(oneshot::Receiver<()>);

impl Caught {
    /// Waits for it. Returns whether there was one before the proxy ended.
    pub async fn caught(self) -> bool {
        self.0.await.is_ok()
    }
}

/// The next SET of a key that a proxy sees. It is answered in the place of Redis, which gets it late. Dropping this lets
/// the next one pass.
#[derive(Debug)]
pub struct HeldSet {
    taken: oneshot::Receiver<Vec<u8>>,
    upstream: SocketAddr,
}

impl HeldSet {
    /// Waits for it; `None` when there was none before the proxy ended.
    pub async fn taken(self) -> Option<LateSet> {
        Some(LateSet { command: self.taken.await.ok()?, upstream: self.upstream })
    }

    pub(super) fn new(taken: oneshot::Receiver<Vec<u8>>, upstream: SocketAddr) -> Self {
        Self { taken, upstream }
    }
}

/// A SET that Redis has not got yet. Dropping it means that Redis never gets it.
#[derive(Debug)]
pub struct LateSet {
    command: Vec<u8>,
    upstream: SocketAddr,
}

impl LateSet {
    /// Gives it to Redis, and returns when it is carried out.
    pub async fn release(self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.upstream).await?;
        refuse_itself(&stream)?;
        stream.write_all(&self.command).await?;
        match RedisClient::over(stream).next().await? {
            Reply::Text(text) if text == "OK" => Ok(()),
            other => Err(io::Error::other(format!("a late SET was answered by {other:?}"))),
        }
    }
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Traps {
    caught: Option<(&'static str, oneshot::Sender<()>)>,
    /// By the last part of the key, behind a colon.
    sets: HashMap<Vec<u8>, oneshot::Sender<Vec<u8>>>,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sprung {
    /// It passes.
    No,
    /// It is answered here.
    Held,
    /// It is lost, and everything behind it.
    Lost,
}

impl Traps {
    /// Lays one for the next command of a name; there is one of these at a time.
    pub(super) fn catch(&mut self, name: &'static str) -> Caught {
        let (sender, receiver) = oneshot::channel();
        self.caught = Some((name, sender));
        Caught(receiver)
    }

    /// Lays one for the next SET of a key.
    pub(super) fn set(&mut self, name: &str) -> oneshot::Receiver<Vec<u8>> {
        let (sender, receiver) = oneshot::channel();
        self.sets.retain(|_, waiting| !waiting.is_closed());
        self.sets.insert(name.as_bytes().to_vec(), sender);
        receiver
    }

    /// Sees a command pass, in words and as it came.
    pub(super) fn see(&mut self, words: &[&[u8]], raw: &[u8]) -> Sprung {
        let wanted = |(wanted, _): &mut (&'static str, _)| {
            words.first().is_some_and(|name| name.eq_ignore_ascii_case(wanted.as_bytes())) && !introduces(words)
        };
        if let Some((_, waiting)) = self.caught.take_if(wanted)
            && waiting.send(()).is_ok()
        {
            return Sprung::Lost;
        }
        match words {
            // A lease is set with NX.
            [name, key, _, options @ ..]
                if name.eq_ignore_ascii_case(b"SET")
                    && !options.iter().any(|option| option.eq_ignore_ascii_case(b"NX")) =>
            {
                let last = key.rsplit(|byte| *byte == b':').next().unwrap_or_default();
                let told = self.sets.remove(last).is_some_and(|waiting| waiting.send(raw.to_vec()).is_ok());
                if told { Sprung::Held } else { Sprung::No }
            }
            _ => Sprung::No,
        }
    }
}

/// Whether a message is about the replicas themselves, which is published at any time, and not about a change.
fn introduces(words: &[&[u8]]) -> bool {
    words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"PUBLISH"))
        && words
            .get(1)
            .is_some_and(|channel| channel.split(|byte| *byte == b':').any(|part| part.starts_with(b"replica")))
}
