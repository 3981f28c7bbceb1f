//! A file for audit records: one JSON object a line.
//!
//! A thread of its own writes, so that no call waits for a disk. A record that finds the queue full, or that the disk does not take,
//! is lost; it is counted, and the log tells of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use tokio::sync::oneshot;

use crate::telemetry::LineLimit;

/// A file that records are appended to.
#[derive(Debug)]
pub(crate) struct AuditFile {
    queue: SyncSender<Order>,
    lost: Arc<AtomicU64>,
    overflows: LineLimit,
}

/// What the thread of the file is to do.
#[derive(Debug)]
enum Order {
    /// Appends a line.
    Append(Vec<u8>),
    /// Opens the file again by its name.
    Reopen,
    /// Tells that everything before has been written.
    Flush(oneshot::Sender<()>),
}

/// Orders that may wait: minutes of refusals, which have a limit, or some 2 MB of records.
const MOST_ORDERS: usize = 4_096;

impl AuditFile {
    /// Opens a file, and makes it for its owner alone if there is none. The error is for people.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let output = Output::open(path)?;
        let (queue, orders) = sync_channel(MOST_ORDERS);
        let lost = Arc::default();
        let mut writer = Writer { path: path.to_owned(), output, torn: false, failing: false, lost: Arc::clone(&lost) };
        std::thread::Builder::new()
            .name("larder-audit".to_owned())
            .spawn(move || writer.run(&orders))
            .map_err(|error| format!("no thread can be started: {error}"))?;
        Ok(Self { queue, lost, overflows: LineLimit::new() })
    }

    /// Queues a line. Never waits.
    pub(super) fn append(&self, line: Vec<u8>) {
        if self.queue.try_send(Order::Append(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            if let Some(omitted) = self.overflows.admit() {
                tracing::error!(omitted, "audit record lost, too many wait for the disk");
            }
        }
    }

    /// Has the file opened again by its name. A full queue does without: a moved file is noticed with the next record.
    pub(crate) fn reopen(&self) {
        let _ = self.queue.try_send(Order::Reopen);
    }

    /// Waits until every record so far has been written or lost.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.try_send(Order::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }

    /// Records that did not reach the file.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The thread of a file.
struct Writer {
    path: PathBuf,
    output: Output,
    /// Whether the file ends within a line.
    torn: bool,
    /// Whether the last record was lost.
    failing: bool,
    lost: Arc<AtomicU64>,
}

/// An open file, and which one it is.
struct Output {
    file: File,
    identity: (u64, u64),
}

impl Output {
    fn open(path: &Path) -> Result<Self, String> {
        // To open a pipe would wait for its reader.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err("is no regular file".to_owned());
        }
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let opened = opened.and_then(|file| Ok(Self { identity: identity(&file.metadata()?), file }));
        opened.map_err(|error| format!("cannot be opened: {error}"))
    }

    /// Whether the name of the file leads to another file, or to none.
    fn has_moved(&self, path: &Path) -> bool {
        std::fs::metadata(path).map_or(true, |found| identity(&found) != self.identity)
    }
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Append(line) => self.append(&line),
                Order::Reopen => self.reopen(),
                Order::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn append(&mut self, line: &[u8]) {
        if self.output.has_moved(&self.path) {
            self.reopen();
        }
        match self.write(line) {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(lost = self.lost.load(Ordering::Relaxed), "audit records are written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    self.failing = true;
                    tracing::error!(%error, path = %self.path.display(), "audit records are lost");
                }
            }
        }
    }

    /// Opens the file by its name. Where that fails, records go on into the file that was moved.
    fn reopen(&mut self) {
        match Output::open(&self.path) {
            Ok(output) => {
                self.torn &= output.identity == self.output.identity;
                self.output = output;
            }
            Err(error) => tracing::error!(error, path = %self.path.display(), "audit file not opened again"),
        }
    }

    /// Writes a line. A line that was cut before, as by a full disk, stays cut, and this one begins a new line.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.output.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut left = line;
        while !left.is_empty() {
            match self.output.file.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = &left[written..];
                    self.torn = !left.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[tokio::test]
    async fn the_file_is_for_its_owner_and_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        for line in ["one\n", "two\n"] {
            let file = AuditFile::open(&path).unwrap();
            file.append(line.into());
            file.flush().await;
        }
        assert_eq!(text(&path), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_was_moved_or_removed_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("audit.jsonl"), directory.path().join("audit.jsonl.1"));
        let file = AuditFile::open(&path).unwrap();
        file.append(b"one\n".into());
        file.flush().await;
        std::fs::rename(&path, &moved).unwrap();
        file.append(b"two\n".into());
        file.flush().await;
        assert_eq!((text(&moved), text(&path)), ("one\n".to_owned(), "two\n".to_owned()));
        std::fs::remove_file(&path).unwrap();
        file.reopen();
        file.flush().await;
        assert_eq!(text(&path), "", "before the next record");
    }

    #[tokio::test]
    async fn records_go_on_into_the_moved_file_where_no_new_one_can_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("audit.jsonl"), directory.path().join("audit.jsonl.1"));
        let file = AuditFile::open(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();
        file.append(b"one\n".into());
        file.flush().await;
        assert_eq!((text(&moved).as_str(), file.lost()), ("one\n", 0));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(AuditFile::open(directory.path()).unwrap_err(), "is no regular file");
        assert!(
            AuditFile::open(&directory.path().join("none/audit.jsonl")).unwrap_err().starts_with("cannot be opened")
        );
    }

    #[test]
    fn a_full_disk_loses_records_and_counts_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let full = || OpenOptions::new().write(true).open("/dev/full");
        let Ok(full) = full() else { return };
        let mut output = Output::open(&path).unwrap();
        let file = std::mem::replace(&mut output.file, full);
        let mut writer = Writer { path: path.clone(), output, torn: false, failing: false, lost: Arc::default() };
        writer.append(b"one\n");
        writer.append(b"two\n");
        assert_eq!((writer.lost.load(Ordering::Relaxed), writer.failing), (2, true));
        writer.output.file = file;
        writer.torn = true;
        writer.append(b"three\n");
        assert_eq!((text(&path).as_str(), writer.failing), ("\nthree\n", false), "after what was cut");
    }

    #[test]
    fn a_full_queue_loses_records_and_waits_for_nothing() {
        let (queue, orders) = sync_channel(1);
        let file = AuditFile { queue, lost: Arc::default(), overflows: LineLimit::new() };
        for _ in 0..3 {
            file.append(b"one\n".into());
        }
        assert_eq!(file.lost(), 2);
        drop(orders);
    }
}
