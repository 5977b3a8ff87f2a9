//! A balancer's link: files come in, acknowledgements go out in the order in which the store
//! finishes.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::links::{EnterError, Entered, Leave, Tenure};
use super::super::store::{Claimed, Store};
use super::super::work::Hold;
use super::acks::{Outgoing, say_bye, write_acks};
use super::incoming::{IncomingFile, OnDisk, Received, receive, receive_ahead, refusal_of, submit};
use super::shared::{Shared, silent};
use crate::protocol::limits::{LINGER, MAX_LIST, MAX_LIST_BYTES};
use crate::protocol::lists::decode_confirmed;
use crate::protocol::{Expected, Frame, Hello, Message, ProtocolError, Refusal, RefusalCode, Role};
use crate::transport::{ReadError, Reader, Seat};

/// The reading half of a balancer's link.
struct Link<'a, R> {
    reader: Reader<R>,
    acks: mpsc::UnboundedSender<Outgoing>,
    leave: Arc<Leave>,
    /// The store, once the peer has said that it is a balancer, if it may be one.
    store: Result<Store, Refusal>,
    /// The name that the peer has proved, in a cluster.
    balancer: Option<Arc<str>>,
    shared: &'a Shared,
    /// Content that came ahead of its file's acceptance.
    ahead: Option<OnDisk>,
}

/// Which journal a balancer speaks for, from its hello.
struct Claim {
    journal: Arc<str>,
    tenure: Tenure,
    /// It is the balancer's second connection, for large files.
    is_lane: bool,
}

/// Serves a balancer's link.
pub(super) async fn serve<R, W>(
    reader: Reader<R>,
    write: W,
    (store, balancer): (Result<Store, Refusal>, Option<Arc<str>>),
    shared: &Shared,
    seat: &Seat,
    greeting_ends: Instant,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let stall = shared.deadlines.stall;
    let (acks, outgoing) = mpsc::unbounded_channel();
    let written = CancellationToken::new();
    let leave = Arc::new(Leave::default());
    let link = Link {
        reader,
        acks,
        leave: leave.clone(),
        store,
        balancer,
        shared,
        ahead: None,
    };
    let writing = async {
        let result = write_acks(write, outgoing, shared.greeting(), stall).await;
        written.cancel();
        result
    };
    let reading = link.run(&written, seat, greeting_ends);
    let ((mut reader, ended), acknowledged) = tokio::join!(reading, writing);
    // Last, because on `bye` the balancer sends elsewhere every file that is not acknowledged.
    let left = match acknowledged {
        Ok(write) => say_bye(write, farewell(&leave, &ended), stall).await,
        Err(error) => Err(error),
    };
    if let Err(error) = left {
        seat.complain(|left_out| tracing::info!(reason = %error, left_out, "cannot acknowledge"));
    }
    reader.linger(LINGER).await;
    ended
}

/// Why a link ends, for the balancer.
fn farewell(leave: &Leave, ended: &Result<(), ReadError>) -> Refusal {
    leave.reason().unwrap_or_else(|| match ended {
        Ok(()) => Refusal::new(RefusalCode::Stopping, "the server is stopping"),
        Err(error) => error.refusal(),
    })
}

impl<R: AsyncRead + Unpin> Link<'_, R> {
    /// Reads until the balancer closes or breaks the protocol, the link has to end, or nothing can
    /// be written any more. Returns the reader, because its connection may not be closed yet.
    async fn run(
        mut self,
        written: &CancellationToken,
        seat: &Seat,
        greeting_ends: Instant,
    ) -> (Reader<R>, Result<(), ReadError>) {
        let leave = self.leave.clone();
        let result = tokio::select! {
            () = written.cancelled() => Ok(()),
            () = leave.asked() => Ok(()),
            result = self.read(seat, greeting_ends) => result,
        };
        // The writer ends when all senders of acknowledgements are gone, ours and those of the
        // files that the store still has.
        let Self { reader, acks, .. } = self;
        drop(acks);
        (reader, result)
    }

    /// Reads what the balancer sends, until it closes or the server stops.
    async fn read(&mut self, seat: &Seat, greeting_ends: Instant) -> Result<(), ReadError> {
        let hello = tokio::select! {
            () = seat.asked_to_leave() => return Err(ReadError::Crowded),
            hello = timeout_at(greeting_ends, self.hello()) => hello.unwrap_or_else(|_| silent())?,
        };
        seat.know();
        seat.work();
        let Some(hello) = hello else { return Ok(()) };
        let claim = claim_of(hello)?;
        self.its_store()?;
        let journal = claim.as_ref().map(|claim| claim.journal.clone());
        // Kept for as long as files are submitted, however this ends.
        let mut _entered = None;
        if let Some(claim) = claim {
            let Some(entered) = self.enter(claim, seat).await? else {
                return Ok(());
            };
            _entered = Some(entered);
        }
        while let Some(frame) = self.next_frame().await? {
            self.take(frame, journal.as_ref()).await?;
        }
        Ok(())
    }

    fn its_store(&self) -> Result<&Store, ReadError> {
        let refused = |refusal: &Refusal| ReadError::Refused(refusal.clone());
        self.store.as_ref().map_err(refused)
    }

    /// The balancer's first message; `None` if it closed.
    async fn hello(&mut self) -> Result<Option<Message>, ReadError> {
        self.reader.preface().await?;
        Ok(self.reader.hello().await?.map(|frame| frame.message))
    }

    /// Enters the link among those of its journal, and tells the balancer what is stored for it.
    /// `None` if this link cannot be used and was told to end.
    async fn enter(&self, claim: Claim, seat: &Seat) -> Result<Option<Entered>, ReadError> {
        let Claim {
            journal,
            tenure,
            is_lane,
        } = claim;
        let links = &self.shared.links;
        let leave = self.leave.clone();
        let entering = async {
            self.bind(&journal).await?;
            links.enter(journal.clone(), tenure, is_lane, leave).await
        };
        let entered = match entering.await {
            Ok(entered) => entered,
            Err(error) => {
                seat.complain(|left_out| {
                    tracing::warn!(reason = %error, left_out, "a balancer's connection is refused");
                });
                self.leave.because(error.refusal());
                return Ok(None);
            }
        };
        if is_lane {
            // The link that it belongs to has the list. This says that a newer link ends the lane.
            let nothing = Message::Holding {
                last: true,
                seen: None,
            };
            let _ = self.acks.send(Outgoing::Message(nothing));
            return Ok(Some(entered));
        }
        match self.its_store()?.inventory(journal).await {
            Ok(inventory) => {
                let _ = self.acks.send(Outgoing::Inventory(inventory));
                Ok(Some(entered))
            }
            // An empty list would say that nothing is stored.
            Err(error) => {
                tracing::error!(
                    error = %error,
                    "cannot list what is stored: a balancer's connection is closed"
                );
                let reason = format!("cannot list what is stored: {error}");
                self.leave
                    .because(Refusal::new(RefusalCode::Storage, reason));
                Ok(None)
            }
        }
    }

    /// In a cluster, sees to it that the journal belongs to the balancer that has come with it.
    async fn bind(&self, journal: &Arc<str>) -> Result<(), EnterError> {
        let (Some(balancer), Some(cluster)) = (&self.balancer, &self.shared.cluster) else {
            return Ok(());
        };
        let unbound = |error: &dyn Display| EnterError::Unbound(error.to_string());
        let store = self.its_store().map_err(|error| unbound(&error))?;
        let claimed = Claimed {
            journal: journal.clone(),
            balancer: balancer.clone(),
            among: cluster.balancers.clone(),
        };
        let owner = store.bind(claimed).await.map_err(|error| unbound(&error))?;
        if owner == *balancer {
            return Ok(());
        }
        let balancer = balancer.clone();
        Err(EnterError::Foreign { owner, balancer })
    }

    /// The next frame; `None` when the balancer closed or the server stops.
    async fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Ok(None),
                frame = self.reader.frame() => frame,
            };
            // A balancer with nothing to send is silent: its probes come over connections of their
            // own, and the kernel notices a machine that is gone.
            if !matches!(frame, Err(ReadError::Idle(_))) {
                return frame;
            }
        }
    }

    async fn take(&mut self, frame: Frame, journal: Option<&Arc<str>>) -> Result<(), ReadError> {
        match (frame.message, journal) {
            (Message::Store { number, title }, journal) => {
                self.store(number, &title, frame.content_len, journal).await
            }
            (Message::Ahead, Some(_)) => self.take_ahead(frame.content_len).await,
            (Message::Keep { number, title }, Some(journal)) => self.keep(number, &title, journal),
            (Message::Confirmed, Some(journal)) => self.confirm(frame.content_len, journal).await,
            (Message::Drop { number, expected }, Some(journal)) => {
                self.remove(number, expected, journal).await
            }
            (
                Message::Confirmed | Message::Drop { .. } | Message::Ahead | Message::Keep { .. },
                None,
            ) => Err(unexpected(
                "`ahead`, `keep`, `confirmed` and `drop` need an identity in the balancer's hello",
            )),
            _ => Err(unexpected(
                "a file server takes `store`, `ahead`, `keep`, `confirmed` and `drop` from a \
                 balancer",
            )),
        }
    }

    async fn store(
        &mut self,
        number: u64,
        title: &str,
        size: u64,
        journal: Option<&Arc<str>>,
    ) -> Result<(), ReadError> {
        let with = (self.shared, &self.its_store()?.clone());
        match receive(&mut self.reader, number, title, size, with).await? {
            Received::File(file) => self.submit(file, journal.cloned())?,
            Received::Refused(refusal) => {
                tracing::error!(number, title, reason = refusal.reason, "refused");
                let refused = Message::NotStored { number, refusal };
                let _ = self.acks.send(Outgoing::Message(refused));
            }
        }
        Ok(())
    }

    /// Hands a file to the store, and acknowledges it when it is stored.
    fn submit(&self, file: IncomingFile, journal: Option<Arc<str>>) -> Result<(), ReadError> {
        let number = file.number;
        let acks = self.acks.clone();
        let with = (self.shared, self.its_store()?);
        submit(file, journal, with, move |stored| {
            let _ = acks.send(Outgoing::Message(match stored {
                Ok(_) => Message::Stored { number },
                Err(error) => Message::NotStored {
                    number,
                    refusal: refusal_of(&error),
                },
            }));
        });
        Ok(())
    }

    /// Receives content whose file is not accepted yet: until it is, the content has no name, and
    /// goes with the connection.
    async fn take_ahead(&mut self, size: u64) -> Result<(), ReadError> {
        if self.ahead.is_some() {
            return Err(unexpected("content is held that came ahead already"));
        }
        if size == 0 || self.shared.work.holds() {
            return Err(unexpected("this file server takes no such content ahead"));
        }
        let store = self.its_store()?.clone();
        match receive_ahead(&mut self.reader, size, &store).await {
            Ok(content) => self.ahead = Some(content),
            // The balancer has given it up, and closed.
            Err(ReadError::Protocol(ProtocolError::Truncated { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The content that came ahead is that of an accepted file.
    fn keep(&mut self, number: u64, title: &str, journal: &Arc<str>) -> Result<(), ReadError> {
        let content = self.ahead.take();
        let content = content.ok_or_else(|| unexpected("nothing came ahead that could be kept"))?;
        let file = content.of_file(number, title.to_owned(), Hold::none());
        self.submit(file, Some(journal.clone()))
    }

    async fn confirm(&mut self, size: u64, journal: &Arc<str>) -> Result<(), ReadError> {
        if size > MAX_LIST_BYTES {
            return Err(ProtocolError::TooLarge {
                size,
                limit: MAX_LIST_BYTES,
            }
            .into());
        }
        let room = self.its_store()?.room(size).await;
        let numbers = decode_confirmed(&self.reader.content(size).await?)?;
        if numbers.len() > MAX_LIST {
            let reason = format!("more than {MAX_LIST} numbers");
            return Err(ProtocolError::BadContent("confirmed", reason).into());
        }
        self.its_store()?.confirm(journal.clone(), numbers, room);
        Ok(())
    }

    async fn remove(
        &self,
        number: u64,
        expected: Option<Expected>,
        journal: &Arc<str>,
    ) -> Result<(), ReadError> {
        let store = self.its_store()?;
        let room = store.room(0).await;
        let acks = self.acks.clone();
        let leave = self.leave.clone();
        let done = move |removed: io::Result<()>| {
            drop(room);
            match removed {
                Ok(()) => drop(acks.send(Outgoing::Message(Message::Dropped { number }))),
                // The file is listed again when the balancer reconnects, which then repeats the
                // order.
                Err(error) => {
                    tracing::error!(number, error = %error, "cannot drop a file");
                    let reason = format!("cannot drop file {number}: {error}");
                    leave.because(Refusal::new(RefusalCode::Storage, reason));
                }
            }
        };
        store.remove(journal.clone(), number, expected, Box::new(done));
        Ok(())
    }
}

/// Which journal a balancer's hello names; `None` if it names none.
fn claim_of(first: Message) -> Result<Option<Claim>, ReadError> {
    match first {
        Message::Hello(hello) if hello.role == Role::Balancer => {
            let Hello {
                identity,
                instance,
                epoch,
                bulk,
                ..
            } = *hello;
            Ok(identity.map(|journal| Claim {
                journal: journal.to_ascii_lowercase().into(),
                tenure: Tenure::of(epoch, instance),
                is_lane: bulk == Some(true),
            }))
        }
        Message::Hello(_) => Err(unexpected("a file server takes files from a balancer only")),
        _ => Err(unexpected("a connection begins with a hello")),
    }
}

fn unexpected(what: &'static str) -> ReadError {
    ProtocolError::Unexpected(what).into()
}
