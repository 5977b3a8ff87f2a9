//! A connection of a member of the fleet: a server that registers, or an agent.
//!
//! A member tells that it is there, and a server is told how it is seen. What it tells is shown and
//! recorded; who gets files is decided by the balancer's own probes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::introduction::refused;
use super::join::{self, Agent, Barred};
use super::native::Parting;
use super::receipts::Backpressure;
use super::session::{Session, Voice};
use crate::fleet::{DoorName, Membership};
use crate::fleet_core::registry::{BEATS_IN_LEASE, DEFAULT_LEASE, NotRegistered, Seen};
use crate::fleet_core::{Facts, Told};
use crate::protocol::limits::MAX_BEAT;
use crate::protocol::{Hello, Message, ProtocolError, Refusal, RefusalCode, Role, object};
use crate::text::excerpt;
use crate::transport::ReadError;

/// The shortest time between two beats of a member. Earlier ones wait.
const SHORTEST: Duration = Duration::from_secs(1);

/// Somebody who has joined the fleet.
enum Joined {
    Server(Membership),
    Agent(Agent),
}

impl<R: AsyncRead + Unpin> Session<'_, R> {
    /// Serves a server or an agent that has said hello.
    pub(super) async fn be_member(&mut self, hello: Hello) -> Result<Parting, ReadError> {
        let seat = self.seat.clone();
        let time = self.door.limits.greeting;
        let joined = tokio::select! {
            () = seat.asked_to_leave() => Err(ReadError::Crowded),
            joined = timeout(time, self.join(hello)) => {
                joined.unwrap_or(Err(ReadError::Idle(time)))
            }
        };
        let Some(joined) = joined? else {
            return Ok(Parting::Gone);
        };
        seat.know();
        seat.work();
        let voice = self.voice();
        let backpressure = self.backpressure.clone();
        let telling = async {
            match &joined {
                Joined::Server(membership) => {
                    tell_seen(&voice, &backpressure, membership.seen()).await;
                }
                Joined::Agent(_) => std::future::pending().await,
            }
        };
        let pass = self.pass.clone();
        let ended = async {
            match pass.user() {
                Some(_) => pass.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = self.beats(&joined) => result,
            () = telling => Ok(Parting::Stopped),
            denied = ended => Err(refused(&denied)),
        }
    }

    /// Lets somebody join, or says why not; `None` if they have gone.
    async fn join(&mut self, hello: Hello) -> Result<Option<Joined>, ReadError> {
        let joining = &self.door.joining;
        let at = self.at;
        let bar = |barred: Barred| {
            join::count(joining, &barred, at);
            ReadError::Refused(barred.refusal())
        };
        if let (Some(token), Role::Agent) = (&hello.token, hello.role) {
            let pass = self.door.lock().by_token(at, token);
            self.pass = pass.map_err(|denied| {
                joining
                    .fleet
                    .doors()
                    .refused(DoorName::Join, "wrong token", &at.address());
                refused(&denied)
            })?;
            self.of_user = self.pass.session().map_err(ReadError::Refused)?;
        }
        join::may_ask(joining, at, &hello, &self.pass).map_err(bar)?;
        let Ok(_place) = joining.places.try_acquire() else {
            let reason = "too many registrations under way";
            let doors = joining.fleet.doors();
            doors.refused(DoorName::Join, reason, &at.address());
            return Err(ReadError::Refused(Refusal::new(RefusalCode::Busy, reason)));
        };
        let challenge: Arc<str> = format!("{:032x}", rand::random::<u128>()).into();
        self.say(Message::from(Hello {
            locked: self.door.lock().is_locked().then_some(true),
            user: self.pass.user().map(|user| user.text().clone()),
            challenge: Some(challenge.clone()),
            ..Hello::of(Role::Balancer)
        }));
        let said = match self.reader.hello().await?.map(|frame| frame.message) {
            Some(Message::Register(said)) => *said,
            Some(_) => {
                let error = "a member of the fleet begins with `register`";
                return Err(ProtocolError::Unexpected(error).into());
            }
            None => return Ok(None),
        };
        let (joined, registered) = if hello.role == Role::Server {
            let registration = join::server(joining, at, &hello, &challenge, said).map_err(bar)?;
            let membership = joining.fleet.register(registration).map_err(|error| {
                let doors = joining.fleet.doors();
                doors.refused(DoorName::Join, why_not(&error), &at.address());
                ReadError::Refused(Refusal::new(RefusalCode::Conflict, error.to_string()))
            })?;
            let registered = membership.registered();
            let message = Message::Registered {
                name: registered.name.clone(),
                ttl_ms: millis(registered.lasts),
                beat_ms: millis(registered.beat),
                address: Some(registered.address.clone()),
            };
            (Joined::Server(membership), message)
        } else {
            let agent = join::agent(joining, at, &self.pass, &hello, &challenge, said);
            let agent = agent.map_err(bar)?;
            let message = Message::Registered {
                name: agent_name(&agent),
                ttl_ms: millis(DEFAULT_LEASE),
                beat_ms: millis(DEFAULT_LEASE / BEATS_IN_LEASE),
                address: None,
            };
            (Joined::Agent(agent), message)
        };
        joining.fleet.doors().took(DoorName::Join);
        self.say(registered);
        Ok(Some(joined))
    }

    /// Takes what a member tells, for as long as it goes on to.
    async fn beats(&mut self, joined: &Joined) -> Result<Parting, ReadError> {
        let mut last: Option<Instant> = None;
        loop {
            self.backpressure.wait_for_room().await;
            let seat = self.seat.clone();
            let next = tokio::select! {
                biased;
                () = self.door.shutdown.draining.cancelled() => {
                    self.say(Message::Bye(self.door.farewell()));
                    return Ok(Parting::Stopped);
                }
                next = timeout(DEFAULT_LEASE, self.reader.frame()) => next,
                () = seat.asked_to_leave() => return Err(ReadError::Crowded),
            };
            let Some(frame) = next.unwrap_or(Err(ReadError::Idle(DEFAULT_LEASE)))? else {
                return Ok(Parting::Gone);
            };
            match frame.message {
                Message::Beat => {
                    let size = frame.content_len;
                    if size > MAX_BEAT {
                        let limit = MAX_BEAT;
                        return Err(ProtocolError::TooLarge { size, limit }.into());
                    }
                    let content = self.reader.content(size).await?;
                    // Whoever beats faster is read from more slowly.
                    if let Some(last) = last {
                        sleep_until(last + SHORTEST).await;
                    }
                    last = Some(Instant::now());
                    self.beat(joined, &content)?;
                }
                Message::Leave { reason } => match joined {
                    Joined::Server(membership) => membership.leave(&reason),
                    Joined::Agent(_) => {
                        self.say(farewell());
                        return Ok(Parting::Stopped);
                    }
                },
                Message::Bye(_) => return Ok(Parting::Gone),
                _ => {
                    let error = "a balancer takes `beat` and `leave` from a member of its fleet";
                    return Err(ProtocolError::Unexpected(error).into());
                }
            }
        }
    }

    /// A member is there, and perhaps tells figures. Figures that cannot be used change nothing else.
    fn beat(&self, joined: &Joined, content: &[u8]) -> Result<(), ReadError> {
        let fleet = &self.door.joining.fleet;
        let peer = self.at.address();
        let facts: Facts = if content.is_empty() {
            Facts::default()
        } else {
            object::from_slice(content).map_err(|error| {
                fleet.doors().refused(DoorName::Join, "no facts", &peer);
                let error = excerpt(&error.to_string()).into_owned();
                ProtocolError::BadContent("beat", error)
            })?
        };
        let facts = match facts.check() {
            Ok(()) => facts,
            // It is there all the same.
            Err(error) => {
                tracing::debug!(%peer, %error, "figures of a member are not taken");
                let reason = "figures that cannot be";
                fleet.doors().refused(DoorName::Join, reason, &peer);
                Facts::default()
            }
        };
        let taken = match joined {
            Joined::Server(membership) => membership.beat(facts),
            Joined::Agent(agent) => {
                let every = DEFAULT_LEASE / BEATS_IN_LEASE;
                let told = Told {
                    who: agent.who.clone(),
                    name: agent.name.clone(),
                    source: agent.source,
                    trust: agent.trust,
                    peer: Some(peer.ip().to_canonical()),
                    every,
                    facts,
                };
                fleet.told_with(told, agent.every.unwrap_or(every))
            }
        };
        // There is no room for it, or another registration has taken this one's place: it is to try
        // again.
        taken.map_err(|error| {
            fleet
                .doors()
                .refused(DoorName::Join, "a member no longer", &peer);
            ReadError::Refused(Refusal::new(RefusalCode::Stopping, error.to_string()))
        })?;
        fleet.doors().took(DoorName::Join);
        Ok(())
    }
}

/// Tells a server how it is seen, at each change, until it may go.
async fn tell_seen(voice: &Voice, backpressure: &Backpressure, mut seen: watch::Receiver<Seen>) {
    let mut told = None;
    loop {
        let now = seen.borrow_and_update().clone();
        if now.left {
            return voice.say(farewell());
        }
        if told.as_ref() != Some(&now) {
            let unknown = || "its first probe has not ended yet".into();
            let reason = match &now.reason {
                None if now.good => "".into(),
                reason => reason.clone().unwrap_or_else(unknown),
            };
            voice.say(Message::Seen {
                good: now.good,
                reason: reason.to_string(),
            });
            told = Some(now);
        }
        backpressure.wait_until_written().await;
        if seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn farewell() -> Message {
    let reason = "you have left: nothing is in flight to you, and nothing in doubt";
    Message::Bye(Refusal::new(RefusalCode::Stopping, reason))
}

fn agent_name(agent: &Agent) -> Arc<str> {
    let name = agent.name.clone();
    name.unwrap_or_else(|| agent.who.to_string().into())
}

/// A refusal of the registry, for the count.
fn why_not(error: &NotRegistered) -> &'static str {
    match error {
        NotRegistered::Full(_) => "too many members",
        NotRegistered::Taken { .. } => "address taken",
        NotRegistered::Unproven(_) => "too many without a proof",
        NotRegistered::Restless(_) => "moved too often",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
