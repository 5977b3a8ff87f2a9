//! Head starts over a native link: content that goes to its server while it still comes in.
//!
//! Each has a connection of its own, which enters as a lane does. The content goes out as far as it
//! is written. When the hub sends the file, its checksum and its number follow (`keep`), and the
//! server acknowledges it as one that came in `store`.
//!
//! Before `keep` nothing depends on such a connection: if it fails, the file goes over the lane.
//! From then on the server may have stored the file, so the link ends with it, and the server's list
//! tells.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::WriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::acks::{Answers, next_answer};
use super::error::LinkError;
use super::large::LargeContent;
use super::opening::Opening;
use super::outstanding::Outstanding;
use super::send::{Large, ToAhead};
use super::target::Target;
use crate::balancer::dispatch::{LinkEvent, Speaker, Ticket};
use crate::balancer::head_start::Ahead;
use crate::bulk::Next;
use crate::protocol::{Message, frame};
use crate::transport::{BoxStream, Direct, write_all};

/// How long an upload that was fast may bring nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the server holds content that is whole. The file is sent sooner, unless it has to wait.
const HELD: Duration = Duration::from_secs(30);

/// The end of the head starts.
pub(super) struct AheadEnd {
    pub(super) inbox: mpsc::UnboundedReceiver<ToAhead>,
    /// Takes files whose head start came to nothing.
    pub(super) to_lane: mpsc::UnboundedSender<Large>,
}

/// What is left of a head start.
struct Ended {
    ticket: Ticket,
    /// The file was sent, and still has to be.
    left: Option<Large>,
    /// Why the link has to end, if so.
    result: Result<(), LinkError>,
}

/// Runs the head starts of the link to `speaker`. Returns only if the link has to end.
pub(super) async fn run(
    target: &Arc<Target>,
    speaker: &Speaker,
    AheadEnd { mut inbox, to_lane }: AheadEnd,
) -> Result<(), LinkError> {
    let mut under_way = JoinSet::new();
    let mut files: HashMap<Ticket, oneshot::Sender<Large>> = HashMap::new();
    loop {
        tokio::select! {
            next = inbox.recv() => match next {
                Some(ToAhead::Begin(ahead)) => {
                    let (to_keep, kept) = oneshot::channel();
                    files.insert(ahead.ticket, to_keep);
                    let (target, speaker) = (target.clone(), speaker.clone());
                    under_way.spawn(async move { send(&target, &speaker, ahead, kept).await });
                }
                Some(ToAhead::Keep(ticket, large)) => {
                    let unsent = match files.remove(&ticket) {
                        Some(to_keep) => to_keep.send(large).err(),
                        None => Some(large),
                    };
                    // The lane ends no sooner than this.
                    let _ = unsent.map(|large| to_lane.send(large));
                }
                None => std::future::pending().await,
            },
            Some(ended) = under_way.join_next() => {
                let ended = ended.map_err(io::Error::other)?;
                files.remove(&ended.ticket);
                target.tell(LinkEvent::HeadStartOver(ended.ticket));
                let _ = ended.left.map(|large| to_lane.send(large));
                ended.result?;
            }
        }
    }
}

/// Sends one file ahead, and has it kept when it comes in `kept`.
async fn send(
    target: &Target,
    speaker: &Speaker,
    mut ahead: Ahead,
    mut kept: oneshot::Receiver<Large>,
) -> Ended {
    let ticket = ahead.ticket;
    match Way::open(target, speaker).await {
        Ok(mut way) => match way.send(&mut ahead, &mut kept).await {
            Ok(large) if large.0.meta.size == ahead.size => {
                let result = way.keep(&large).await;
                return Ended {
                    ticket,
                    left: None,
                    result,
                };
            }
            // It is not what went ahead.
            Ok(large) => {
                return Ended {
                    ticket,
                    left: Some(large),
                    result: Ok(()),
                };
            }
            Err(over) => tracing::debug!(server = &*target.address, "a head start ends: {over}"),
        },
        Err(error) => {
            let reason = error.reason();
            tracing::debug!(server = &*target.address, reason, "no head start");
        }
    }
    // The file may come at this moment.
    kept.close();
    Ended {
        ticket,
        left: kept.try_recv().ok(),
        result: Ok(()),
    }
}

/// Why a head start ends before the server was told to keep the file.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("{}", .0.reason())]
    Link(#[from] LinkError),
    #[error("cannot read what came in: {0}")]
    Read(io::Error),
    #[error("the upload has brought nothing for {PATIENCE:?}")]
    Slow,
    #[error("the file waits for longer than {HELD:?}")]
    Waits,
    #[error("the file was not accepted, or went to another server")]
    NotNeeded,
}

/// The connection of one head start.
struct Way<'a> {
    target: &'a Target,
    reader: Answers,
    write: WriteHalf<BoxStream>,
    direct: Option<Direct>,
}

impl<'a> Way<'a> {
    async fn open(target: &'a Target, speaker: &Speaker) -> Result<Self, LinkError> {
        let opened = Opening::lane(target).await?;
        if opened.speaker != *speaker {
            return Err(LinkError::OtherServer);
        }
        Ok(Self {
            target,
            reader: opened.reader,
            write: opened.write,
            direct: opened.direct,
        })
    }

    /// Sends the content as it comes in, all of it, and waits for the file.
    async fn send(
        &mut self,
        ahead: &mut Ahead,
        kept: &mut oneshot::Receiver<Large>,
    ) -> Result<Large, Over> {
        let Self {
            target,
            reader,
            write,
            direct,
        } = self;
        let sending = async {
            send_content(write, direct.clone(), ahead, target.stall).await?;
            tokio::select! {
                biased;
                large = kept => large.map_err(|_| Over::NotNeeded),
                () = closed(ahead) => Err(Over::NotNeeded),
                () = sleep(HELD) => Err(Over::Waits),
            }
        };
        tokio::select! {
            large = sending => large,
            // The server has nothing to say but that it takes no more.
            answer = next_answer(reader) => Err(match answer? {
                Some(Message::Bye(refusal)) => LinkError::Bye(refusal),
                Some(other) => LinkError::Unexpected(other),
                None => LinkError::ClosedBeforeAnswer,
            }.into()),
        }
    }

    /// Has the server keep what was sent as this file, and waits for its answer.
    async fn keep(&mut self, (parcel, _): &Large) -> Result<(), LinkError> {
        let stall = self.target.stall;
        let outstanding = Outstanding::new();
        let number = parcel.number;
        let mut out = frame::checksum(parcel.meta.crc32c).to_vec();
        let title = (&*parcel.meta.title).into();
        frame::encode(&Message::Keep { number, title }, 0, &mut out);
        outstanding.begin(number);
        write_all(&mut self.write, &out, stall).await?;
        outstanding.written();
        let answer = tokio::select! {
            answer = next_answer(&mut self.reader) => answer?,
            () = outstanding.is_stuck(stall) => return Err(LinkError::Silent(stall)),
        };
        self.target.tell(match answer {
            Some(Message::Stored { number: of }) if of == number => LinkEvent::Stored {
                numbers: vec![number],
                confirmed: true,
            },
            Some(Message::NotStored {
                number: of,
                refusal,
            }) if of == number => LinkEvent::NotStored { number, refusal },
            Some(Message::Bye(refusal)) => return Err(LinkError::Bye(refusal)),
            Some(other) => return Err(LinkError::Unexpected(other)),
            None => return Err(LinkError::ClosedBeforeAnswer),
        });
        Ok(())
    }
}

/// Sends content as far as it is written, until all of it is sent.
async fn send_content(
    write: &mut WriteHalf<BoxStream>,
    direct: Option<Direct>,
    ahead: &mut Ahead,
    stall: Duration,
) -> Result<(), Over> {
    let mut head = Vec::new();
    frame::encode(&Message::Ahead, ahead.size, &mut head);
    write_all(write, &head, stall)
        .await
        .map_err(LinkError::from)?;
    let mut content = LargeContent::coming(ahead.file.clone(), direct);
    let mut sent = 0;
    while sent < ahead.size {
        let written = (*ahead.written.borrow_and_update()).min(ahead.size);
        if written == sent {
            let grown = timeout(PATIENCE, ahead.written.changed()).await;
            let is_on = grown.map_err(|_| Over::Slow)?;
            is_on.map_err(|_| Over::NotNeeded)?;
            continue;
        }
        content.go_on(|content| content.grows_to(written));
        while let Some(piece) = content.next().await {
            let Next { piece, sent } = piece.map_err(Over::Read)?;
            let rest = piece.get(sent..).unwrap_or_default();
            write_all(write, rest, stall)
                .await
                .map_err(LinkError::from)?;
            content.reuse(piece);
        }
        sent = written;
    }
    Ok(())
}

/// Returns once the file needs no head start any more.
async fn closed(ahead: &mut Ahead) {
    while ahead.written.changed().await.is_ok() {}
}
