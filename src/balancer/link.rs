//! The link to one server: over it the hub's parcels go out, and what becomes of them comes back as
//! events.
//!
//! A native server gets one lasting connection with many files in flight; an old-style server a
//! fresh connection for each file, and no acknowledgement. Owns the deadlines of both; windows and
//! retries are the dispatcher's.

mod large;
mod outstanding;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use bytes::Bytes;

use self::large::LargeContent;
use self::outstanding::Outstanding;
use super::dispatch::{Parcel, Speaker};
use super::messages::{LinkEvent, ToHub, ToServer};
use crate::os_error::is_shortage;
use crate::protocol::limits::{MAX_LIST, MAX_LIST_BYTES};
use crate::protocol::status::Dialect;
use crate::protocol::{Expected, Message, Role, frame, json, lists};
use crate::queue::disk::Disk;
use crate::queue::{FileBody, Location};
use crate::schedule::Slot;
use crate::transport::{
    BoxStream, Connect, Deadlines, ReadError, Reader, WriteError, plain, send_content, write_all,
};

/// How many parcels are written together at most.
const BATCH: usize = 64;

/// The most files that a server may say it has at once: more than can ever be in flight to it.
const MOST_HELD: usize = 1_000_000;

/// How many stall timeouts a server may take to say all that it has: no file of an earlier run goes
/// before that.
const HOLDING_STALLS: u32 = 2;

/// How many connections an old-style server gets at once: it starts a thread for each, and its
/// backlog is short.
const OLD_STYLE_CONNECTIONS: usize = 4;

/// Where a link leads, and what it needs.
pub(super) struct Target {
    pub(super) slot: Slot,
    pub(super) epoch: u64,
    pub(super) address: Arc<str>,
    pub(super) connector: Arc<dyn Connect>,
    pub(super) hub: mpsc::UnboundedSender<ToHub>,
    /// Where the content is that is not in memory.
    pub(super) disk: Arc<dyn Disk>,
    /// What the balancer's journal is called, for the server's index.
    pub(super) journal: Arc<str>,
    pub(super) connect_timeout: Duration,
    /// How long the server may read nothing, or acknowledge nothing of what it has.
    pub(super) stall: Duration,
}

impl Target {
    fn tell(&self, event: LinkEvent) {
        // A hub that is gone needs no telling.
        let _ = self.hub.send(ToHub::Link {
            slot: self.slot,
            epoch: self.epoch,
            event,
        });
    }

    async fn connect(&self) -> io::Result<BoxStream> {
        let connecting = timeout(self.connect_timeout, self.connector.connect(&self.address));
        connecting
            .await
            .map_err(|_| io::Error::other(format!("no connection in {:?}", self.connect_timeout)))?
    }
}

/// Runs a link until it fails or the hub drops its end.
pub(super) async fn run(
    target: Target,
    dialect: Dialect,
    from_hub: mpsc::UnboundedReceiver<ToServer>,
) {
    match dialect {
        Dialect::Native => {
            target.tell(match native(&target, from_hub).await {
                Ok(()) => LinkEvent::Closed("closed by the server".to_owned()),
                Err(LinkEnded::Failed(error)) if is_stalled(&error) => {
                    LinkEvent::Silent(plain(&error))
                }
                Err(LinkEnded::Failed(error)) => LinkEvent::Closed(plain(&error)),
                Err(LinkEnded::Silent(stall)) => {
                    LinkEvent::Silent(format!("acknowledged nothing for {stall:?}"))
                }
            });
        }
        Dialect::OldStyle => old_style(Arc::new(target), from_hub).await,
    }
}

/// Whether the server reads nothing.
fn is_stalled(error: &io::Error) -> bool {
    let write = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<WriteError>());
    matches!(write, Some(WriteError::Stalled(_)))
}

/// How a native link ended that the server did not close.
enum LinkEnded {
    Failed(io::Error),
    /// The server has what it was sent, and has not answered for the oldest file in this time.
    Silent(Duration),
}

impl From<io::Error> for LinkEnded {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

async fn native(
    target: &Target,
    from_hub: mpsc::UnboundedReceiver<ToServer>,
) -> Result<(), LinkEnded> {
    let stream = target.connect().await?;
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(
        read,
        Deadlines {
            stall: target.stall,
            idle: target.stall,
        },
    );
    let greeted = timeout(
        target.connect_timeout,
        greet(&mut reader, &mut write, &target.journal),
    )
    .await;
    let speaker = greeted
        .map_err(|_| io::Error::other(format!("no greeting in {:?}", target.connect_timeout)))??;
    let (holding, seen) = match &speaker.identity {
        Some(_) => {
            let limit = target.stall * HOLDING_STALLS;
            let late = |_| io::Error::other(format!("it has not said what it has in {limit:?}"));
            let (holding, seen) = timeout(limit, read_holding(&mut reader))
                .await
                .map_err(late)??;
            (Some(holding), seen)
        }
        None => (None, None),
    };
    target.tell(LinkEvent::Opened {
        speaker,
        holding,
        seen,
    });

    let outstanding = Outstanding::new();
    tokio::select! {
        result = send_all(target, write, from_hub, &outstanding) => result.map_err(LinkEnded::Failed),
        result = read_acks(target, reader, &outstanding) => result.map_err(LinkEnded::Failed),
        () = outstanding.is_stuck(target.stall) => Err(LinkEnded::Silent(target.stall)),
    }
}

/// Exchanges greetings, and says who the server is.
async fn greet<R, W>(
    reader: &mut Reader<R>,
    write: &mut W,
    journal: &Arc<str>,
) -> io::Result<Speaker>
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    let hello = Message::Hello {
        role: Role::Balancer,
        overloaded: None,
        identity: Some(journal.clone()),
        memory: None,
        instance: None,
    };
    frame::encode(&hello, 0, &mut out);
    write.write_all(&out).await?;
    reader.preface().await.map_err(io::Error::other)?;
    match reader
        .frame()
        .await
        .map_err(io::Error::other)?
        .map(|frame| frame.message)
    {
        Some(Message::Hello {
            role: Role::Server,
            identity,
            instance,
            ..
        }) => Ok(Speaker { identity, instance }),
        Some(Message::Bye(refusal)) => Err(io::Error::other(refusal.reason)),
        Some(_) => Err(io::Error::other("it is no file server")),
        None => Err(io::Error::other("closed instead of a greeting")),
    }
}

/// Reads what the server has and does not know to be confirmed, and the highest number that it has
/// seen.
async fn read_holding<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut Reader<R>,
) -> io::Result<(Vec<lists::StoredFile>, Option<u64>)> {
    let (mut holding, mut highest) = (Vec::new(), None);
    loop {
        let Some(frame) = reader.frame().await.map_err(io::Error::other)? else {
            return Err(io::Error::other("closed before it said what it has"));
        };
        let last = match frame.message {
            Message::Holding { last, seen } => {
                highest = highest.max(seen);
                last
            }
            Message::Bye(refusal) => return Err(io::Error::other(refusal.reason)),
            _ => return Err(io::Error::other("it does not say what it has")),
        };
        if frame.content_len > MAX_LIST_BYTES || holding.len() > MOST_HELD {
            return Err(io::Error::other(
                "it says that it has more than it can have",
            ));
        }
        let content = reader
            .content(frame.content_len)
            .await
            .map_err(io::Error::other)?;
        holding.extend(lists::decode_holding(&content).map_err(io::Error::other)?);
        if last {
            return Ok((holding, highest));
        }
    }
}

/// Sends what the hub says, many messages in one write.
async fn send_all(
    target: &Target,
    mut write: tokio::io::WriteHalf<BoxStream>,
    mut from_hub: mpsc::UnboundedReceiver<ToServer>,
    outstanding: &Outstanding,
) -> Result<(), io::Error> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut out = Vec::new();
    while from_hub.recv_many(&mut batch, BATCH).await > 0 {
        for item in load(&mut batch).await {
            match item {
                Loaded::Parcel(parcel, content) => {
                    outstanding.begin(parcel.number);
                    let header = Message::Store {
                        number: parcel.number,
                        title: (&*parcel.meta.title).into(),
                    };
                    frame::encode(&header, content.len() as u64, &mut out);
                    send_content(&mut write, &mut out, &content, target.stall)
                        .await
                        .map_err(io::Error::other)?;
                }
                Loaded::Large(parcel, id) => {
                    stream(target, &mut write, &mut out, &parcel, id, outstanding).await?;
                }
                Loaded::Unreadable(number, error) => {
                    target.tell(LinkEvent::Unreadable {
                        number,
                        reason: plain(&error),
                    });
                }
                Loaded::Confirm(numbers) => {
                    for part in numbers.chunks(MAX_LIST) {
                        let content = lists::encode_confirmed(part);
                        frame::encode(&Message::Confirmed, content.len() as u64, &mut out);
                        send_content(&mut write, &mut out, &content, target.stall)
                            .await
                            .map_err(io::Error::other)?;
                    }
                }
                Loaded::Drop(number, expected) => {
                    frame::encode(
                        &Message::Drop {
                            number,
                            expected: Some(expected),
                        },
                        0,
                        &mut out,
                    );
                }
            }
        }
        write_all(&mut write, &out, target.stall)
            .await
            .map_err(io::Error::other)?;
        out.clear();
        outstanding.written();
    }
    Ok(())
}

/// Something that is to be sent, with small content at hand.
enum Loaded {
    Parcel(Parcel, Bytes),
    Large(Parcel, u64),
    Unreadable(u64, io::Error),
    Confirm(Vec<u64>),
    Drop(u64, Expected),
}

/// Reads the small content that is in the journal only, all of the batch in one go.
async fn load(batch: &mut Vec<ToServer>) -> Vec<Loaded> {
    let is_in_journal = |item: &ToServer| {
        matches!(
            item,
            ToServer::Parcel(Parcel {
                content: FileBody::Journal(_),
                ..
            })
        )
    };
    let items: Vec<ToServer> = std::mem::take(batch);
    if !items.iter().any(is_in_journal) {
        return items.into_iter().map(load_one).collect();
    }
    let loading = tokio::task::spawn_blocking(|| items.into_iter().map(load_one).collect());
    loading.await.unwrap_or_default()
}

fn load_one(item: ToServer) -> Loaded {
    let parcel = match item {
        ToServer::Parcel(parcel) => parcel,
        ToServer::Confirm(numbers) => return Loaded::Confirm(numbers),
        ToServer::Drop(number, expected) => return Loaded::Drop(number, expected),
    };
    match small_content(&parcel) {
        Ok(Some(content)) => Loaded::Parcel(parcel, content),
        Ok(None) => match parcel.content {
            FileBody::Own(id) => Loaded::Large(parcel, id),
            _ => Loaded::Unreadable(parcel.number, io::Error::other("it is nowhere")),
        },
        Err(error) => Loaded::Unreadable(parcel.number, error),
    }
}

/// The content, unless it has a file of its own.
fn small_content(parcel: &Parcel) -> io::Result<Option<Bytes>> {
    match &parcel.content {
        FileBody::Memory(content, _) => Ok(Some(content.clone())),
        FileBody::Journal(location) => Location::read(location, parcel.meta.crc32c).map(Some),
        FileBody::Own(_) => Ok(None),
    }
}

/// Sends content from its own file, or nothing, if nothing of it can be read. Content that turns
/// out not to be what it was breaks the link off: half of it is sent.
async fn stream(
    target: &Target,
    write: &mut tokio::io::WriteHalf<BoxStream>,
    out: &mut Vec<u8>,
    parcel: &Parcel,
    id: u64,
    outstanding: &Outstanding,
) -> Result<(), io::Error> {
    let (number, meta) = (parcel.number, &parcel.meta);
    let mut content = LargeContent::open(target.disk.clone(), id, meta.size, meta.crc32c);
    let mut is_begun = false;
    while let Some(piece) = content.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                let reason = format!("it cannot be read from the journal: {}", plain(&error));
                if is_begun {
                    target.tell(LinkEvent::Unreadable {
                        number,
                        reason: reason.clone(),
                    });
                    return Err(io::Error::other(format!("file {number}: {reason}")));
                }
                let is_shortage = is_shortage(&error);
                target.tell(if is_shortage {
                    LinkEvent::NotNow { number, reason }
                } else {
                    LinkEvent::Unreadable { number, reason }
                });
                return Ok(());
            }
        };
        if !std::mem::replace(&mut is_begun, true) {
            let place = outstanding.begin(number);
            frame::encode(
                &Message::Store {
                    number,
                    title: (&*meta.title).into(),
                },
                meta.size,
                out,
            );
            write_all(write, out, target.stall)
                .await
                .map_err(io::Error::other)?;
            out.clear();
            outstanding.written_before(place);
        }
        write_all(write, &piece, target.stall)
            .await
            .map_err(io::Error::other)?;
        content.reuse(piece);
    }
    out.extend_from_slice(&frame::checksum(meta.crc32c));
    Ok(())
}

/// Tells what becomes of the files; acknowledgements that came together are told together.
async fn read_acks(
    target: &Target,
    mut reader: Reader<tokio::io::ReadHalf<BoxStream>>,
    outstanding: &Outstanding,
) -> Result<(), io::Error> {
    let mut numbers = Vec::new();
    loop {
        let next = next_answer(&mut reader).await;
        let is_stored = matches!(next, Ok(Some(Message::Stored { .. })));
        if let Ok(Some(Message::Stored { number })) = next {
            numbers.push(number);
        }
        let more_follow = is_stored && reader.has_frame();
        if !numbers.is_empty() && !more_follow {
            target.tell(LinkEvent::Stored {
                numbers: std::mem::take(&mut numbers),
                confirmed: true,
            });
        }
        match next? {
            None => return Ok(()),
            Some(Message::Stored { number }) => outstanding.take_from_flight(number),
            Some(Message::NotStored { number, refusal }) => {
                outstanding.take_from_flight(number);
                target.tell(LinkEvent::NotStored { number, refusal });
            }
            Some(Message::Dropped { number }) => target.tell(LinkEvent::Dropped { number }),
            Some(Message::Bye(refusal)) => return Err(io::Error::other(refusal.reason)),
            Some(other) => {
                return Err(io::Error::other(format!(
                    "unexpected message from a server: {other:?}"
                )));
            }
        }
    }
}

/// The server's next message; `None` when it closed. It may be silent while it owes nothing, which
/// is watched elsewhere.
async fn next_answer(
    reader: &mut Reader<tokio::io::ReadHalf<BoxStream>>,
) -> Result<Option<Message>, io::Error> {
    loop {
        match reader.frame().await {
            Ok(frame) => return Ok(frame.map(|frame| frame.message)),
            Err(ReadError::Idle(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// Gives each parcel a connection of its own, a few at once.
async fn old_style(target: Arc<Target>, mut from_hub: mpsc::UnboundedReceiver<ToServer>) {
    target.tell(LinkEvent::Opened {
        speaker: Speaker::default(),
        holding: None,
        seen: None,
    });
    let mut deliveries = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            item = from_hub.recv(), if deliveries.len() < OLD_STYLE_CONNECTIONS => match item {
                Some(ToServer::Parcel(parcel)) => drop(deliveries.spawn(deliver_old_style(target.clone(), parcel))),
                // Such a server confirms nothing, and removes nothing.
                Some(ToServer::Confirm(_) | ToServer::Drop(..)) => {}
                None => return,
            },
            Some(_) = deliveries.join_next() => {}
        }
    }
}

async fn deliver_old_style(target: Arc<Target>, parcel: Parcel) {
    let number = parcel.number;
    let loaded = tokio::task::spawn_blocking(move || {
        small_content(&parcel).map(|content| (content, parcel))
    })
    .await;
    let (content, parcel) = match loaded.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok((Some(content), parcel)) => (content, parcel),
        Ok((None, _)) => {
            return target.tell(LinkEvent::Lost {
                number,
                reason: "too large for an old-style server".to_owned(),
            });
        }
        Err(error) => {
            return target.tell(LinkEvent::Unreadable {
                number,
                reason: plain(&error),
            });
        }
    };
    target.tell(match hand_over(&target, &parcel, &content).await {
        Ok(()) => LinkEvent::Stored {
            numbers: vec![number],
            confirmed: false,
        },
        Err(error) => LinkEvent::Lost {
            number,
            reason: plain(&error),
        },
    });
}

/// Such a server reads once, so the whole document goes in one write.
async fn hand_over(target: &Target, parcel: &Parcel, content: &[u8]) -> io::Result<()> {
    let document = json::old_style_file(parcel.number, &parcel.meta.title, content)
        .map_err(io::Error::other)?;
    let mut stream = target.connect().await?;
    write_all(&mut stream, &document, target.stall)
        .await
        .map_err(io::Error::other)?;
    stream.shutdown().await
}
