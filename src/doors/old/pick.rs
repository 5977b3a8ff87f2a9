//! Where clients pick a server from a list, and then get its lines of status: one for each time that
//! they ask, never two at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::entries::{Kind, Unpicked, is_known, pick};
use super::lines::Lines;
use super::{Peer, Shared};
use crate::doors::refused::Refused;
use crate::fleet::DoorName;
use crate::fleet_core::old::{Requests, STATUS, list_text, status_line};
use crate::transport::{BoxStream, Rest, Seat};

/// What a client is told that has picked a server.
const PICKED: &[u8] = b"Porta OK";

/// The longest choice, in bytes.
const MAX_CHOICE: usize = 256;

/// How many wrong choices a client may make.
const CHOICES: usize = 8;

/// A choice has no end of its own: it has ended once so long nothing has come.
const CHOICE_ENDS: Duration = Duration::from_millis(50);

/// The most requests of a client that wait for their lines.
const MAX_WAITING: usize = 16;

/// A client that asks for nothing for so long makes way for another one.
const AT_REST: Duration = Duration::from_secs(10);

/// A session of a client.
struct Session {
    read: ReadHalf<BoxStream>,
    write: WriteHalf<BoxStream>,
    peer: SocketAddr,
    seat: Arc<Seat>,
    shared: Arc<Shared>,
}

/// Serves a client until it goes.
pub(super) async fn serve(stream: BoxStream, peer: Peer, shared: Arc<Shared>) {
    let (read, write) = split(stream);
    peer.seat.know();
    let mut session = Session {
        read,
        write,
        peer: peer.address,
        seat: peer.seat,
        shared: shared.clone(),
    };
    if let Err(Refused(reason)) = session.run().await {
        let doors = shared.fleet.doors();
        doors.refused(DoorName::Pick, reason, &peer.address);
    }
    let _ = session.write.shutdown().await;
}

impl Session {
    async fn run(&mut self) -> Result<(), Refused> {
        let entries = self.shared.entries();
        let list = list_text(entries.iter().map(|entry| &*entry.address));
        self.write(list.as_bytes()).await?;
        for _ in 0..CHOICES {
            self.seat.rest(Rest::Idle);
            let Some((choice, asked)) = self.choice().await? else {
                return Ok(());
            };
            self.seat.work();
            // Servers may have come since the list was read.
            let wrong = match pick(&self.shared.entries(), &choice) {
                Ok(entry) => match Figures::of(entry.kind, &entry.id, &self.shared).await {
                    Some(figures) => {
                        self.write(PICKED).await?;
                        self.shared.fleet.doors().took(DoorName::Pick);
                        return self.answer(figures, asked).await;
                    }
                    None => "Servidor indisponível",
                },
                Err(Unpicked::Unlisted) => "Porta inválida",
                Err(Unpicked::Several) => "Porta repetida: escolha HOST:PORTA",
            };
            let doors = self.shared.fleet.doors();
            doors.refused(
                DoorName::Pick,
                "a choice of no server that is there",
                &self.peer,
            );
            self.write(wrong.as_bytes()).await?;
        }
        Err(Refused("too many wrong choices"))
    }

    /// The client's choice, and the requests that have come with it; `None` if it has gone.
    async fn choice(&mut self) -> Result<Option<(String, Vec<u8>)>, Refused> {
        let mut bytes = Vec::new();
        let mut came = [0; MAX_CHOICE];
        let mut patience = self.shared.limits.idle;
        while !bytes.ends_with(b"\n") {
            match timeout(patience, self.read.read(&mut came)).await {
                Ok(Ok(0) | Err(_)) => return Ok(None),
                Ok(Ok(length)) => bytes.extend(came.iter().take(length)),
                Err(_) if bytes.is_empty() => return Err(Refused("silent")),
                Err(_) => break,
            }
            if bytes.len() > MAX_CHOICE {
                return Err(Refused("a choice of more than 256 bytes"));
            }
            patience = CHOICE_ENDS;
        }
        let mut windows = bytes.windows(STATUS.len());
        let asked = windows.position(|at| at == STATUS);
        let asked = bytes.split_off(asked.unwrap_or(bytes.len()));
        Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), asked)))
    }

    /// Gives the client a line for each request, at its pace.
    async fn answer(&mut self, mut figures: Figures, asked: Vec<u8>) -> Result<(), Refused> {
        let limits = self.shared.limits;
        let mut requests = Requests::default();
        let mut waiting = requests.push(&asked).map_err(|_| NO_REQUEST)?;
        let mut next = Instant::now();
        let mut idle_ends = next + limits.idle;
        let mut rests_at = next + AT_REST;
        let mut came = [0; MAX_CHOICE];
        loop {
            tokio::select! {
                read = self.read.read(&mut came) => {
                    let length = read.unwrap_or(0);
                    if length == 0 {
                        return Ok(());
                    }
                    let bytes = came.get(..length).unwrap_or_default();
                    waiting += requests.push(bytes).map_err(|_| NO_REQUEST)?;
                    if waiting > MAX_WAITING {
                        return Err(Refused("it asks for more than it takes"));
                    }
                    let now = Instant::now();
                    (idle_ends, rests_at) = (now + limits.idle, now + AT_REST);
                    self.seat.work();
                }
                line = figures.line(next, &self.shared), if waiting > 0 => {
                    let Some(line) = line else {
                        return Ok(());
                    };
                    self.write(line.as_bytes()).await?;
                    waiting -= 1;
                    let now = Instant::now();
                    next = now + limits.pace;
                    (idle_ends, rests_at) = (now + limits.idle, now + AT_REST);
                }
                () = sleep_until(rests_at), if waiting == 0 && rests_at < idle_ends => {
                    self.seat.rest(Rest::Idle);
                    rests_at = idle_ends;
                }
                () = sleep_until(idle_ends) => return Err(Refused("silent")),
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let written = timeout(self.shared.limits.patience, self.write.write_all(bytes)).await;
        // Whoever has gone is found out at the next read.
        written.map(drop).map_err(|_| Refused("it reads nothing"))
    }
}

const NO_REQUEST: Refused = Refused("something else than `status`");

/// Where the lines of the picked server come from.
enum Figures {
    /// What is known of a member.
    Known(String),
    /// What an announced server pushes: the newest line, until it goes.
    Pushed {
        newest: watch::Receiver<String>,
        _relay: AbortOnDropHandle<()>,
    },
}

impl Figures {
    /// `None`: the server is not there.
    async fn of(kind: Kind, id: &str, shared: &Arc<Shared>) -> Option<Self> {
        let at = match kind {
            Kind::Known => return Some(Self::Known(id.to_owned())),
            Kind::Announced(at) => at,
        };
        let mut lines = Lines::connect(at, shared.limits.patience).await.ok()?;
        let (tell, newest) = watch::channel(String::new());
        let shared = shared.clone();
        let relay = tokio::spawn(async move {
            while let Ok(line) = shared.next_line(at, &mut lines).await
                && tell.send(line).is_ok()
            {
                // Whoever pushes without a pause is not followed without one.
                tokio::time::sleep(shared.limits.pace / 2).await;
            }
        });
        Some(Self::Pushed {
            newest,
            _relay: AbortOnDropHandle::new(relay),
        })
    }

    /// The next line, not before this time; `None` if the server has gone. Cancel safe.
    async fn line(&mut self, not_before: Instant, shared: &Shared) -> Option<String> {
        sleep_until(not_before).await;
        match self {
            Self::Known(id) => {
                let member = shared.fleet.find(id).ok()?;
                is_known(&member).then(|| status_line(&member.facts))
            }
            Self::Pushed { newest, .. } => {
                newest.changed().await.ok()?;
                Some(newest.borrow_and_update().clone())
            }
        }
    }
}
