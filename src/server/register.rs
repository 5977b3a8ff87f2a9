//! Registers the server at balancers, so that it need not be named there: it says where it is, goes on
//! saying that it is there, hears how it is seen, and leaves in order.
//!
//! A balancer that cannot be reached, or does not let it in, is tried again for ever: both sides may
//! be started in any order, and again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::place::Place;
use crate::protocol::{Hello, Message, Proof, Refusal, RefusalCode, Register, Role, frame};
use crate::secret::Secret;
use crate::text::Printable;
use crate::transport::{BoxStream, Connect, Deadlines, ReadError, Reader, plain, until, write_all};

/// The first pause before a balancer is tried again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How long connecting, and each answer of a balancer, may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How often a balancer is told that the server is there, at least and at most, whatever it asks for.
const BEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How long a server must get no files before it is told: what a start takes, or a link that opens
/// again at once, alarms nobody.
const GRACE: Duration = Duration::from_secs(1);

/// How a server registers.
#[derive(Clone)]
pub struct Registering {
    /// The balancers.
    pub balancers: Vec<String>,
    /// What proves that it may.
    pub secret: Option<Secret>,
    /// The weight that it wants.
    pub weight: u32,
    /// What it is called where people look.
    pub name: Option<Arc<str>>,
    /// The address that balancers are to use.
    pub address: Arc<str>,
    /// How balancers are reached.
    pub connector: Arc<dyn Connect>,
    /// How long a balancer may take to let the server go.
    pub patience: Duration,
}

impl Registering {
    /// Registers everywhere until `stop` is cancelled, leaves, and cancels `left`.
    pub(super) async fn run(
        self,
        place: Arc<Place>,
        stop: CancellationToken,
        left: CancellationToken,
    ) {
        let mut members = JoinSet::new();
        for balancer in &self.balancers {
            let member = Member {
                balancer: balancer.as_str().into(),
                how: self.clone(),
                place: place.clone(),
            };
            members.spawn(member.stay(stop.clone()));
        }
        while members.join_next().await.is_some() {}
        stop.cancelled().await;
        left.cancel();
    }
}

/// The server as a member of one balancer's fleet.
struct Member {
    balancer: Arc<str>,
    how: Registering,
    place: Arc<Place>,
}

/// Why a registration ended, or was none.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The server has left.
    Left,
    /// The balancer does not let it in, or does no longer.
    Refused(Refusal),
    /// Anything else.
    Broken(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("the server has left"),
            Self::Refused(refusal) => write!(f, "{}", Printable(&refusal.reason)),
            Self::Broken(reason) => write!(f, "{}", Printable(reason)),
        }
    }
}

fn broken(error: impl fmt::Display) -> Ended {
    Ended::Broken(error.to_string())
}

/// A connection to a balancer that knows the server.
struct Session {
    reader: Reader<ReadHalf<BoxStream>>,
    write: WriteHalf<BoxStream>,
    beat: Duration,
    lasts: Duration,
}

impl Member {
    /// Registers, again and again, until `stop` is cancelled; then it leaves.
    async fn stay(self, stop: CancellationToken) {
        let balancer = &*self.balancer;
        let mut pause = PAUSE.0;
        let mut told: Option<String> = None;
        loop {
            let opening = stop.run_until_cancelled(self.register()).await;
            let ended = match opening {
                None => return,
                Some(Ok(session)) => {
                    (pause, told) = (PAUSE.0, None);
                    self.follow(session, &stop).await
                }
                Some(Err(ended)) => ended,
            };
            if ended == Ended::Left || stop.is_cancelled() {
                return;
            }
            // Once for each reason: a balancer may be away for days.
            let reason = ended.to_string();
            if told.as_ref() != Some(&reason) {
                if matches!(ended, Ended::Refused(_)) {
                    tracing::warn!(balancer, reason, "not registered; it is tried again");
                } else {
                    tracing::info!(balancer, reason, "not registered; it is tried again");
                }
                told = Some(reason);
            }
            let wait = pause.mul_f64(rand::rng().random_range(0.75..1.25));
            pause = (pause * 2).min(PAUSE.1);
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Connects and registers.
    async fn register(&self) -> Result<Session, Ended> {
        timeout(ANSWER, self.open())
            .await
            .unwrap_or_else(|_| Err(broken(format_args!("no answer in {ANSWER:?}"))))
    }

    async fn open(&self) -> Result<Session, Ended> {
        let Some(identity) = self.place.identity() else {
            return Err(broken("the directory cannot be used"));
        };
        let stream = self.how.connector.connect(&self.balancer).await;
        let stream = stream.map_err(|error| broken(plain(&error)))?;
        let (read, mut write) = tokio::io::split(stream);
        let mut reader = Reader::new(read, Deadlines::default());
        let mut out = Vec::new();
        frame::encode_preface(&mut out);
        let hello = Message::from(Hello {
            identity: Some(identity.clone()),
            instance: Some(self.place.instance.clone()),
            ..Hello::of(Role::Server)
        });
        frame::encode(&hello, 0, &mut out);
        write_all(&mut write, &out, ANSWER).await.map_err(broken)?;
        reader.preface().await.map_err(broken)?;
        let challenge = match next(&mut reader).await? {
            Message::Hello(hello) if hello.role == Role::Balancer => {
                hello.challenge.unwrap_or_default()
            }
            Message::Hello(_) => return Err(broken("it is no balancer")),
            other => return Err(with_hint(refused(other))),
        };
        let proof = self
            .how
            .secret
            .as_ref()
            .map(|secret| Proof::new(secret, &challenge, &self.how.address, &identity));
        let register = Message::Register(Box::new(Register {
            address: Some(self.how.address.clone()),
            weight: Some(self.how.weight),
            name: self.how.name.clone(),
            proof,
            ..Register::default()
        }));
        say(&mut write, &register).await?;
        let (name, address, lasts, beat) = match next(&mut reader).await? {
            Message::Registered {
                name,
                ttl_ms,
                beat_ms,
                address,
            } => (
                name,
                address.unwrap_or_default(),
                Duration::from_millis(ttl_ms),
                Duration::from_millis(beat_ms),
            ),
            other => return Err(refused(other)),
        };
        let balancer = &*self.balancer;
        tracing::info!(
            balancer,
            address = %Printable(&*address),
            ?lasts,
            "registered as {}",
            Printable(&*name)
        );
        Ok(Session {
            reader,
            write,
            beat: beat.clamp(BEAT.0, BEAT.1),
            lasts: lasts.clamp(BEAT.0, BEAT.1 * 3),
        })
    }

    /// Says that the server is there, and hears how it is seen, until the connection breaks or the
    /// server has left.
    async fn follow(&self, mut session: Session, stop: &CancellationToken) -> Ended {
        let balancer = &*self.balancer;
        let mut beats = interval(session.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaves_until: Option<Instant> = None;
        let mut gets_none: Option<(String, Instant)> = None;
        loop {
            let patience = until(leaves_until);
            let grace = until(gets_none.as_ref().map(|(_, due)| *due));
            let heard = tokio::select! {
                heard = next(&mut session.reader) => heard,
                _ = beats.tick() => {
                    // What is told of the host rides on the answers to probes.
                    let said = timeout(session.lasts, say(&mut session.write, &Message::Beat));
                    match said.await {
                        Ok(Ok(())) => continue,
                        Ok(Err(ended)) => return ended,
                        Err(_) => return broken("it reads nothing"),
                    }
                }
                () = stop.cancelled(), if leaves_until.is_none() => {
                    leaves_until = Some(Instant::now() + self.how.patience);
                    tracing::info!(balancer, "leaving");
                    let leave = Message::Leave { reason: "the server stops".to_owned() };
                    match say(&mut session.write, &leave).await {
                        Ok(()) => continue,
                        Err(ended) => return ended,
                    }
                }
                () = grace => {
                    if let Some((reason, _)) = gets_none.take() {
                        tracing::warn!(balancer, "gets no files: {}", Printable(reason));
                    }
                    continue;
                }
                () = patience => {
                    let waited = self.how.patience;
                    tracing::warn!(balancer, ?waited, "stopped before the balancer let it go");
                    return Ended::Left;
                }
            };
            match heard {
                Ok(Message::Seen { good: true, .. }) => {
                    gets_none = None;
                    tracing::info!(balancer, "gets files");
                }
                Ok(Message::Seen { reason, .. }) => {
                    let due = gets_none.map_or_else(|| Instant::now() + GRACE, |(_, due)| due);
                    gets_none = leaves_until.is_none().then_some((reason, due));
                }
                Ok(Message::Bye(_)) if leaves_until.is_some() => {
                    tracing::info!(balancer, "has left");
                    return Ended::Left;
                }
                Ok(other) => return refused(other),
                Err(ended) => return ended,
            }
        }
    }
}

/// What a message means that is not the expected one.
fn refused(message: Message) -> Ended {
    match message {
        Message::Bye(refusal) if refusal.code == RefusalCode::Stopping => broken(refusal.reason),
        Message::Bye(refusal) => Ended::Refused(refusal),
        _ => broken("it sent a message that a server does not expect"),
    }
}

/// What is to be done about a balancer that does not understand the greeting of a server.
fn with_hint(ended: Ended) -> Ended {
    match ended {
        Ended::Refused(refusal) if refusal.code == RefusalCode::Malformed => {
            Ended::Refused(Refusal::new(
                refusal.code,
                format!(
                    "{}: the balancer may be of a release that takes no registrations; upgrade it, or \
                     name this server there with --server",
                    refusal.reason
                ),
            ))
        }
        ended => ended,
    }
}

/// The next message. A balancer may be silent for as long as it likes: beats notice that it has gone.
async fn next(reader: &mut Reader<impl AsyncRead + Unpin>) -> Result<Message, Ended> {
    loop {
        match reader.frame().await {
            Ok(Some(frame)) if frame.content_len == 0 => return Ok(frame.message),
            Ok(Some(_)) => return Err(broken("it sent content that a server does not expect")),
            Ok(None) => return Err(broken("it closed the connection")),
            Err(ReadError::Idle(_)) => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

async fn say(write: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), Ended> {
    let mut out = Vec::new();
    frame::encode(message, 0, &mut out);
    write_all(write, &out, ANSWER).await.map_err(broken)
}
