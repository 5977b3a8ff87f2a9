//! The listener: HTTP/1.1 on a loopback address, with a bound on whatever a peer can make us keep
//! or wait for.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, lookup_host};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::protocol::limits::LINGER;
use crate::transport::{self, BoxStream, Places, Rest, Seat};

/// The most connections at once; then those that are silent or idle make way. An eighth of what the
/// process may open, if that is less.
pub const MAX_CONNECTIONS: usize = 2048;

/// The most connections at once where the process may open few files.
pub fn max_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 8)
        .unwrap_or(MAX_CONNECTIONS)
        .clamp(16, MAX_CONNECTIONS)
}

/// How long the head of a request may take, and how long a connection may be silent between two
/// requests.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes of the head of a request.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most headers of a request.
pub const MAX_HEADERS: usize = 64;

/// How much of a connection is held in memory in either direction.
const MAX_BUFFER: usize = 128 * 1024;

/// How much the system holds of what a peer has not read.
const SEND_BUFFER: usize = 128 * 1024;

/// How long a peer may read nothing of what it is sent.
pub const WRITE_STALL: Duration = Duration::from_secs(30);

/// How long requests that are under way may take when the listener is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Other machines could reach it.
    #[error(
        "the admin listener has no authentication, so it may not be reached from other machines: {0} is no loopback address"
    )]
    NotLoopback(String),
    /// The address is taken.
    #[error("port {port} is in use by another program")]
    InUse {
        /// The port.
        port: String,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Io {
        /// The address as it was given.
        address: String,
        /// What the system says.
        error: io::Error,
    },
}

/// Binds a loopback address; any other is refused.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse {
            port: address
                .rsplit_once(':')
                .map_or(address, |(_, port)| port)
                .to_owned(),
        },
        _ => BindError::Io {
            address: address.to_owned(),
            error,
        },
    };
    let addresses: Vec<SocketAddr> = lookup_host(address).await.map_err(failed)?.collect();
    // A name that means the loopback address and another one is none to rely on.
    if let Some(other) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        let named = if other.to_string() == address {
            address.to_owned()
        } else {
            format!("{address} ({other})")
        };
        return Err(BindError::NotLoopback(named));
    }
    let listener = TcpListener::bind(addresses.as_slice())
        .await
        .map_err(failed)?;
    // Connections get this from the listener that accepts them.
    sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER)
        .map_err(|error| failed(error.into()))?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Ends the connection that a request came on, when it is cancelled: whatever was not sent yet is
/// thrown away.
#[derive(Debug, Clone)]
pub(super) struct Hangup(pub(super) CancellationToken);

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Answers requests until `stop` is cancelled, and for a little more those that are under way.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let end = CancellationToken::new();
    let handle = {
        let (stop, end) = (stop.clone(), end.clone());
        move |stream, peer, seat| {
            connection(
                stream,
                peer,
                routes.clone(),
                stop.clone(),
                end.child_token(),
                seat,
            )
        }
    };
    let places = Arc::new(Places::new(max_connections()));
    transport::serve(listener, places, stop, tasks.clone(), handle).await;
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::debug!(connections = tasks.len(), "admin connections are cut off");
        end.cancel();
        tasks.wait().await;
    }
}

async fn connection(
    stream: BoxStream,
    peer: SocketAddr,
    routes: Router,
    stop: CancellationToken,
    end: CancellationToken,
    seat: Arc<Seat>,
) {
    let hangup = Hangup(end.clone());
    let routes = TowerToHyperService::new(routes);
    let asked = seat.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let work = AtWork::new(seat.clone());
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(hangup.clone());
        request.extensions_mut().insert(Peer(peer));
        let answering = routes.call(request);
        async move {
            answering
                .await
                .map(|answer| answer.map(|body| Working { body, _work: work }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    http.max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER);
    let serving = http.serve_connection(TokioIo::new(Impatient::new(stream)), service);
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = end.cancelled() => return,
        () = asked.asked_to_leave() => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                served = serving => served,
                () = end.cancelled() => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %error, "an admin connection ended");
    }
}

/// A request that is under way on a connection.
struct AtWork(Arc<Seat>);

impl AtWork {
    fn new(seat: Arc<Seat>) -> Self {
        seat.work();
        Self(seat)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.rest(Rest::Idle);
    }
}

/// The body of an answer: the request is under way until it has ended.
struct Working {
    body: axum::body::Body,
    _work: AtWork,
}

impl Body for Working {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A connection that fails when its peer reads nothing for [`WRITE_STALL`], and is read from for a
/// moment after its end, so that a peer that was refused in the middle of a file gets to see why.
struct Impatient {
    stream: BoxStream,
    /// When the patience ends, while the peer does not read.
    ends: Option<Pin<Box<Sleep>>>,
    /// When nothing more is read, once nothing more is written.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: BoxStream) -> Self {
        Self {
            stream,
            ends: None,
            lingers: None,
        }
    }

    /// What a write came to, or that it has taken too long.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.ends = None;
            return written;
        }
        let ends = self
            .ends
            .get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        ready!(ends.as_mut().poll(cx));
        ends.as_mut().reset(Instant::now() + WRITE_STALL);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
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
        slices: &[io::IoSlice<'_>],
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
