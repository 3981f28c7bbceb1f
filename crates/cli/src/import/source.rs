//! The records of a file, read and parsed on a thread of their own, a few ahead of the import.

use std::{
    collections::VecDeque,
    io::{self, Read},
    thread,
};

use tokio::sync::mpsc;

use super::{
    super::{CliError, error::Exit},
    records::{Passed, Record, Records},
};

/// Records that are handed over together,
const CHUNK: usize = 64;
/// or fewer when they hold this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait.
const CHUNKS: usize = 8;

/// Where records come from.
pub(super) struct Source {
    chunks: mpsc::Receiver<Chunk>,
    records: VecDeque<Record>,
    end: Option<End>,
}

/// How a file ended.
#[derive(Debug)]
pub(super) struct End {
    /// What was passed over.
    pub(super) passed: Passed,
    /// The last line that was read.
    pub(super) last_line: u64,
    /// Why it could not be read to its end.
    pub(super) error: Option<io::Error>,
}

enum Chunk {
    Records(Vec<Record>),
    End(End),
}

impl Source {
    /// Starts to read. What stands in the place of a product is kept when `keep_raw` says so; what is refused always is.
    pub(super) fn start<R: Read + Send + 'static>(records: Records<R>, keep_raw: bool) -> Result<Self, CliError> {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        thread::Builder::new()
            .name("larder-read".to_owned())
            .spawn(move || read(records, keep_raw, &sender))
            .map_err(|error| CliError::new(Exit::System, format!("the system refuses a thread: {error}")))?;
        Ok(Self { chunks, records: VecDeque::new(), end: None })
    }

    /// The next record; `None` at the end. Nothing is lost when it is dropped before it returns.
    pub(super) async fn next(&mut self) -> Option<Record> {
        while self.records.is_empty() && self.end.is_none() {
            match self.chunks.recv().await {
                Some(Chunk::Records(records)) => self.records = records.into(),
                Some(Chunk::End(end)) => self.end = Some(end),
                None => {
                    let error = Some(io::Error::other("the thread that reads has ended"));
                    self.end = Some(End { passed: Passed::default(), last_line: 0, error });
                }
            }
        }
        self.records.pop_front()
    }

    /// How the file ended, once every record has been taken.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref().filter(|_| self.records.is_empty())
    }
}

fn read<R: Read>(mut records: Records<R>, keep_raw: bool, sender: &mpsc::Sender<Chunk>) {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    let error = loop {
        match records.next() {
            Ok(Some(mut record)) => {
                bytes += record.raw.len();
                if !keep_raw && record.product.is_ok() {
                    record.raw = Vec::new();
                }
                chunk.push(record);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
        // What has been read is not kept back while more is waited for.
        if chunk.len() >= CHUNK || bytes >= CHUNK_BYTES || records.may_wait() {
            bytes = 0;
            if sender.blocking_send(Chunk::Records(std::mem::take(&mut chunk))).is_err() {
                return;
            }
        }
    };
    // Nobody may be left who imports.
    let _ = sender.blocking_send(Chunk::Records(chunk));
    let _ = sender.blocking_send(Chunk::End(End { passed: records.passed(), last_line: records.last_line(), error }));
}
