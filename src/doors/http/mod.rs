//! The doorway for agents over HTTP: tokens by OAuth 2.0, figures over WebSocket, and figures that are
//! posted. It has its own listener, since agents are no operators.

mod answers;
mod limits;
mod pace;
mod socket;
mod token;
mod upgrade;
mod who;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::limits::{HttpLimits, MAX_CLAIMS, MAX_CONNECTIONS, MAX_MESSAGE};

use self::answers::{Answer, json_answer, refusal};
use self::socket::{Agent, Kind, Ones, identity, told};
use self::who::{Access, SentAway, Who};
use super::known::Known;
use super::refused::Refused;
use super::words::{self, INGEST_EVERY};
use crate::access::{At, Lock};
use crate::fleet::{DoorName, Fleet};
use crate::fleet_core::Identity;
use crate::protocol::is_member_name;
use crate::transport::{
    self, BoxStream, HttpStream, MAX_HEAD, MAX_HEADERS, Places, Rest, Seat, tls,
};

/// The most agents with a token that post.
const MAX_PROVED: usize = 16 * 1024;

/// A longer silence is no interval.
const LONG: Duration = Duration::from_mins(10);

/// Bytes of a connection that are held in memory in either direction.
const MAX_BUFFER: usize = 32 * 1024;

/// The doorway for agents over HTTP, bound and not open yet.
pub struct AgentsHttp {
    /// Where they come in.
    pub listener: TcpListener,
    /// Their TLS, where the balancer has some.
    pub tls: Option<Arc<tls::Door>>,
    /// Who may tell something without a token.
    pub from: Vec<IpNet>,
    /// Whether lines of shells' histories are taken.
    pub commands: bool,
    /// Bounds and waits.
    pub limits: HttpLimits,
}

/// What all connections share.
struct Shared {
    access: Access,
    fleet: Fleet,
    tls: Option<Arc<tls::Door>>,
    commands: bool,
    limits: HttpLimits,
    ones: Ones,
    claims: Mutex<Known<Identity>>,
    proved: Mutex<Known<Identity>>,
    began: Instant,
    stop: CancellationToken,
}

/// A connection that becomes WebSocket once its handshake is answered.
type Next = Mutex<Option<(OnUpgrade, Agent)>>;

impl AgentsHttp {
    /// Serves until `stop` is cancelled.
    pub async fn run(self, lock: Lock, fleet: Fleet, stop: CancellationToken) {
        let Self {
            listener,
            tls,
            from,
            commands,
            limits,
        } = self;
        let shared = Arc::new(Shared {
            access: Access { lock, from },
            fleet,
            tls,
            commands,
            limits,
            ones: Ones::default(),
            claims: Mutex::new(Known::new(MAX_CLAIMS)),
            proved: Mutex::new(Known::new(MAX_PROVED)),
            began: Instant::now(),
            stop: stop.clone(),
        });
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let places = Arc::new(Places::new(limits.connections));
        let handle = {
            let end = end.clone();
            move |stream, peer, seat: Arc<Seat>| {
                let (shared, end) = (shared.clone(), end.clone());
                async move {
                    end.run_until_cancelled(shared.connection(stream, peer, seat))
                        .await;
                }
            }
        };
        transport::serve(listener, places, stop, tasks.clone(), handle).await;
        tasks.close();
        if timeout(limits.grace * 2, tasks.wait()).await.is_err() {
            end.cancel();
            tasks.wait().await;
        }
    }
}

impl Shared {
    /// One connection.
    async fn connection(self: Arc<Self>, stream: BoxStream, peer: SocketAddr, seat: Arc<Seat>) {
        let Some((stream, at)) = self.secure(stream, peer, &seat).await else {
            return;
        };
        let next: Arc<Next> = Arc::default();
        let service = {
            let (shared, next, seat) = (self.clone(), next.clone(), seat.clone());
            service_fn(move |request: Request<Incoming>| {
                let (shared, next, seat) = (shared.clone(), next.clone(), seat.clone());
                async move {
                    seat.work();
                    let answer = shared.answer(request, at, &next, &seat).await;
                    seat.rest(Rest::Idle);
                    Ok::<_, Infallible>(answer)
                }
            })
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_BUFFER);
        let stream = HttpStream::new(stream, self.limits.stall);
        let patience = stream.patience();
        let serving = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = seat.asked_to_leave() => return,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, peer = %peer, "a connection of an agent ended");
        }
        let next = next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((upgrade, agent)) = next else { return };
        if let Ok(Ok(upgraded)) = timeout(self.limits.stall, upgrade).await {
            seat.work();
            // Old agents never read.
            patience.begin();
            let stop = self.stop.clone();
            agent.serve(upgraded, self.limits, stop).await;
        }
    }

    /// Lets a connection come in by TLS, where there is some; `None` if it was sent away.
    async fn secure(
        &self,
        stream: BoxStream,
        peer: SocketAddr,
        seat: &Seat,
    ) -> Option<(BoxStream, At)> {
        let Some(tls) = &self.tls else {
            return Some((stream, At::plain(peer)));
        };
        let arrived = tokio::select! {
            () = self.stop.cancelled() => return None,
            () = seat.asked_to_leave() => return None,
            arrived = tls.admit(stream, self.limits.head) => arrived,
        };
        match arrived {
            Ok(tls::Arrived::Secure(stream, _)) => Some((stream, At::encrypted(peer))),
            Ok(tls::Arrived::Plain(stream)) if !tls.is_required() => {
                Some((stream, At::plain(peer)))
            }
            Ok(tls::Arrived::Plain(stream)) => {
                let doors = self.fleet.doors();
                doors.refused(DoorName::Http, "plain text where TLS is required", &peer);
                self.send_away(stream).await;
                None
            }
            Ok(tls::Arrived::Gone) => None,
            Err(error) => {
                tracing::debug!(%error, peer = %peer, "an agent's TLS handshake failed");
                self.fleet
                    .doors()
                    .refused(DoorName::Http, "no TLS handshake", &peer);
                None
            }
        }
    }

    /// Tells a peer in plain text that this takes TLS. It may not read it.
    async fn send_away(&self, stream: BoxStream) {
        let body = json!({
            "error": "plain HTTP is refused: this listener requires https:// and wss://",
            "hint": "trust the authority of the balancer's certificate, `bilico agent --to wss://…` by \
                     --ca FILE; a program that speaks no TLS comes through a tunnel",
        });
        let body = format!("{body}\n");
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = HttpStream::new(stream, self.limits.grace);
        let telling = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        };
        let _ = timeout(self.limits.grace, telling).await;
    }

    /// Answers a request, and counts it.
    async fn answer(&self, request: Request<Incoming>, at: At, next: &Next, seat: &Seat) -> Answer {
        let (counted, mut answer) = self.route(request, at, next).await;
        match counted {
            // What comes over a WebSocket is counted by itself.
            Ok(()) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => seat.know(),
            Ok(()) => {
                seat.know();
                self.fleet.doors().took(DoorName::Http);
            }
            Err(Refused(reason)) => {
                let doors = self.fleet.doors();
                doors.refused(DoorName::Http, reason, &at.address());
                // A body that nobody has read would be taken for the next request.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
        }
        answer
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        at: At,
        next: &Next,
    ) -> (Result<(), Refused>, Answer) {
        if request.headers().contains_key(header::ORIGIN) {
            let error = "web pages may not use this listener: it is for agents";
            let answer = refusal(
                StatusCode::FORBIDDEN,
                error,
                "leave out the header `Origin`",
            );
            return (Err(Refused("from a web page")), answer);
        }
        let path = request.uri().path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let kind = match path {
            "/token" => return self.token(request, at).await,
            "/ingest" => return self.ingest(request, at).await,
            "/metrics" => Kind::Native,
            "/crd" => Kind::Crd,
            "/network" => Kind::Network,
            "/history" => Kind::History,
            _ => {
                let hint = "expected POST /token, POST /ingest, or a WebSocket at /metrics, /crd/, \
                            /network/ or /history/";
                let answer = refusal(StatusCode::NOT_FOUND, "there is no such path", hint);
                return (Err(Refused("an unknown path")), answer);
            }
        };
        match self.upgrade(request, at, kind, next) {
            Ok(answer) => (Ok(()), answer),
            Err(SentAway(refused, answer)) => (Err(refused), *answer),
        }
    }

    /// Begins a WebSocket.
    fn upgrade(
        &self,
        mut request: Request<Incoming>,
        at: At,
        kind: Kind,
        next: &Next,
    ) -> Result<Answer, SentAway> {
        let who = self.access.who(at, request.headers())?;
        if kind == Kind::History && !self.commands {
            let error = "this balancer takes no users' commands";
            let hint = "it would with --agents-commands N; they may have passwords in them";
            let answer = refusal(StatusCode::FORBIDDEN, error, hint);
            return Err(SentAway(
                Refused("commands are not taken"),
                Box::new(answer),
            ));
        }
        let shaken = upgrade::handshake(request.method(), request.headers());
        let answer =
            shaken.map_err(|answer| SentAway(Refused("no WebSocket handshake"), answer))?;
        let (id, ..) = identity(&who);
        let Some(one) = self.ones.one(id) else {
            let error = "this agent has too many connections";
            let hint = "end those that are not needed";
            let answer = refusal(StatusCode::TOO_MANY_REQUESTS, error, hint);
            return Err(SentAway(
                Refused("too many connections of one agent"),
                Box::new(answer),
            ));
        };
        let agent = Agent {
            kind,
            who,
            at,
            fleet: self.fleet.clone(),
            _one: one,
        };
        let upgrade = hyper::upgrade::on(&mut request);
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, agent));
        Ok(answer)
    }

    /// `POST /token`.
    async fn token(&self, request: Request<Incoming>, at: At) -> (Result<(), Refused>, Answer) {
        match self.body(request, token::MAX_FORM).await {
            Ok((headers, body)) => token::answer(&self.access, at, &headers, &body).await,
            Err(SentAway(refused, answer)) => (Err(refused), *answer),
        }
    }

    /// `POST /ingest`.
    async fn ingest(&self, request: Request<Incoming>, at: At) -> (Result<(), Refused>, Answer) {
        match self.ingested(request, at).await {
            Ok(()) => (
                Ok(()),
                json_answer(StatusCode::OK, &json!({"status": "ok"})),
            ),
            Err(SentAway(refused, answer)) => (Err(refused), *answer),
        }
    }

    async fn ingested(&self, request: Request<Incoming>, at: At) -> Result<(), SentAway> {
        let who = self.access.who(at, request.headers())?;
        let (_, body) = self.body(request, MAX_MESSAGE).await?;
        let (name, facts) = words::ingest(&body).map_err(unprocessable)?;
        let (mut told, posted) = match &who {
            Who::Proved(..) => (told(&who, at, facts, INGEST_EVERY), &self.proved),
            Who::Claimed(_) => {
                if !is_member_name(&name) {
                    return Err(unprocessable(Refused("a client without a name")));
                }
                let mut told = told(&who, at, facts, INGEST_EVERY);
                told.who = Identity::Instance((&*name).into());
                told.name = Some(name.into());
                (told, &self.claims)
            }
        };
        let gap = self.may_post(posted, &told.who).map_err(unprocessable)?;
        // It may have been told another interval than usual.
        told.every = words::interval(gap, INGEST_EVERY, LONG);
        let taken = self.fleet.told(told);
        taken.map_err(|why| unprocessable(why.into()))
    }

    /// Whether this one may post now, and how long ago it did before.
    fn may_post(
        &self,
        posted: &Mutex<Known<Identity>>,
        who: &Identity,
    ) -> Result<Option<Duration>, Refused> {
        let now = self.began.elapsed();
        let mut posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
        posted.may(who, now, || {
            let there = self.fleet.ids();
            move |who: &Identity| there.contains(&who.to_string())
        })?;
        Ok(posted.took(who, 0, now))
    }

    /// The headers and the body of a `POST` request.
    async fn body(
        &self,
        request: Request<Incoming>,
        most: usize,
    ) -> Result<(axum::http::HeaderMap, axum::body::Bytes), SentAway> {
        if request.method() != Method::POST {
            let mut answer = refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path takes POST only",
                "send the request as POST",
            );
            let allow = HeaderValue::from_static("POST");
            answer.headers_mut().insert(header::ALLOW, allow);
            return Err(SentAway(Refused("another method"), Box::new(answer)));
        }
        let (head, body) = request.into_parts();
        match timeout(self.limits.body, to_bytes(Body::new(body), most)).await {
            Ok(Ok(body)) => Ok((head.headers, body)),
            Ok(Err(_)) => {
                let error = format!("the body is broken off, or larger than {most} bytes");
                let answer = refusal(StatusCode::PAYLOAD_TOO_LARGE, &error, "send less");
                Err(SentAway(Refused::TOO_LONG, Box::new(answer)))
            }
            Err(_) => {
                let error = "the body takes too long";
                let answer = refusal(StatusCode::REQUEST_TIMEOUT, error, "send it at once");
                Err(SentAway(Refused("too slow"), Box::new(answer)))
            }
        }
    }
}

/// The answer to a body that is not taken, with `detail` where the first system's programs look.
fn unprocessable(refused: Refused) -> SentAway {
    let Refused(reason) = refused;
    let status = match refused {
        Refused::TOO_OFTEN => StatusCode::TOO_MANY_REQUESTS,
        Refused::TOO_MANY_SOURCES | Refused::TOO_MANY_MEMBERS => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let detail = json!([{"type": "value_error", "loc": ["body"], "msg": reason}]);
    let answer = json_answer(status, &json!({"error": reason, "detail": detail}));
    SentAway(refused, Box::new(answer))
}

#[cfg(test)]
mod tests;
