//! Probes one server: is it there, does it answer, is it overloaded, and what does it speak?
//!
//! A probe is the discovery request over a fresh connection, or, where connections are costly, over
//! the one that was kept since the last probe, if the server has left it open. An old-style server
//! answers it with its overload byte, as it does every request, and a native one with its greeting,
//! which has the byte and the server's memory. A server that was replaced is noticed in this way,
//! too. What the answers mean is [`crate::schedule::Health`]'s business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::dispatch::{Probed, Speaker, Who};
use super::host_facts::HostFacts;
use super::messages::ToHub;
use super::orders::ServersSpeak;
use crate::fleet::Fleet;
use crate::protocol::status::Dialect;
use crate::protocol::{HelloFacts, Message, Role, frame, json};
use crate::schedule::Slot;
use crate::transport::{BoxStream, Connect, Deadlines, Reader, plain};

/// The time between the first probes of two servers, so that thousands are not probed in one
/// instant.
const SPREAD: Duration = Duration::from_millis(1);

/// The shortest time between two probes of a server, however often one is asked for.
const SHORTEST: Duration = Duration::from_millis(100);

/// The task that probes one server.
pub(super) struct Prober {
    pub(super) slot: Slot,
    pub(super) address: Arc<str>,
    /// The server's place among all servers, by which first probes are spread.
    pub(super) place: usize,
    /// Asks for a probe now.
    pub(super) nudge: Arc<Notify>,
    pub(super) connector: Arc<dyn Connect>,
    pub(super) hub: mpsc::UnboundedSender<ToHub>,
    pub(super) pace: watch::Receiver<ProbePace>,
    /// Tells the server from others that had its slot before.
    pub(super) generation: u64,
    pub(super) route: Route,
}

/// How a server is reached.
///
/// While its name cannot be resolved, the addresses that the name had are used: whoever answers
/// there is the server.
#[derive(Default)]
pub(super) struct Route {
    /// The addresses of the name, as it was last resolved.
    named: Vec<SocketAddr>,
    /// The address that answered the last probe. It is tried first, so that a name with several
    /// addresses does not lead to another one each time.
    answered: Option<SocketAddr>,
    /// The address at which the last probe failed. It is tried last.
    failed: Option<SocketAddr>,
    /// A look-up that takes longer than a probe may. No second one is started beside it.
    looking: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    /// The last look-up failed.
    is_lost: bool,
    /// Why whoever answers is not the server, as the last probe found.
    unproven: Option<String>,
    /// The connection of the last probe, and where it leads.
    kept: Option<(SocketAddr, BoxStream)>,
}

impl Route {
    /// The addresses in the order in which they are tried.
    fn order(&self) -> Vec<SocketAddr> {
        let mut order = self.named.clone();
        order.sort_by_key(|at| {
            if Some(*at) == self.answered {
                0
            } else {
                1 + u8::from(Some(*at) == self.failed)
            }
        });
        order
    }

    /// Says in the log that somebody else is at the server's address, once for each reason.
    fn tell_unproven(&mut self, server: &str, reason: &str) {
        if self.unproven.as_deref() != Some(reason) {
            tracing::warn!(
                server,
                reason,
                "who answers has not proved to be this server: no files go there"
            );
            self.unproven = Some(reason.to_owned());
        }
    }

    /// Looks the name up. If it was resolved before, that takes `most` at the most.
    async fn look_up(
        &mut self,
        name: &str,
        connector: &dyn Connect,
        most: Duration,
    ) -> io::Result<()> {
        let looking = self
            .looking
            .get_or_insert_with(|| tokio::spawn(connector.resolve(name)));
        let found = if self.named.is_empty() {
            looking.await
        } else {
            let Ok(found) = timeout(most, looking).await else {
                let late = format!("the look-up takes longer than {most:?}");
                return self.found(name, Err(io::Error::other(late)));
            };
            found
        };
        self.looking = None;
        self.found(
            name,
            found.unwrap_or_else(|error| Err(io::Error::other(error))),
        )
    }

    fn found(&mut self, name: &str, found: io::Result<Vec<SocketAddr>>) -> io::Result<()> {
        let found = found.and_then(|named| {
            if named.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the name has no address",
                ));
            }
            Ok(named)
        });
        let was_lost = std::mem::replace(&mut self.is_lost, found.is_err());
        match found {
            Ok(named) => {
                if was_lost {
                    tracing::info!(server = name, "the server's name is resolved again");
                }
                self.named = named;
                Ok(())
            }
            Err(error) if self.named.is_empty() => Err(error),
            Err(error) => {
                if !was_lost {
                    let reason = plain(&error);
                    tracing::warn!(
                        server = name,
                        reason,
                        used = ?self.named,
                        "the server's name cannot be resolved: the addresses that it had are used"
                    );
                }
                Ok(())
            }
        }
    }
}

/// How often servers are probed, how long that may take, and what they may speak.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbePace {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) servers_speak: ServersSpeak,
}

impl ProbePace {
    /// Takes the answer of a server that may not speak so for none.
    fn judge(&self, probed: Probed) -> Probed {
        match probed {
            Probed::Answered {
                dialect: Dialect::OldStyle,
                ..
            } if self.servers_speak == ServersSpeak::Native => Probed::Failed(
                "it answers as an old-style server, and only native ones get files \
                 (servers-speak)"
                    .to_owned(),
            ),
            probed => probed,
        }
    }
}

impl Prober {
    /// Probes once an interval, give or take a tenth, and when asked to, until the hub is gone. Tells
    /// the fleet what the answers tell of the server's host.
    pub(super) async fn run(mut self, fleet: Fleet) {
        let mut host = HostFacts::new(fleet, self.address.clone());
        let place = u32::try_from(self.place).unwrap_or(u32::MAX);
        let first = self.pace().interval;
        sleep((SPREAD * place).min(first)).await;
        let generation = self.generation;
        loop {
            let (Answer { probed, facts }, took) = self.probe().await;
            if let Probed::Answered { who, .. } = &probed {
                host.tell(who, facts, self.pace().interval);
            }
            if self
                .hub
                .send(ToHub::Probed {
                    slot: self.slot,
                    generation,
                    probed,
                    took,
                })
                .is_err()
            {
                return;
            }
            let ProbePace { interval, .. } = self.pace();
            sleep(SHORTEST.min(interval)).await;
            let rest = interval
                .saturating_sub(SHORTEST)
                .mul_f64(rand::rng().random_range(0.9..1.1));
            tokio::select! {
                () = sleep(rest) => {}
                () = self.nudge.notified() => {}
            }
        }
    }

    fn pace(&self) -> ProbePace {
        *self.pace.borrow()
    }

    /// Probes once, and measures how long that takes.
    async fn probe(&mut self) -> (Answer, Duration) {
        let started = Instant::now();
        let most = self.pace().timeout;
        let answer = match timeout(most, self.ask(most / 2)).await {
            Ok(Ok(Answer { probed, facts })) => {
                self.route.unproven = None;
                let probed = self.pace().judge(probed);
                Answer { probed, facts }
            }
            Ok(Err(error)) => {
                let reason = plain(&error);
                // The system's own refusals, such as a firewall's, have a number.
                let is_ours = error.raw_os_error().is_none();
                if is_ours && error.kind() == io::ErrorKind::PermissionDenied {
                    self.route.tell_unproven(&self.address, &reason);
                }
                Answer::from(Probed::Failed(reason))
            }
            Err(_) => Probed::Failed(format!("no answer to a probe in {most:?}")).into(),
        };
        if matches!(answer.probed, Probed::Failed(_)) {
            self.route.answered = None;
        }
        (answer, started.elapsed())
    }

    async fn ask(&mut self, look_up: Duration) -> io::Result<Answer> {
        self.route
            .look_up(&self.address, &*self.connector, look_up)
            .await?;
        let order = self.route.order();
        if let Some((at, stream)) = self.route.kept.take()
            && order.first() == Some(&at)
        {
            let failed = self.route.failed.replace(at);
            // A connection that has ended says nothing about the server.
            if let Ok(answer) = ask_at(stream).await {
                return Ok(self.answered(at, failed, answer));
            }
            self.route.failed = failed;
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for at in order {
            // The deadline may end this probe at any wait below: until then the address has failed.
            let failed = self.route.failed.replace(at);
            let place = at.to_string();
            match self.connector.connect_at(&self.address, &place).await {
                Ok(stream) => {
                    let answer = ask_at(stream).await?;
                    return Ok(self.answered(at, failed, answer));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Notes where an answer came from, and keeps its connection if a new one is costly.
    fn answered(
        &mut self,
        at: SocketAddr,
        failed: Option<SocketAddr>,
        (mut answer, stream): (Answer, Option<BoxStream>),
    ) -> Answer {
        if let Probed::Answered { who, .. } = &mut answer.probed {
            who.address = Some(at);
            who.named.clone_from(&self.route.named);
        }
        self.route.answered = Some(at);
        self.route.failed = failed.filter(|failed| *failed != at);
        let stream = stream.filter(|_| self.connector.is_costly());
        self.route.kept = stream.map(|stream| (at, stream));
        answer
    }
}

/// What a server answers.
pub(super) struct Answer {
    pub(super) probed: Probed,
    /// What it tells of its host.
    facts: HelloFacts,
}

impl From<Probed> for Answer {
    fn from(probed: Probed) -> Self {
        Self {
            probed,
            facts: HelloFacts::Untold,
        }
    }
}

/// Asks a server over a connection, and gives that back if the server may leave it open.
pub(super) async fn ask_at(mut stream: BoxStream) -> io::Result<(Answer, Option<BoxStream>)> {
    stream.write_all(json::DISCOVERY_REQUEST).await?;
    stream.flush().await?;
    let mut first = [0];
    if stream.read(&mut first).await? == 0 {
        return Err(io::Error::other(
            "the server closed the connection without an answer",
        ));
    }
    let [byte] = first;
    match byte {
        0 | 1 => {
            let probed = Probed::Answered {
                overloaded: byte == 1,
                dialect: Dialect::OldStyle,
                memory: None,
                who: Who::default(),
            };
            Ok((probed.into(), None))
        }
        byte if byte == frame::MAGIC[0] => greeting(stream, byte).await,
        other => Err(io::Error::other(format!(
            "not a file server: expected 0x00 or 0x01, or a Bilico greeting, got byte 0x{other:02x}"
        ))),
    }
}

/// Reads the rest of a native greeting, whose first byte was read already.
async fn greeting(stream: BoxStream, first: u8) -> io::Result<(Answer, Option<BoxStream>)> {
    let mut reader = Reader::new(io::Cursor::new([first]).chain(stream), Deadlines::default());
    reader.preface().await.map_err(io::Error::other)?;
    match reader
        .frame()
        .await
        .map_err(io::Error::other)?
        .map(|frame| frame.message)
    {
        Some(Message::Hello(hello)) if hello.role == Role::Server => {
            let who = Who {
                speaker: Speaker {
                    identity: hello.identity,
                    instance: hello.instance,
                },
                ..Who::default()
            };
            let probed = Probed::Answered {
                overloaded: hello.overloaded.unwrap_or(false),
                dialect: Dialect::Native,
                memory: hello.memory,
                who,
            };
            // All was read that came, or the connection is of no more use.
            let (read, left) = reader.into_parts();
            let (_, stream) = read.into_inner();
            let answer = Answer {
                probed,
                facts: hello.facts,
            };
            Ok((answer, left.is_empty().then_some(stream)))
        }
        Some(Message::Bye(refusal)) => Err(io::Error::other(refusal.reason)),
        _ => Err(io::Error::other(
            "not a Bilico server: the greeting names another role",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Connecting, Resolving};
    use std::sync::Mutex;

    /// Resolves names as told; `None` takes for ever.
    struct Names(Mutex<Option<io::Result<Vec<SocketAddr>>>>);

    impl Connect for Names {
        fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
            Box::pin(std::future::pending())
        }

        fn resolve(&self, _: &str) -> Resolving {
            match self.0.lock().unwrap().take() {
                Some(found) => Box::pin(std::future::ready(found)),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Two names that could not be resolved took down a server whose link worked.
    #[tokio::test(start_paused = true)]
    async fn a_name_that_cannot_be_resolved_leads_where_it_led() {
        let names = Names(Mutex::new(Some(Ok(vec![at(1), at(2)]))));
        let mut route = Route::default();
        route
            .look_up("s:1", &names, Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!(route.order(), [at(1), at(2)]);
        for gone in [
            Some(Err(io::Error::other("no such name"))),
            Some(Ok(Vec::new())),
            None,
            None,
        ] {
            *names.0.lock().unwrap() = gone;
            route
                .look_up("s:1", &names, Duration::from_secs(1))
                .await
                .unwrap();
            assert!(route.is_lost);
            assert_eq!(route.order(), [at(1), at(2)]);
        }
        assert!(
            route.looking.is_some(),
            "one look-up is under way, and no second one"
        );
        route.looking = None;
        *names.0.lock().unwrap() = Some(Ok(vec![at(3)]));
        route
            .look_up("s:1", &names, Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!((route.order(), route.is_lost), (vec![at(3)], false));

        *names.0.lock().unwrap() = Some(Err(io::Error::other("no such name")));
        let never = Route::default()
            .look_up("s:1", &names, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(
            never.to_string().contains("no such name"),
            "it never led anywhere"
        );
    }

    #[test]
    fn a_name_with_several_addresses_leads_to_the_one_that_answered() {
        let mut route = Route {
            named: vec![at(1), at(2), at(3)],
            ..Route::default()
        };
        route.answered = Some(at(3));
        assert_eq!(route.order(), [at(3), at(1), at(2)]);
        (route.answered, route.failed) = (None, Some(at(1)));
        assert_eq!(route.order(), [at(2), at(3), at(1)]);
    }
}
