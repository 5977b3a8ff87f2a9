//! A connection inside TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::stream::{BoxStream, Stream};

/// The most bytes that wait in a connection to be encrypted or sent. rustls' own limit is 64 KiB, and
/// thousands of connections are idle.
const WAITING: usize = 16 * 1024;

/// A connection inside TLS. What passes its socket is encrypted, so it has none to offer.
pub(super) struct Inside(TlsStream<BoxStream>);

impl Inside {
    pub(super) fn new(stream: impl Into<TlsStream<BoxStream>>) -> Self {
        let mut stream = stream.into();
        match &mut stream {
            TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(WAITING)),
            TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(WAITING)),
        }
        Self(stream)
    }
}

impl Stream for Inside {
    fn is_private(&self) -> bool {
        true
    }
}

impl AsyncRead for Inside {
    /// A peer that goes without a word of TLS has gone all the same: in each language that is spoken
    /// here, messages say themselves where they end, so nobody in between can cut one short unseen.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(cx, buffer)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Inside {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
