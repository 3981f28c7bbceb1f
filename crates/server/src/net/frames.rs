//! Watches the frames that a client sends: whether it has greeted, and whether it sends more frames than calls need.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::usage::Usage;

/// A connection whose incoming frames are counted. A client that floods it with frames that do no work gets an error instead of an
/// answer, which ends the connection.
#[derive(Debug)]
pub(super) struct Watched<T> {
    io: T,
    /// What was read of the connection before.
    first: Bytes,
    /// `None` on a connection that speaks HTTP/1.1.
    frames: Option<Frames>,
    usage: Arc<Usage>,
}

/// Follows the frames in a stream of bytes (RFC 9113, section 4.1).
#[derive(Debug)]
struct Frames {
    /// Bytes of the preface and of payloads that are still to come.
    skip: usize,
    header: [u8; HEADER],
    header_read: usize,
    /// Frames begun, the preface not counted.
    begun: u64,
    idle: IdleFrames,
}

/// Frames that do no work, beyond those that work explains: headers bring calls, and what the server writes brings window updates.
#[derive(Debug)]
struct IdleFrames {
    count: u64,
    since: Instant,
}

/// What a connection that speaks HTTP/2 begins with (RFC 9113, section 3.4).
pub(super) const PREFACE_TEXT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const PREFACE: usize = PREFACE_TEXT.len();
/// Bytes before the payload of each frame: its length, type, flags and stream.
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
/// Idle frames at once. Clients set up connections and streams with some dozens.
const BURST: u64 = 1_000;
/// Idle frames that are forgotten in a second: keep-alive pings and changes of settings come far less often.
const FORGOTTEN: u64 = 100;
/// Idle frames that one frame with headers explains: priorities, window updates and a reset of its stream.
const FOR_A_CALL: u64 = 8;
/// Written bytes that explain one idle frame, for clients that acknowledge each piece twice, by stream and by connection.
const WRITTEN: u64 = 512;

impl<T> Watched<T> {
    /// Watches a connection from which `first` was read.
    pub(super) fn new(io: T, first: Bytes, usage: Arc<Usage>) -> Self {
        let mut watched = Self { io, first: Bytes::new(), frames: Some(Frames::new(Instant::now())), usage };
        // So few bytes hold no flood.
        let _ = watched.saw(&first);
        watched.first = first;
        watched
    }

    /// A connection that speaks HTTP/1.1, from which `first` was read.
    pub(super) fn without_frames(io: T, first: Bytes, usage: Arc<Usage>) -> Self {
        Self { io, first, frames: None, usage }
    }

    /// Counts what has come.
    fn saw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        let fits = frames.take(bytes);
        if frames.has_greeted() {
            self.usage.greet();
        }
        if fits { Ok(()) } else { Err(io::Error::other("the client sends more frames than its calls need")) }
    }
}

impl Frames {
    fn new(now: Instant) -> Self {
        let idle = IdleFrames { count: 0, since: now };
        Self { skip: PREFACE, header: [0; HEADER], header_read: 0, begun: 0, idle }
    }

    /// Whether the preface and the first frame, the settings, have come.
    fn has_greeted(&self) -> bool {
        self.begun > 1 || self.begun == 1 && self.skip == 0
    }

    /// Follows the next bytes; false when there are too many idle frames.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut fits = true;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return fits;
            }
            let read = bytes.len().min(HEADER - self.header_read);
            self.header[self.header_read..][..read].copy_from_slice(&bytes[..read]);
            self.header_read += read;
            bytes = &bytes[read..];
            if self.header_read == HEADER {
                self.header_read = 0;
                fits &= self.begin();
            }
        }
    }

    /// Counts the frame whose header is complete.
    fn begin(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.begun += 1;
        match kind {
            HEADERS => self.idle.explain(FOR_A_CALL),
            // HTTP/2 itself limits resets and continuations.
            RST_STREAM | CONTINUATION => {}
            DATA if self.skip > 0 || flags & END_STREAM != 0 => {}
            _ => return self.idle.add(),
        }
        true
    }
}

impl IdleFrames {
    fn explain(&mut self, frames: u64) {
        self.count = self.count.saturating_sub(frames);
    }

    fn add(&mut self) -> bool {
        self.count += 1;
        if self.count <= BURST {
            return true;
        }
        // The clock is read only here, where somebody sends very many.
        let now = Instant::now();
        let seconds = now.duration_since(self.since).as_secs();
        self.explain(seconds * FORGOTTEN);
        self.since += Duration::from_secs(seconds);
        self.count <= BURST
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..length]);
            self.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(self.saw(&buf.filled()[before..])),
            other => other,
        }
    }
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(bytes)), Some(frames)) = (&written, &mut self.frames) {
            frames.idle.explain(*bytes as u64 / WRITTEN);
        }
        written
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn greeting() -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, &[0, 4, 0, 0, 0, 0])].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_is_complete_with_its_settings() {
        let greeting = greeting();
        for cut in 0..=greeting.len() {
            let mut frames = Frames::new(Instant::now());
            assert!(frames.take(&greeting[..cut]));
            assert_eq!(frames.has_greeted(), cut == greeting.len(), "{cut}");
            assert!(frames.take(&greeting[cut..]));
            assert!(frames.has_greeted(), "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn floods_of_idle_frames_are_found_however_they_are_cut() {
        for (kind, flags, payload) in [
            (2, 0, &[0, 0, 0, 0, 16][..]),
            (WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
            (6, 0, &[0; 8]),
            (SETTINGS, 0, &[]),
            (0x55, 0, b"anything"),
            (DATA, 0, &[]),
        ] {
            let flood = frame(kind, flags, payload).repeat(usize::try_from(BURST).unwrap() + 1);
            let mut frames = Frames::new(Instant::now());
            assert!(frames.take(&greeting()));
            assert!(!flood.chunks(7).all(|piece| frames.take(piece)), "frames of type {kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_work_explains_are_no_flood() {
        let mut frames = Frames::new(Instant::now());
        assert!(frames.take(&greeting()));
        let call = [
            frame(HEADERS, 4, b"..."),
            frame(DATA, END_STREAM, b"....."),
            frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]).repeat(4),
        ];
        for _ in 0..10_000 {
            assert!(call.iter().all(|piece| frames.take(piece)));
        }
        let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
        for _ in 0..10_000 {
            frames.idle.explain(16_384 / WRITTEN);
            assert!(frames.take(&update.repeat(2)));
        }
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(frames.take(&update.repeat(20)));
        }
    }
}
