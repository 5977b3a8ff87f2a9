//! What goes out over a native link: files, and what the server may forget or must remove.

use std::time::Duration;

use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::content::{Loaded, load, unreadable};
use super::error::LinkError;
use super::large::LargeContent;
use super::outstanding::Outstanding;
use super::target::Target;
use crate::balancer::dispatch::{LinkEvent, Ticket};
use crate::balancer::head_start::Ahead;
use crate::balancer::messages::{Parcel, ToServer};
use crate::bulk::Next;
use crate::protocol::limits::MAX_LIST;
use crate::protocol::{Message, frame, lists};
use crate::transport::{BoxStream, Direct, send_content, send_summed, until, write_all};

/// How many messages of the hub are written together at most.
const BATCH: usize = 64;

/// How long numbers that the server may forget wait for other messages, to be written with them.
/// Until they come the server only keeps a line more than it needs, and a message of their own
/// would wake it up once more for each file.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_millis(20);

/// From how many numbers on they wait no longer.
pub(super) const MOST_HELD: usize = 1024;

/// A large file, and the id of the file that has its content.
pub(super) type Large = (Parcel, u64);

/// What the link passes on to its head starts.
pub(super) enum ToAhead {
    /// A file comes in.
    Begin(Ahead),
    /// The hub sends a file that had this head start, perhaps over another link.
    Keep(Ticket, Large),
}

/// The ways to a link's lane and to its head starts, and back.
pub(super) struct LinkEnd {
    /// Files for the lane.
    pub(super) to_lane: mpsc::UnboundedSender<Large>,
    /// Files that come ahead, and those that came so.
    pub(super) to_ahead: mpsc::UnboundedSender<ToAhead>,
    /// Files that the lane does not take.
    pub(super) returned: mpsc::UnboundedReceiver<Large>,
}

/// The write half of a connection, with what is to be written next.
pub(super) struct Out<'a> {
    target: &'a Target,
    write: WriteHalf<BoxStream>,
    /// The direct way to what `write` writes to, by which large content may be written.
    direct: Option<Direct>,
    buffer: Vec<u8>,
    outstanding: &'a Outstanding,
    /// Numbers that the server may forget and that are not written yet.
    confirmed: Vec<u64>,
    /// When they are written at the latest.
    confirm_at: Option<Instant>,
}

/// Sends what the hub says, many messages in one write. Large files go to the lane, if there is one.
pub(super) async fn send_all(
    mut out: Out<'_>,
    mut lane: Option<LinkEnd>,
    mut from_hub: mpsc::UnboundedReceiver<ToServer>,
) -> Result<(), LinkError> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let returned = async {
            match &mut lane {
                Some(lane) => lane.returned.recv().await,
                None => None,
            }
        };
        tokio::select! {
            biased;
            Some((parcel, id)) = returned => out.stream(&parcel, id).await?,
            came = from_hub.recv_many(&mut batch, BATCH) => {
                if came == 0 {
                    out.confirm().await?;
                    return out.end().await;
                }
                for item in load(batch.drain(..)).await {
                    match (item, &lane) {
                        // What takes them ends no sooner than the link.
                        (Loaded::Ahead(ahead), Some(lane)) => {
                            let _ = lane.to_ahead.send(ToAhead::Begin(ahead));
                        }
                        (Loaded::Large(parcel, id), Some(lane)) => match parcel.ahead {
                            Some(ticket) => {
                                let keep = ToAhead::Keep(ticket, (parcel, id));
                                let _ = lane.to_ahead.send(keep);
                            }
                            None => drop(lane.to_lane.send((parcel, id))),
                        },
                        (item, _) => out.send(item).await?,
                    }
                }
            }
            () = until(out.confirm_at) => out.confirm().await?,
        }
        out.end().await?;
    }
}

impl<'a> Out<'a> {
    pub(super) fn new(
        target: &'a Target,
        write: WriteHalf<BoxStream>,
        direct: Option<Direct>,
        outstanding: &'a Outstanding,
    ) -> Self {
        Self {
            target,
            write,
            direct,
            buffer: Vec::new(),
            outstanding,
            confirmed: Vec::new(),
            confirm_at: None,
        }
    }

    /// Writes what is left of the files that were begun: answers are owed for them from now on.
    pub(super) async fn end(&mut self) -> Result<(), LinkError> {
        self.flush().await?;
        self.outstanding.written();
        Ok(())
    }

    async fn send(&mut self, item: Loaded) -> Result<(), LinkError> {
        if !matches!(item, Loaded::Confirm(_)) {
            self.confirm().await?;
        }
        match item {
            Loaded::Small(parcel, content) => {
                self.outstanding.begin(parcel.number);
                self.header(&parcel);
                let crc32c = parcel.meta.crc32c;
                let stall = self.target.stall;
                send_summed(&mut self.write, &mut self.buffer, &content, crc32c, stall).await?;
            }
            Loaded::Large(parcel, id) => self.stream(&parcel, id).await?,
            Loaded::Failed(event) => self.target.tell(event),
            Loaded::Confirm(numbers) => self.hold(numbers).await?,
            Loaded::Drop(number, expected) => {
                self.outstanding.ordered(number);
                let message = Message::Drop {
                    number,
                    expected: Some(expected),
                };
                frame::encode(&message, 0, &mut self.buffer);
            }
            // `load` has read the ones, and nobody asks for the others without a lane.
            Loaded::InJournal(..) | Loaded::Ahead(_) => {}
        }
        Ok(())
    }

    /// Appends the head of a file's frame.
    fn header(&mut self, parcel: &Parcel) {
        let header = Message::Store {
            number: parcel.number,
            title: (&*parcel.meta.title).into(),
        };
        frame::encode(&header, parcel.meta.size, &mut self.buffer);
    }

    /// Has the server told, before anything else and soon, that it may forget these numbers.
    async fn hold(&mut self, numbers: Vec<u64>) -> Result<(), LinkError> {
        self.confirmed.extend(numbers);
        self.confirm_at
            .get_or_insert_with(|| Instant::now() + CONFIRM_WITHIN);
        if self.confirmed.len() < MOST_HELD {
            return Ok(());
        }
        self.confirm().await
    }

    /// Appends what is held.
    async fn confirm(&mut self) -> Result<(), LinkError> {
        self.confirm_at = None;
        let numbers = std::mem::take(&mut self.confirmed);
        for part in numbers.chunks(MAX_LIST) {
            let content = lists::encode_confirmed(part);
            frame::encode(&Message::Confirmed, content.len() as u64, &mut self.buffer);
            let stall = self.target.stall;
            send_content(&mut self.write, &mut self.buffer, &content, stall).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        write_all(&mut self.write, &self.buffer, self.target.stall).await?;
        self.buffer.clear();
        Ok(())
    }

    /// Sends content from its own file. If nothing of it can be read, nothing is sent. If it turns
    /// out to be unreadable or damaged later, the link ends, because half of the file was sent.
    pub(super) async fn stream(&mut self, parcel: &Parcel, id: u64) -> Result<(), LinkError> {
        let meta = &parcel.meta;
        let disk = self.target.disk.clone();
        let mut content = LargeContent::open(disk, id, meta.size, meta.crc32c);
        let mut is_begun = false;
        while let Some(piece) = content.next().await {
            let Next { piece, sent } = match piece {
                Ok(next) => next,
                Err(error) => return self.cannot_read(parcel.number, &error, is_begun),
            };
            if !is_begun {
                is_begun = true;
                self.begin_large(parcel).await?;
                content.send_over(self.direct.clone());
            }
            let rest = piece.get(sent..).unwrap_or_default();
            write_all(&mut self.write, rest, self.target.stall).await?;
            content.reuse(piece);
        }
        self.buffer.extend_from_slice(&frame::checksum(meta.crc32c));
        Ok(())
    }

    /// Writes the head of a large file. Answers are owed for the files before it from now on,
    /// however long it takes.
    async fn begin_large(&mut self, parcel: &Parcel) -> Result<(), LinkError> {
        let place = self.outstanding.begin(parcel.number);
        self.header(parcel);
        self.flush().await?;
        self.outstanding.written_before(place);
        Ok(())
    }

    /// Tells the hub of large content that cannot be read, and ends the link if a part of it was
    /// sent.
    fn cannot_read(
        &self,
        number: u64,
        error: &std::io::Error,
        is_begun: bool,
    ) -> Result<(), LinkError> {
        let describe = |error: &str| format!("it cannot be read from the journal: {error}");
        if !is_begun {
            self.target.tell(unreadable(number, error, describe));
            return Ok(());
        }
        let reason = describe(&crate::transport::plain(error));
        self.target.tell(LinkEvent::Unreadable {
            number,
            reason: reason.clone(),
        });
        Err(LinkError::Content { number, reason })
    }
}
