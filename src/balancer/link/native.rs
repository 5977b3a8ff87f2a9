//! A native link: greetings, the server's list of files, and its acknowledgements. What goes out is
//! in [`super::send`].

use std::sync::{Arc, LazyLock};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::{LinkError, MAX_INVENTORY};
use super::outstanding::Outstanding;
use super::send::send_all;
use super::target::Target;
use crate::balancer::dispatch::{LinkEvent, Speaker};
use crate::balancer::messages::ToServer;
use crate::protocol::limits::MAX_LIST_BYTES;
use crate::protocol::lists::{self, StoredFile};
use crate::protocol::{Message, Role, frame};
use crate::transport::{BoxStream, Deadlines, ReadError, Reader};

/// How many stall timeouts a server may take to list its files: no file of an earlier run goes out
/// before that.
const INVENTORY_STALLS: u32 = 2;

/// Which process this is of all that ever have its journal's identity: 32 hex digits.
static INSTANCE: LazyLock<Arc<str>> =
    LazyLock::new(|| format!("{:032x}", rand::random::<u128>()).into());

/// The read half of a link, as messages.
type Answers = Reader<ReadHalf<BoxStream>>;

/// Runs a native link to its end, and tells the hub why it ended.
pub(super) async fn run(target: &Target, from_hub: mpsc::UnboundedReceiver<ToServer>) {
    target.tell(match serve(target, from_hub).await {
        Ok(()) => LinkEvent::Closed("closed by the server".to_owned()),
        Err(error) if error.is_silence() => LinkEvent::Silent(error.reason()),
        Err(error) => LinkEvent::Closed(error.reason()),
    });
}

/// Opens the link and runs it until the server closes it or the hub drops its end.
async fn serve(
    target: &Target,
    from_hub: mpsc::UnboundedReceiver<ToServer>,
) -> Result<(), LinkError> {
    let stream = target.connect().await?;
    let socket = stream.socket();
    let (read, mut write) = tokio::io::split(stream);
    let deadlines = Deadlines {
        stall: target.stall,
        idle: target.stall,
    };
    let mut reader = Reader::new(read, deadlines);
    let greeting = greet(&mut reader, &mut write, &target.journal);
    let speaker = timeout(target.connect_timeout, greeting)
        .await
        .map_err(|_| LinkError::GreetingTimeout(target.connect_timeout))??;
    let inventory = inventory_of(target, &speaker, &mut reader).await?;
    target.tell(LinkEvent::Opened {
        speaker,
        holding: inventory.files,
        seen: inventory.seen,
    });

    let outstanding = Outstanding::new();
    tokio::select! {
        result = send_all(target, (write, socket), from_hub, &outstanding) => result,
        result = read_acks(target, reader, &outstanding) => result,
        () = outstanding.is_stuck(target.stall) => Err(LinkError::Silent(target.stall)),
    }
}

/// Exchanges greetings, and says who the server is.
async fn greet<R, W>(
    reader: &mut Reader<R>,
    write: &mut W,
    journal: &Arc<str>,
) -> Result<Speaker, LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    let hello = Message::Hello {
        role: Role::Balancer,
        overloaded: None,
        identity: Some(journal.clone()),
        memory: None,
        instance: Some(INSTANCE.clone()),
        epoch: None,
    };
    frame::encode(&hello, 0, &mut out);
    write.write_all(&out).await?;
    reader.preface().await?;
    let answer = reader.frame().await?.map(|frame| frame.message);
    match answer {
        Some(Message::Hello {
            role: Role::Server,
            identity,
            instance,
            ..
        }) => Ok(Speaker { identity, instance }),
        Some(Message::Hello { .. }) => Err(LinkError::NotAServer),
        Some(Message::Bye(refusal)) => Err(LinkError::Bye(refusal)),
        Some(other) => Err(LinkError::Unexpected(other)),
        None => Err(LinkError::ClosedBeforeGreeting),
    }
}

/// The files that a server has and does not know to be confirmed.
#[derive(Default)]
struct Inventory {
    /// `None`: the server has no identity, so it cannot list its files.
    files: Option<Vec<StoredFile>>,
    /// The highest number of this journal that the server has ever stored, if it remembers that.
    seen: Option<u64>,
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

/// Tells the hub what the server answers. Acknowledgements that came together are told together.
async fn read_acks(
    target: &Target,
    mut reader: Answers,
    outstanding: &Outstanding,
) -> Result<(), LinkError> {
    let mut numbers = Vec::new();
    loop {
        let next = next_answer(&mut reader).await;
        let is_stored = matches!(next, Ok(Some(Message::Stored { .. })));
        if let Ok(Some(Message::Stored { number })) = next {
            numbers.push(number);
        }
        let more_follow = is_stored && reader.has_frame();
        if !numbers.is_empty() && !more_follow {
            outstanding.answered(&numbers);
            target.tell(LinkEvent::Stored {
                numbers: std::mem::take(&mut numbers),
                confirmed: true,
            });
        }
        match next? {
            None => return Ok(()),
            Some(Message::Stored { .. }) => {}
            Some(Message::NotStored { number, refusal }) => {
                outstanding.answered(&[number]);
                target.tell(LinkEvent::NotStored { number, refusal });
            }
            Some(Message::Dropped { number }) => target.tell(LinkEvent::Dropped { number }),
            Some(Message::Bye(refusal)) => return Err(LinkError::Bye(refusal)),
            Some(other) => return Err(LinkError::Unexpected(other)),
        }
    }
}

/// The server's next message; `None` when it closed the link. A server that owes nothing may be
/// idle; [`Outstanding`] watches one that owes something.
async fn next_answer(reader: &mut Answers) -> Result<Option<Message>, LinkError> {
    loop {
        match reader.frame().await {
            Ok(frame) => return Ok(frame.map(|frame| frame.message)),
            Err(ReadError::Idle(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
