//! The listener: HTTP/1.1 on a loopback address. Everything that a peer can make it keep or wait
//! for is bounded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::IntoResponse;
use http_body::Body;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, lookup_host};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credentials::pass_of;
use super::error::ApiError;
use super::impatient::Impatient;
use super::limits::AdminLimits;
use crate::access::{At, Denied, Lock, Pass};
use crate::protocol::{Refusal, RefusalCode};
use crate::transport::{
    self, BoxStream, MAX_HEAD, MAX_HEADERS, Places, ReadError, Rest, Seat, tls,
};

/// Bytes of a connection held in memory in either direction.
const MAX_BUFFER: usize = 128 * 1024;

/// Bytes that the kernel holds of what a peer has not read.
const SEND_BUFFER: usize = 128 * 1024;

/// Why the admin listener cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Other machines could reach it.
    #[error(
        "other machines may reach the admin listener only with users and over TLS: {0} is not a \
         loopback address"
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
        /// The error of the system.
        error: io::Error,
    },
}

/// Binds a loopback address; any other is refused.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), BindError> {
    let addresses = resolved(address).await?;
    // Refuses a name that also resolves to another address: which one is bound would be chance.
    if let Some(other) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        let named = if other.to_string() == address {
            address.to_owned()
        } else {
            format!("{address} ({other})")
        };
        return Err(BindError::NotLoopback(named));
    }
    bind_resolved(address, &addresses).await
}

/// Binds any address: for a listener that has only what everybody may read.
pub async fn bind_anywhere(address: &str) -> Result<(TcpListener, SocketAddr), BindError> {
    bind_resolved(address, &resolved(address).await?).await
}

async fn resolved(address: &str) -> Result<Vec<SocketAddr>, BindError> {
    let found = lookup_host(address).await;
    Ok(found.map_err(|error| failed(address, error))?.collect())
}

async fn bind_resolved(
    address: &str,
    addresses: &[SocketAddr],
) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |error| failed(address, error);
    let listener = TcpListener::bind(addresses).await.map_err(failed)?;
    // Accepted connections inherit this from the listener.
    sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER)
        .map_err(|error| failed(error.into()))?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn failed(address: &str, error: io::Error) -> BindError {
    match error.kind() {
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
    }
}

/// Cancelled to cut off the connection that a request came on: unsent bytes are thrown away.
#[derive(Debug, Clone)]
pub(super) struct Hangup(pub(super) CancellationToken);

/// Answers requests until `stop` is cancelled; those that are under way then have a grace. The lock
/// says who each connection is.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    lock: Lock,
    limits: AdminLimits,
    stop: CancellationToken,
) {
    serve_secure(listener, None, routes, lock, limits, stop).await;
}

/// The same over TLS, where there is a door for it.
pub async fn serve_secure(
    listener: TcpListener,
    tls: Option<Arc<tls::Door>>,
    routes: Router,
    lock: Lock,
    limits: AdminLimits,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let end = CancellationToken::new();
    let handle = {
        let stop = stop.clone();
        let end = end.clone();
        move |stream, peer, seat: Arc<Seat>| {
            let phases = Phases {
                stop: stop.clone(),
                end: end.child_token(),
            };
            let (routes, tls, lock) = (routes.clone(), tls.clone(), lock.clone());
            async move {
                let (stream, at) = match tls {
                    None => (stream, At::plain(peer)),
                    Some(tls) => match secure(stream, peer, &tls, limits, &phases, &seat).await {
                        Ok(Some(arrived)) => arrived,
                        Ok(None) => return,
                        Err(error) => return seat.log_end(Err(error)),
                    },
                };
                let pass = lock.by_place(at);
                let who = Asker { at, pass, lock };
                connection(stream, who, routes, limits, phases, seat).await;
            }
        }
    };
    let places = Arc::new(Places::new(limits.connections));
    transport::serve(listener, places, stop, tasks.clone(), handle).await;
    tasks.close();
    if timeout(limits.grace, tasks.wait()).await.is_err() {
        tracing::debug!(connections = tasks.len(), "admin connections are cut off");
        end.cancel();
        tasks.wait().await;
    }
}

/// When a connection ends: after the request that is under way, or at once.
struct Phases {
    stop: CancellationToken,
    end: CancellationToken,
}

/// Who is at the other end, as far as it is known before a request.
struct Asker {
    at: At,
    /// That of the place.
    pass: Pass,
    lock: Lock,
}

/// What HTTP in plain text is answered where TLS is required.
const ONLY_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
    Content-Length: 140\r\nConnection: close\r\n\r\n\
    {\"error\":\"plain HTTP is refused: this listener requires https://\",\
    \"hint\":\"pass --ca FILE with the authority of the balancer's certificate\"}\n";

/// Lets a connection come in by TLS, or in plain text where that is allowed; `None` if it has gone or
/// was sent away.
async fn secure(
    stream: BoxStream,
    peer: SocketAddr,
    tls: &tls::Door,
    limits: AdminLimits,
    phases: &Phases,
    seat: &Seat,
) -> Result<Option<(BoxStream, At)>, ReadError> {
    let arrived = tokio::select! {
        () = phases.stop.cancelled() => return Ok(None),
        () = phases.end.cancelled() => return Ok(None),
        () = seat.asked_to_leave() => return Err(ReadError::Crowded),
        arrived = tls.admit(stream, limits.head) => arrived?,
    };
    match arrived {
        tls::Arrived::Gone => Ok(None),
        tls::Arrived::Secure(stream, _) => Ok(Some((stream, At::encrypted(peer)))),
        tls::Arrived::Plain(stream) if !tls.is_required() => Ok(Some((stream, At::plain(peer)))),
        tls::Arrived::Plain(mut stream) => {
            // It may not read this; it is refused all the same.
            let _ = timeout(limits.write_stall, async {
                stream.write_all(ONLY_HTTPS).await?;
                stream.shutdown().await
            })
            .await;
            let reason = "plain HTTP came, and TLS is required here";
            let refusal = Refusal::new(RefusalCode::Forbidden, reason);
            Err(ReadError::Refused(refusal))
        }
    }
}

async fn connection(
    stream: BoxStream,
    who: Asker,
    routes: Router,
    limits: AdminLimits,
    Phases { stop, end }: Phases,
    seat: Arc<Seat>,
) {
    let asked = seat.clone();
    let service = answering(routes, Hangup(end.clone()), who, seat);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head);
    http.max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER);
    let serving = http.serve_connection(
        TokioIo::new(Impatient::new(stream, limits.write_stall)),
        service,
    );
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

type HttpRequest = hyper::Request<Incoming>;
type Answer = Response<Working>;

/// Waits for the end of a token.
type Ended = Pin<Box<dyn Future<Output = Denied> + Send>>;

/// Answers the requests of one connection by these routes.
fn answering(
    routes: Router,
    hangup: Hangup,
    who: Asker,
    seat: Arc<Seat>,
) -> impl Service<HttpRequest, Response = Answer, Error = Infallible, Future: Send> {
    let routes = TowerToHyperService::new(routes);
    service_fn(move |request: HttpRequest| {
        let work = AtWork::new(seat.clone());
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(hangup.clone());
        let pass = pass_of(&who.lock, who.at, &who.pass, request.headers());
        request.extensions_mut().insert(who.at);
        request.extensions_mut().insert(pass.clone());
        let answering = routes.call(request);
        async move {
            let (answer, ended) = if pass.user().is_some() {
                let mut ended: Ended = Box::pin(async move { pass.ended().await });
                tokio::select! {
                    answer = answering => (answer?, Some(ended)),
                    // This answer is not broken off.
                    denied = &mut ended => (ApiError::denied(&denied).into_response(), None),
                }
            } else {
                (answering.await?, None)
            };
            Ok(answer.map(|body| Working {
                body,
                ended,
                _work: work,
            }))
        }
    })
}

/// Marks the connection's seat as busy while a request is under way.
struct AtWork(Arc<Seat>);

impl AtWork {
    fn new(seat: Arc<Seat>) -> Self {
        seat.know();
        seat.work();
        Self(seat)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.rest(Rest::Idle);
    }
}

/// The body of an answer. The request is under way until the body has ended.
struct Working {
    body: axum::body::Body,
    /// The token of whoever asked has ended: the answer breaks off.
    ended: Option<Ended>,
    _work: AtWork,
}

impl Body for Working {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let working = self.get_mut();
        if let Some(ended) = &mut working.ended
            && let Poll::Ready(denied) = ended.as_mut().poll(cx)
        {
            working.ended = None;
            return Poll::Ready(Some(Err(axum::Error::new(denied))));
        }
        Pin::new(&mut working.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
