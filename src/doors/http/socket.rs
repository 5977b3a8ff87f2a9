//! A WebSocket connection of an agent, from its handshake to its end. No message is ever answered: old
//! agents never read, and both sides would end up waiting for each other.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Config, Error, Limits, Message, ServerBuilder, WebSocketStream};

use super::limits::{HttpLimits, MAX_MESSAGE, MAX_OF_ONE, MAX_REFUSED};
use super::pace::Pace;
use super::who::Who;
use crate::access::At;
use crate::doors::rate::Rate;
use crate::doors::refused::Refused;
use crate::doors::words::{self, CRD_EVERY, NETWORK_EVERY};
use crate::fleet::{DoorName, Fleet};
use crate::fleet_core::{Facts, Identity, Source, Told, Trust};
use crate::text::start;

/// What comes over a connection: its path says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Native facts.
    Native,
    /// Processor, memory and disk of the first system's agent.
    Crd,
    /// The speed of a line, of its other agent.
    Network,
    /// Lines of shells' histories.
    History,
}

/// Messages with figures.
const FIGURES: Rate = Rate {
    a_second: 10.0,
    at_once: 20.0,
};

/// Lines of a history, all of which come at once.
const LINES: Rate = Rate {
    a_second: 5_000.0,
    at_once: 20_000.0,
};

/// The longest reason for the end of a connection, in bytes: a frame that ends one has little room.
const MAX_WORDS: usize = 120;

/// An agent that is connected.
pub(super) struct Agent {
    pub(super) kind: Kind,
    pub(super) who: Who,
    pub(super) at: At,
    pub(super) fleet: Fleet,
    /// Its place among the connections of the same agent.
    pub(super) _one: One,
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a connection ends.
enum End {
    /// The peer has gone, or said so.
    Gone,
    /// It broke a rule.
    Broken(Refused, CloseCode, String),
    /// The balancer stops.
    Stopping,
}

impl Agent {
    /// Reads messages until either side ends it.
    pub(super) async fn serve(
        self,
        upgraded: Upgraded,
        limits: HttpLimits,
        stop: CancellationToken,
    ) {
        let mut socket = ServerBuilder::new()
            .config(Config::default().frame_size(MAX_MESSAGE))
            .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE)))
            .serve(TokioIo::new(upgraded));
        let end = self.read(&mut socket, limits, stop).await;
        let close = match end {
            End::Gone => None,
            End::Stopping => Some((CloseCode::GOING_AWAY, "the balancer stops".to_owned())),
            End::Broken(Refused(reason), code, words) => {
                let doors = self.fleet.doors();
                doors.refused(DoorName::Http, reason, &self.at.address());
                Some((code, words))
            }
        };
        let parting = async {
            if let Some((code, words)) = close {
                let close = Message::close(Some(code), start(&words, MAX_WORDS));
                // It fails if the library has said why already.
                let _ = socket.send(close).await;
            }
            let _ = socket.close().await;
        };
        let _ = timeout(limits.grace, parting).await;
    }

    async fn read(&self, socket: &mut Socket, limits: HttpLimits, stop: CancellationToken) -> End {
        let ended = self.ended();
        tokio::pin!(ended);
        let mut pace = Pace::new(match self.kind {
            Kind::History => LINES,
            _ => FIGURES,
        });
        let mut idle = limits.idle;
        let (mut heard, mut last) = (Instant::now(), Instant::now());
        let mut is_asked = false;
        let mut refused = 0;
        let mut seen = None;
        loop {
            let next = async {
                pace.turn().await;
                poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await
            };
            let came = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopping,
                end = &mut ended => return end,
                came = next => came,
                () = sleep_until(last + idle) => {
                    let code = CloseCode::POLICY_VIOLATION;
                    let words = format!("no message came within {} s", idle.as_secs());
                    return End::Broken(Refused("silent for too long"), code, words);
                }
                () = sleep_until(heard + limits.ping), if !is_asked => {
                    is_asked = true;
                    // Whether it can be sent at once or not: old agents do not read.
                    let _ = timeout(limits.stall, socket.send(Message::ping(""))).await;
                    continue;
                }
            };
            let message = match came {
                None => return End::Gone,
                Some(Err(error)) => return broken(&error),
                Some(Ok(message)) => message,
            };
            pace.took();
            (heard, is_asked) = (Instant::now(), false);
            if message.is_close() {
                return End::Gone;
            }
            if message.is_ping() {
                // Its answer must not pile up because the peer does not read.
                if !matches!(timeout(limits.stall, socket.flush()).await, Ok(Ok(()))) {
                    let code = CloseCode::POLICY_VIOLATION;
                    return End::Broken(
                        Refused("it does not read"),
                        code,
                        "pings are sent and their answers are not read".to_owned(),
                    );
                }
                continue;
            }
            if message.is_pong() {
                continue;
            }
            last = heard;
            match self.take(&message, &mut seen) {
                Ok(every) => {
                    refused = 0;
                    idle = limits.idle.max(every * 3);
                    self.fleet.doors().took(DoorName::Http);
                }
                Err(Refused(reason)) => {
                    let doors = self.fleet.doors();
                    doors.refused(DoorName::Http, reason, &self.at.address());
                    refused += 1;
                    if refused >= MAX_REFUSED {
                        let code = CloseCode::INVALID_FRAME_PAYLOAD_DATA;
                        let words = format!("{refused} messages in a row were refused: {reason}");
                        return End::Broken(Refused("too many refused messages"), code, words);
                    }
                }
            }
        }
    }

    /// Waits until the agent may tell nothing any more.
    async fn ended(&self) -> End {
        let denied = match &self.who {
            Who::Proved(pass, _) => pass.ended().await,
            Who::Claimed(_) => std::future::pending().await,
        };
        End::Broken(
            Refused("the token has ended"),
            CloseCode::POLICY_VIOLATION,
            denied.to_string(),
        )
    }

    /// Takes a message. Says how often one is expected. `seen` is when the fleet was told last that an
    /// agent without figures is there.
    fn take(&self, message: &Message, seen: &mut Option<Instant>) -> Result<Duration, Refused> {
        let Some(text) = message.as_text() else {
            return Err(Refused("no text"));
        };
        let bytes = text.as_bytes();
        let (facts, every) = match self.kind {
            Kind::Native => words::native(bytes)?,
            Kind::Crd => (words::crd(bytes)?, CRD_EVERY),
            Kind::Network => (words::network(bytes)?, NETWORK_EVERY),
            Kind::History => {
                self.command(bytes, seen)?;
                return Ok(CRD_EVERY);
            }
        };
        self.tell(facts, every)?;
        Ok(every)
    }

    fn tell(&self, facts: Facts, every: Duration) -> Result<(), Refused> {
        Ok(self.fleet.told(told(&self.who, self.at, facts, every))?)
    }

    /// Takes a line of a shell's history. Of who is no member nothing is kept: nobody would forget it.
    fn command(&self, bytes: &[u8], seen: &mut Option<Instant>) -> Result<(), Refused> {
        let (user, command, time) = words::command(bytes)?;
        let now = Instant::now();
        if seen.is_none_or(|seen| now.duration_since(seen) >= CRD_EVERY / 2) {
            self.tell(Facts::default(), CRD_EVERY)?;
            *seen = Some(now);
        }
        let (id, ..) = identity(&self.who);
        let commands = self.fleet.commands();
        let kept = commands.told(&id, &user, &command, &time);
        kept.map(drop)
            .map_err(|_| Refused("no place for more commands"))
    }
}

/// What an agent is, what it came by, and how far it can be believed.
pub(super) fn identity(who: &Who) -> (Identity, Source, Trust) {
    match who {
        Who::Proved(_, user) => (Identity::Agent(user.clone()), Source::Token, Trust::Proved),
        Who::Claimed(ip) => (Identity::Source(*ip), Source::Posted, Trust::Claimed),
    }
}

/// What an agent tells.
pub(super) fn told(who: &Who, at: At, facts: Facts, every: Duration) -> Told {
    let (who, source, trust) = identity(who);
    Told {
        who,
        name: None,
        source,
        trust,
        peer: Some(at.address().ip().to_canonical()),
        every,
        facts,
    }
}

/// Why the library gave up. It has told the peer.
fn broken(error: &Error) -> End {
    let reason = match error {
        Error::PayloadTooLong { .. } => Refused::TOO_LONG,
        Error::Io(_) => return End::Gone,
        _ => Refused("frames that break the rules"),
    };
    let code = match error {
        Error::PayloadTooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
        _ => CloseCode::PROTOCOL_ERROR,
    };
    End::Broken(reason, code, error.to_string())
}

/// How many connections each agent has.
#[derive(Debug, Clone, Default)]
pub(super) struct Ones(Arc<Mutex<HashMap<Identity, usize>>>);

/// One of them.
#[derive(Debug)]
pub(super) struct One {
    of: Identity,
    ones: Ones,
}

impl Ones {
    /// One more, unless there are too many.
    pub(super) fn one(&self, of: Identity) -> Option<One> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(of.clone()).or_default();
        if *count >= MAX_OF_ONE {
            return None;
        }
        *count += 1;
        let ones = self.clone();
        Some(One { of, ones })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut all = self.ones.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.of);
            }
        }
    }
}
