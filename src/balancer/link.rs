//! The link to one server: over it the hub's parcels go out, and what becomes of them comes back as events.
//!
//! A native server gets one lasting connection with many files in flight; an old-style server a fresh connection for
//! each file, and no acknowledgement. Owns the deadlines of both; windows and retries are the dispatcher's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::dispatch::Parcel;
use super::event::{Event, LinkEvent};
use crate::protocol::status::Dialect;
use crate::protocol::{Message, Role, frame, json};
use crate::schedule::Slot;
use crate::transport::{BoxStream, Connect, Deadlines, ReadError, Reader, plain, send_content, write_all};

/// How many parcels are written together at most.
const BATCH: usize = 64;

/// How many connections an old-style server gets at once: it starts a thread for each, and its backlog is short.
const OLD_STYLE_CONNECTIONS: usize = 4;

/// Where a link leads, and what it needs.
pub(super) struct Target {
    pub(super) slot: Slot,
    pub(super) epoch: u64,
    pub(super) address: Arc<str>,
    pub(super) connector: Arc<dyn Connect>,
    pub(super) hub: mpsc::UnboundedSender<Event>,
    pub(super) connect_timeout: Duration,
    /// How long the server may read nothing, or acknowledge nothing of what it has.
    pub(super) stall: Duration,
}

impl Target {
    fn tell(&self, event: LinkEvent) {
        // A hub that is gone needs no telling.
        let _ = self.hub.send(Event::Link { slot: self.slot, epoch: self.epoch, event });
    }

    async fn connect(&self) -> io::Result<BoxStream> {
        let connecting = timeout(self.connect_timeout, self.connector.connect(&self.address));
        connecting.await.map_err(|_| io::Error::other(format!("no connection in {:?}", self.connect_timeout)))?
    }
}

/// Runs a link until it fails or the hub drops its end.
pub(super) async fn run(target: Target, dialect: Dialect, parcels: mpsc::UnboundedReceiver<Parcel>) {
    match dialect {
        Dialect::Native => {
            let reason = match native(&target, parcels).await {
                Ok(()) => "closed by the server".to_owned(),
                Err(error) => plain(&error),
            };
            target.tell(LinkEvent::Closed(reason));
        }
        Dialect::OldStyle => old_style(Arc::new(target), parcels).await,
    }
}

/// What is sent and not acknowledged over a native link, and when that last changed.
struct Outstanding {
    files: AtomicU64,
    changed_ms: AtomicU64,
    started: Instant,
}

impl Outstanding {
    fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.changed_ms.store(now, Ordering::Relaxed);
    }

    /// Whether files wait for an acknowledgement, and nothing has moved for `stall`.
    fn is_stuck(&self, stall: Duration) -> bool {
        let changed = Duration::from_millis(self.changed_ms.load(Ordering::Relaxed));
        self.files.load(Ordering::Relaxed) > 0 && self.started.elapsed().saturating_sub(changed) >= stall
    }
}

async fn native(target: &Target, parcels: mpsc::UnboundedReceiver<Parcel>) -> Result<(), io::Error> {
    let stream = target.connect().await?;
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, Deadlines { stall: target.stall, idle: target.stall });
    let greeted = timeout(target.connect_timeout, greet(&mut reader, &mut write)).await;
    greeted.map_err(|_| io::Error::other(format!("no greeting in {:?}", target.connect_timeout)))??;
    target.tell(LinkEvent::Opened);

    let outstanding = Outstanding { files: AtomicU64::new(0), changed_ms: AtomicU64::new(0), started: Instant::now() };
    tokio::select! {
        result = send_parcels(write, parcels, &outstanding, target.stall) => result,
        result = read_acks(target, reader, &outstanding) => result,
    }
}

async fn greet<R, W>(reader: &mut Reader<R>, write: &mut W) -> io::Result<()>
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    frame::encode(&Message::Hello { role: Role::Balancer, overloaded: None, identity: None }, 0, &mut out);
    write.write_all(&out).await?;
    reader.preface().await.map_err(io::Error::other)?;
    match reader.frame().await.map_err(io::Error::other)?.map(|frame| frame.message) {
        Some(Message::Hello { role: Role::Server, .. }) => Ok(()),
        Some(Message::Bye(refusal)) => Err(io::Error::other(refusal.reason)),
        Some(_) => Err(io::Error::other("it is no file server")),
        None => Err(io::Error::other("closed instead of a greeting")),
    }
}

async fn send_parcels(
    mut write: tokio::io::WriteHalf<BoxStream>,
    mut parcels: mpsc::UnboundedReceiver<Parcel>,
    outstanding: &Outstanding,
    stall: Duration,
) -> Result<(), io::Error> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut out = Vec::new();
    while parcels.recv_many(&mut batch, BATCH).await > 0 {
        outstanding.files.fetch_add(batch.len() as u64, Ordering::Relaxed);
        outstanding.touch();
        for Parcel { number, title, content } in batch.drain(..) {
            frame::encode(&Message::Store { number, title }, content.len() as u64, &mut out);
            send_content(&mut write, &mut out, &content, stall).await.map_err(io::Error::other)?;
        }
        write_all(&mut write, &out, stall).await.map_err(io::Error::other)?;
        out.clear();
        outstanding.touch();
    }
    Ok(())
}

async fn read_acks(
    target: &Target,
    mut reader: Reader<tokio::io::ReadHalf<BoxStream>>,
    outstanding: &Outstanding,
) -> Result<(), io::Error> {
    loop {
        let message = match reader.frame().await {
            Ok(Some(frame)) => frame.message,
            Ok(None) => return Ok(()),
            Err(ReadError::Idle(_)) if !outstanding.is_stuck(target.stall) => continue,
            Err(ReadError::Idle(after)) => {
                return Err(io::Error::other(format!("acknowledged nothing for {after:?}")));
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        let event = match message {
            Message::Stored { number } => LinkEvent::Stored { number, confirmed: true },
            Message::NotStored { number, refusal } => LinkEvent::NotStored { number, refusal },
            Message::Bye(refusal) => return Err(io::Error::other(refusal.reason)),
            other => return Err(io::Error::other(format!("unexpected message from a server: {other:?}"))),
        };
        // More acknowledgements than parcels are the dispatcher's to ignore; here they must not wrap around.
        let _ = outstanding.files.try_update(Ordering::Relaxed, Ordering::Relaxed, |files| files.checked_sub(1));
        outstanding.touch();
        target.tell(event);
    }
}

/// Gives each parcel a connection of its own, a few at once.
async fn old_style(target: Arc<Target>, mut parcels: mpsc::UnboundedReceiver<Parcel>) {
    target.tell(LinkEvent::Opened);
    let mut deliveries = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            parcel = parcels.recv(), if deliveries.len() < OLD_STYLE_CONNECTIONS => match parcel {
                Some(parcel) => drop(deliveries.spawn(deliver_old_style(target.clone(), parcel))),
                None => return,
            },
            Some(_) = deliveries.join_next() => {}
        }
    }
}

async fn deliver_old_style(target: Arc<Target>, parcel: Parcel) {
    let number = parcel.number;
    target.tell(match hand_over(&target, &parcel).await {
        Ok(()) => LinkEvent::Stored { number, confirmed: false },
        Err(error) => LinkEvent::Lost { number, reason: plain(&error) },
    });
}

/// Such a server reads once, so the whole document goes in one write.
async fn hand_over(target: &Target, parcel: &Parcel) -> io::Result<()> {
    let document = json::old_style_file(parcel.number, &parcel.title, &parcel.content).map_err(io::Error::other)?;
    let mut stream = target.connect().await?;
    write_all(&mut stream, &document, target.stall).await.map_err(io::Error::other)?;
    stream.shutdown().await
}
