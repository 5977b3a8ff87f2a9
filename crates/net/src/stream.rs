//! What a connection runs over.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// What a connection can run over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// Whether nobody else can hear what goes over it: it stays on this machine, or is encrypted.
    fn is_private(&self) -> bool;

    /// The direct way to it, for a job that moves large content; `None` if there is none.
    fn direct(&self) -> Option<Direct> {
        None
    }
}

/// A connection as a job uses it, which waits for a moment only and wakes nobody.
pub(crate) trait Now: Send + Sync {
    /// Reads what has come, without waiting; 0 at the end of the connection.
    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes what there is room for, without waiting.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Its socket.
    fn socket(&self) -> &Socket;
}

/// The direct way to a connection.
///
/// A clone is the same connection. So a job can move large content while the task that owns the
/// connection waits for the job: two that read, or two that write, would take each other's bytes.
/// The connection is closed with its last clone.
#[derive(Clone)]
pub struct Direct(Kind);

/// Whether the bytes pass the socket as they are.
#[derive(Clone)]
enum Kind {
    Plain(Socket),
    Other(Arc<dyn Now>),
}

impl Direct {
    pub(crate) fn new(connection: Arc<dyn Now>) -> Self {
        Self(Kind::Other(connection))
    }

    fn connection(&self) -> &dyn Now {
        match &self.0 {
            Kind::Plain(socket) => socket,
            Kind::Other(connection) => &**connection,
        }
    }

    /// The socket that it runs over.
    pub(crate) fn socket(&self) -> &Socket {
        self.connection().socket()
    }

    /// See [`Now::read_now`].
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection().read_now(buffer)
    }

    /// See [`Now::write_now`].
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.connection().write_now(bytes)
    }

    /// Waits on this thread until there is something to read, or the time is over.
    pub(crate) fn wait_to_read(&self, limit: Duration) -> bool {
        self.socket().wait(PollFlags::IN, limit)
    }

    /// Waits on this thread until there is room to write, or the time is over.
    pub(crate) fn wait_to_write(&self, limit: Duration) -> bool {
        self.socket().wait(PollFlags::OUT, limit)
    }
}

/// A connection, whatever it runs over.
pub type BoxStream = Box<dyn Stream>;

impl Stream for DuplexStream {
    fn is_private(&self) -> bool {
        true
    }
}

/// A TCP connection. A clone is the same connection, which is closed with its last clone.
#[derive(Debug, Clone)]
pub struct Socket(Arc<TcpStream>);

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }
}

impl Stream for Socket {
    fn is_private(&self) -> bool {
        let peer = self.0.peer_addr();
        peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
    }

    fn direct(&self) -> Option<Direct> {
        Some(Direct(Kind::Plain(self.clone())))
    }
}

impl Now for Socket {
    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&*self.0, &mut *buffer)
        })?)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            send(&*self.0, bytes, SendFlags::NOSIGNAL)
        })?)
    }

    fn socket(&self) -> &Socket {
        self
    }
}

impl Socket {
    /// Reads what has come into the spare capacity of `bytes`, without waiting; 0 at the end of the
    /// connection.
    pub(crate) fn read_more_now(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&*self.0, spare_capacity(bytes))
        })?)
    }

    /// Writes what there is room for, without waiting.
    pub(crate) fn write_vectored_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            let mut nothing = SendAncillaryBuffer::default();
            sendmsg(&*self.0, slices, &mut nothing, SendFlags::NOSIGNAL)
        })?)
    }

    fn wait(&self, what: PollFlags, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        let mut these = [PollFd::new(&*self.0, what)];
        matches!(poll(&mut these, limit.as_ref()), Ok(1..))
    }
}

/// Repeats a call that needs readiness until it succeeds or there is none.
macro_rules! when {
    ($ready:expr, $now:expr) => {
        loop {
            ready!($ready)?;
            match $now {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        when!(
            self.0.poll_read_ready(cx),
            self.0.try_read_buf(buffer).map(|_| ())
        )
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        when!(self.0.poll_write_ready(cx), self.0.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        when!(
            self.0.poll_write_ready(cx),
            self.0.try_write_vectored(slices)
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(&*self.0, Shutdown::Write)?))
    }
}
