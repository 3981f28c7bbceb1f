//! Fewer, larger writes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that denies vectored writes until its first write.
///
/// The h2 crate asks once, when it sets a connection up, whether writes are vectored. If so, it chains every payload of 256
/// bytes or more and flushes behind it: one system call for each reply. If not, payloads up to 1 KiB are copied into one
/// buffer, and many replies leave in one write. From then on the answer is yes, so that large payloads are still written
/// without a copy. It rests on an internal of h2 (hyperium/h2 issues 711, 712 and 903): a test counts the writes.
#[derive(Debug)]
pub struct Coalesced<T> {
    io: T,
    written: bool,
}

impl<T> Coalesced<T> {
    /// Wraps a connection on which nothing has been written.
    pub fn new(io: T) -> Self {
        Self { io, written: false }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Coalesced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Coalesced<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.written && self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
