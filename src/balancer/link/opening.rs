//! The beginning of a native connection: greetings, and the server's list of files.

use std::sync::{Arc, LazyLock};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::time::timeout;

use super::acks::Answers;
use super::error::{LinkError, MAX_INVENTORY};
use super::target::Target;
use crate::balancer::dispatch::Speaker;
use crate::protocol::limits::MAX_LIST_BYTES;
use crate::protocol::lists::{self, StoredFile};
use crate::protocol::{Hello, Message, Role, frame};
use crate::transport::{BoxStream, Deadlines, Direct, Reader};

/// How many stall timeouts a server may take to list its files: no file of an earlier run goes out
/// before that.
const INVENTORY_STALLS: u32 = 2;

/// Which process this is of all that ever have its journal's identity: 32 hex digits.
static INSTANCE: LazyLock<Arc<str>> =
    LazyLock::new(|| format!("{:032x}", rand::random::<u128>()).into());

/// A connection to a server, greeted both ways.
pub(super) struct Opening {
    pub(super) speaker: Speaker,
    pub(super) takes: Takes,
    pub(super) inventory: Inventory,
    pub(super) reader: Answers,
    pub(super) write: WriteHalf<BoxStream>,
    pub(super) direct: Option<Direct>,
}

impl Opening {
    /// The first connection of a link.
    pub(super) async fn link(target: &Target) -> Result<Self, LinkError> {
        Self::open(target, None).await
    }

    /// The connection of a lane, which the server has entered.
    pub(super) async fn lane(target: &Target) -> Result<Self, LinkError> {
        Self::open(target, Some(true)).await
    }

    async fn open(target: &Target, bulk: Option<bool>) -> Result<Self, LinkError> {
        let stream = target.connect().await?;
        let direct = stream.direct();
        let (read, mut write) = tokio::io::split(stream);
        let deadlines = Deadlines {
            stall: target.stall,
            idle: target.stall,
        };
        let mut reader = Reader::new(read, deadlines);
        let greeting = greet(&mut reader, &mut write, &target.journal, bulk);
        let (speaker, takes) = timeout(target.connect_timeout, greeting)
            .await
            .map_err(|_| LinkError::GreetingTimeout(target.connect_timeout))??;
        let inventory = inventory_of(target, &speaker, &mut reader).await?;
        Ok(Self {
            speaker,
            takes,
            inventory,
            reader,
            write,
            direct,
        })
    }
}

/// What a server takes beside a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    /// A lane.
    pub(super) lane: bool,
    /// Files ahead.
    pub(super) ahead: bool,
}

/// Exchanges greetings, and says who the server is and what it takes beside a link.
async fn greet<R, W>(
    reader: &mut Reader<R>,
    write: &mut W,
    journal: &Arc<str>,
    bulk: Option<bool>,
) -> Result<(Speaker, Takes), LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    let hello = Message::from(Hello {
        identity: Some(journal.clone()),
        instance: Some(INSTANCE.clone()),
        bulk,
        ..Hello::of(Role::Balancer)
    });
    frame::encode(&hello, 0, &mut out);
    write.write_all(&out).await?;
    write.flush().await?;
    reader.preface().await?;
    let answer = reader.frame().await?.map(|frame| frame.message);
    match answer {
        Some(Message::Hello(hello)) if hello.role == Role::Server => {
            // Without an identity it enters no links, so it could not end the lane in time.
            let lane = hello.bulk == Some(true) && hello.identity.is_some();
            let ahead = hello.ahead == Some(true) && lane;
            let speaker = Speaker {
                identity: hello.identity,
                instance: hello.instance,
            };
            Ok((speaker, Takes { lane, ahead }))
        }
        Some(Message::Hello(_)) => Err(LinkError::NotAServer),
        Some(Message::Bye(refusal)) => Err(LinkError::Bye(refusal)),
        Some(other) => Err(LinkError::Unexpected(other)),
        None => Err(LinkError::ClosedBeforeGreeting),
    }
}

/// The files that a server has and does not know to be confirmed.
#[derive(Default)]
pub(super) struct Inventory {
    /// `None`: the server has no identity, so it cannot list its files.
    pub(super) files: Option<Vec<StoredFile>>,
    /// The highest number of this journal that the server has ever stored, if it remembers that.
    pub(super) seen: Option<u64>,
}

/// Reads the list of files that a server with an identity sends behind its greeting.
async fn inventory_of<R: AsyncRead + Unpin>(
    target: &Target,
    speaker: &Speaker,
    reader: &mut Reader<R>,
) -> Result<Inventory, LinkError> {
    if speaker.identity.is_none() {
        return Ok(Inventory::default());
    }
    let limit = target.stall * INVENTORY_STALLS;
    timeout(limit, read_inventory(reader))
        .await
        .map_err(|_| LinkError::InventoryTimeout(limit))?
}

async fn read_inventory<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
) -> Result<Inventory, LinkError> {
    let mut files = Vec::new();
    let mut highest = None;
    loop {
        let frame = reader
            .frame()
            .await?
            .ok_or(LinkError::ClosedBeforeInventory)?;
        let (last, seen) = match frame.message {
            Message::Holding { last, seen } => (last, seen),
            Message::Bye(refusal) => return Err(LinkError::Bye(refusal)),
            other => return Err(LinkError::Unexpected(other)),
        };
        highest = highest.max(seen);
        if frame.content_len > MAX_LIST_BYTES || files.len() > MAX_INVENTORY {
            return Err(LinkError::InventoryTooLong);
        }
        let content = reader.content(frame.content_len).await?;
        files.extend(lists::decode_holding(&content).map_err(LinkError::BadInventory)?);
        if last {
            return Ok(Inventory {
                files: Some(files),
                seen: highest,
            });
        }
    }
}
