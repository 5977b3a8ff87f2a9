//! The session of a connection inside TLS: what its task polls, and what a job does without one.

use std::io::{self, IoSlice, Read, Write};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ConnectionCommon;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::TlsStream;

use super::wire::Wire;
use crate::stream::{Now, Socket};

/// The least bytes that may be encrypted and not sent yet: one record.
const LEAST_ENCRYPTED: usize = 16 * 1024;

/// The most of them. As many as a caller hands over at once are sent in one call. Beyond 128 KiB the
/// allocator of the C library would give the memory back to the system each time, and get it again.
const MOST_ENCRYPTED: usize = 112 * 1024;

/// A session, and the connection that carries it.
pub(super) struct Session {
    stream: TlsStream<Wire>,
    /// What the connection failed with behind bytes that were given before it.
    failed: Option<io::Error>,
}

/// Calls a function that is generic over the side of a session.
macro_rules! with {
    ($stream:expr, $side:ident($($more:expr),*)) => {
        match $stream {
            TlsStream::Client(stream) => {
                let (wire, session) = stream.get_mut();
                $side(wire, session, $($more),*)
            }
            TlsStream::Server(stream) => {
                let (wire, session) = stream.get_mut();
                $side(wire, session, $($more),*)
            }
        }
    };
}

impl Session {
    pub(super) fn new(stream: TlsStream<Wire>) -> Self {
        let mut session = Self {
            stream,
            failed: None,
        };
        session.make_room(0);
        session
    }

    pub(super) fn stream(&mut self) -> Pin<&mut TlsStream<Wire>> {
        Pin::new(&mut self.stream)
    }

    /// The same, where so many bytes will be written at once.
    pub(super) fn with_room(&mut self, bytes: usize) -> Pin<&mut TlsStream<Wire>> {
        self.make_room(bytes);
        self.stream()
    }

    /// Lets so many bytes be encrypted before they are sent, within the bounds: who hands over little
    /// at a time may be one of thousands, and needs little memory.
    fn make_room(&mut self, bytes: usize) {
        let limit = Some(bytes.clamp(LEAST_ENCRYPTED, MOST_ENCRYPTED));
        match &mut self.stream {
            TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(limit),
            TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(limit),
        }
    }

    /// Gives all that came, which may be many records.
    ///
    /// A peer that goes without a word of TLS has gone all the same: in each language that is spoken
    /// here, messages say themselves where they end, so nobody in between can cut one short unseen.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        loop {
            let until_now = buffer.filled().len();
            let read = match self.stream().poll_read(cx, buffer) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            };
            let came = buffer.filled().len();
            let is_over =
                came == until_now || buffer.remaining() == 0 || !self.stream.get_ref().0.has_more();
            match read {
                Poll::Ready(Ok(())) if !is_over => {}
                Poll::Ready(Err(error)) if came > before => {
                    self.failed = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if came > before => return Poll::Ready(Ok(())),
                read => return read,
            }
        }
    }

    /// Reads what has come, without waiting, as [`Self::poll_read`] does.
    pub(super) fn read_now(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match with!(&mut self.stream, read(socket, buffer)) {
            (0, Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            (0, Err(error)) => Err(error),
            (came, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                self.failed = Some(error);
                Ok(came)
            }
            (came, _) => Ok(came),
        }
    }

    /// Encrypts and sends what there is room for, without waiting. What is taken and not sent goes
    /// before whatever is written next.
    pub(super) fn write_now(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        self.make_room(bytes.len());
        with!(&mut self.stream, write(socket, bytes))
    }
}

/// Reads from the session, and from the socket until its records are decrypted. Gives how much came,
/// and why it was no more.
fn read<C, S>(
    wire: &mut Wire,
    session: &mut C,
    socket: &Socket,
    buffer: &mut [u8],
) -> (usize, io::Result<()>)
where
    C: DerefMut<Target = ConnectionCommon<S>>,
{
    let mut came = 0;
    loop {
        let rest = buffer.get_mut(came..).unwrap_or_default();
        if rest.is_empty() {
            return (came, Ok(()));
        }
        match session.reader().read(rest) {
            Ok(0) => return (came, Ok(())),
            Ok(read) => {
                came += read;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return (came, Err(error)),
        }
        // What came is worth more to the caller now than together with more.
        let filled = if wire.has_more() {
            Ok(1)
        } else if came > 0 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            wire.records().fill_now(socket)
        };
        let decrypted = filled.and_then(|_| {
            session.read_tls(wire.records())?;
            let decrypted = session.process_new_packets();
            decrypted.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        if let Err(error) = decrypted {
            return (came, Err(error));
        }
    }
}

fn write<C, S>(_: &mut Wire, session: &mut C, socket: &Socket, bytes: &[u8]) -> io::Result<usize>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
{
    flush(session, socket)?;
    let taken = session.writer().write(bytes)?;
    match flush(session, socket) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ if taken == 0 && !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(taken),
    }
}

fn flush<C, S>(session: &mut C, socket: &Socket) -> io::Result<()>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
{
    while session.wants_write() {
        session.write_tls(&mut ToSocket(socket))?;
    }
    Ok(())
}

/// Where records go that are sent without waiting.
struct ToSocket<'a>(&'a Socket);

impl Write for ToSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_now(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored_now(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
