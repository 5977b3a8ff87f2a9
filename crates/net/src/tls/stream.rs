//! A connection inside TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::session::Session;
use super::wire::Wire;
use crate::stream::{Direct, Now, Socket, Stream};

/// A connection inside TLS. Its task and a job that moves large content take turns with it.
pub(super) struct Inside(Arc<Shared>);

struct Shared {
    session: Mutex<Session>,
    /// `None`: it runs over no socket.
    socket: Option<Socket>,
}

impl Inside {
    pub(super) fn new(stream: impl Into<TlsStream<Wire>>) -> Self {
        let stream = stream.into();
        Self(Arc::new(Shared {
            socket: stream.get_ref().0.socket().cloned(),
            session: Mutex::new(Session::new(stream)),
        }))
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.0.session()
    }
}

impl Shared {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Inside {
    fn is_private(&self) -> bool {
        true
    }

    fn direct(&self) -> Option<Direct> {
        let socket = self.0.socket.clone()?;
        let shared = self.0.clone();
        Some(Direct::new(Arc::new(Way { shared, socket })))
    }
}

/// The direct way to a connection inside TLS.
struct Way {
    shared: Arc<Shared>,
    socket: Socket,
}

impl Now for Way {
    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shared.session().read_now(&self.socket, buffer)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.session().write_now(&self.socket, bytes)
    }

    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl AsyncRead for Inside {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.session().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Inside {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.session().with_room(bytes.len()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.session()
            .with_room(bytes)
            .poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session().stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session().stream().poll_shutdown(cx)
    }
}
