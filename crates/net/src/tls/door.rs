//! Lets connections in: secure ones, and plain ones where they are allowed.

use std::future::poll_fn;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::thread::available_parallelism;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::FIRST_BYTE;
use super::error::HandshakeError;
use super::gauge::Gauge;
use super::prefixed::Prefixed;
use super::secured::Secured;
use super::settings::Current;
use super::stream::Inside;
use super::wire::Wire;
use crate::stream::BoxStream;

/// How long a handshake may take, with the wait for its turn.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a listener speaks TLS. A listener without it has no [`Door`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// TLS and plain text, as the client begins.
    Optional,
    /// TLS alone.
    Required,
}

/// Where connections of a listener with TLS come in.
///
/// A handshake is work for the processor before anybody is known, and one peer can ask for any number
/// of them. So they take turns, on half of the processors at most. Nobody has a turn while a peer is
/// waited for: those that stall hold nobody else up.
#[derive(Debug)]
pub struct Door {
    mode: Mode,
    config: Current<ServerConfig>,
    turns: Semaphore,
    gauge: Arc<Gauge>,
}

/// A connection that has come in.
pub enum Arrived {
    /// Inside TLS.
    Secure(BoxStream, Box<Secured>),
    /// In plain text. Whether that is allowed is said by [`Door::is_required`].
    Plain(BoxStream),
    /// It was closed before its first byte.
    Gone,
}

impl Door {
    /// A door that begins with this configuration.
    pub fn new(mode: Mode, config: ServerConfig, gauge: Arc<Gauge>) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            mode,
            config: Current::new(config),
            turns: Semaphore::new((processors / 2).max(1)),
            gauge,
        }
    }

    /// Whether plain text is refused.
    pub fn is_required(&self) -> bool {
        self.mode == Mode::Required
    }

    /// Uses another configuration from now on, with a memory of sessions of its own. Connections
    /// that have come in stay.
    pub fn renew(&self, config: ServerConfig) {
        self.config.set(config);
    }

    /// Waits for a connection's first byte, which says whether it is TLS, and makes the handshake.
    /// The byte is read and given to TLS: nothing is looked at twice.
    pub async fn admit(
        &self,
        mut stream: BoxStream,
        first_byte: Duration,
    ) -> Result<Arrived, HandshakeError> {
        let mut first = [0];
        let read = timeout(first_byte, stream.read(&mut first)).await;
        let read = read.map_err(|_| HandshakeError::Silent(first_byte))?;
        if read.map_err(HandshakeError::Io)? == 0 {
            return Ok(Arrived::Gone);
        }
        let [first] = first;
        let stream: BoxStream = Box::new(Prefixed::new(first, stream));
        if first != FIRST_BYTE {
            self.gauge.plain.fetch_add(1, Ordering::Relaxed);
            return Ok(Arrived::Plain(stream));
        }
        let shaken = timeout(HANDSHAKE_TIMEOUT, self.shake(stream)).await;
        let shaken = shaken.unwrap_or(Err(HandshakeError::Timeout(HANDSHAKE_TIMEOUT)));
        let count = if shaken.is_ok() {
            &self.gauge.done
        } else {
            &self.gauge.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
        shaken
    }

    async fn shake(&self, stream: BoxStream) -> Result<Arrived, HandshakeError> {
        let greeted = LazyConfigAcceptor::new(Acceptor::default(), Wire::new(stream)).await?;
        // It is never closed; if it were, more handshakes at once would do no harm.
        let turn = self.turns.acquire().await;
        let mut accepting = greeted.into_stream(self.config.get());
        // The first poll does the work; what is left to do waits for the peer.
        let answered = poll_fn(|cx| Poll::Ready(Pin::new(&mut accepting).poll(cx))).await;
        drop(turn);
        let accepted = match answered {
            Poll::Ready(accepted) => accepted?,
            Poll::Pending => accepting.await?,
        };
        let secured = Secured::of(accepted.get_ref().1)?;
        let stream = Box::new(Inside::new(accepted));
        Ok(Arrived::Secure(stream, Box::new(secured)))
    }
}
