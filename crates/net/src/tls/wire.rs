//! The connection under TLS.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ahead::Ahead;
use crate::stream::{BoxStream, Socket};

/// A connection that carries TLS records.
pub(super) struct Wire {
    inner: BoxStream,
    socket: Option<Socket>,
    /// It has no memory while little comes: most connections are idle.
    ahead: Ahead,
    /// Whether the last read filled all the room that it had.
    much_comes: bool,
}

impl Wire {
    pub(super) fn new(inner: BoxStream) -> Self {
        Self {
            socket: inner.direct().map(|direct| direct.socket().clone()),
            inner,
            ahead: Ahead::default(),
            much_comes: false,
        }
    }

    /// The socket that carries the records, if it is one.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// Whether records, or parts of one, were read that nobody has decrypted yet.
    pub(super) fn has_more(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Those, to be taken.
    pub(super) fn records(&mut self) -> &mut Ahead {
        &mut self.ahead
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() && this.much_comes {
            let filled = this.ahead.poll_fill(cx, &mut this.inner);
            if !matches!(filled, Poll::Ready(Ok(1..))) {
                this.ahead.release();
                this.much_comes = false;
            }
            ready!(filled)?;
        }
        if this.ahead.is_empty() {
            let room = buffer.remaining();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            this.much_comes = room > 0 && buffer.remaining() == 0;
        } else {
            let read = this.ahead.read(buffer.initialize_unfilled())?;
            buffer.advance(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
