//! What listeners for HTTP have in common: the bounds of a request's head, and a connection that waits
//! for no peer for ever.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bilico_core::protocol::limits::LINGER;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::BoxStream;

/// The largest head of a request, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most headers of a request.
pub const MAX_HEADERS: usize = 64;

/// A connection that fails when its peer reads nothing for `write_stall`. After its end it is still
/// read from for a moment: else what was not read yet would have the system throw away the last
/// answer.
pub struct HttpStream {
    stream: BoxStream,
    write_stall: Duration,
    is_patient: Arc<AtomicBool>,
    /// Set while a write waits for the peer: when it fails.
    ends: Option<Pin<Box<Sleep>>>,
    /// Set once the writing half is closed: when reading ends.
    lingers: Option<Pin<Box<Sleep>>>,
}

/// Ends the bound on how long a write may wait, once a connection speaks something else than HTTP.
#[derive(Debug, Clone)]
pub struct Patience(Arc<AtomicBool>);

impl Patience {
    /// From now on writes wait for the peer.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl HttpStream {
    /// Bounds the waits for the peer of this connection.
    pub fn new(stream: BoxStream, write_stall: Duration) -> Self {
        Self {
            stream,
            write_stall,
            is_patient: Arc::default(),
            ends: None,
            lingers: None,
        }
    }

    /// What ends the bound on its writes.
    pub fn patience(&self) -> Patience {
        Patience(self.is_patient.clone())
    }

    /// Passes the result of a write on; one that waits for too long fails.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() || self.is_patient.load(Ordering::Relaxed) {
            self.ends = None;
            return written;
        }
        let write_stall = self.write_stall;
        let ends = self
            .ends
            .get_or_insert_with(|| Box::pin(sleep(write_stall)));
        ready!(ends.as_mut().poll(cx));
        ends.as_mut().reset(Instant::now() + write_stall);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.judge(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut some = [MaybeUninit::uninit(); 4096];
        while lingers.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::uninit(&mut some);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
