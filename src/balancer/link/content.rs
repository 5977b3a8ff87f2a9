//! Reads content for the link, and proves that it is what the client sent.
//!
//! The client's CRC32C ([`Meta::crc32c`]) goes with a file from the doorway to the server, and is
//! never computed anew in between. Content that fails the comparison is sent to no server: small
//! content that was damaged in memory is read again from the journal; if the journal's copy is
//! damaged as well, or there is none, the file is [`LinkEvent::Unreadable`]. Large content is
//! compared by [`super::large`] while it is read, or by the server if it went ahead.
//!
//! Each file's content is summed once here, and the sum that follows it on the wire is the
//! client's, so the server finds what is damaged after this comparison.

use std::io;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::balancer::dispatch::LinkEvent;
use crate::balancer::head_start::Ahead;
use crate::balancer::messages::{Parcel, ToServer};
use crate::checksum;
use crate::os_error::is_shortage;
use crate::protocol::Expected;
use crate::queue::record::Meta;
use crate::queue::{FileBody, Location};
use crate::transport::plain;

/// Something that is to be sent, with its content at hand if that is small.
pub(super) enum Loaded {
    /// Sound content in memory.
    Small(Parcel, Bytes),
    /// Content in the file with this id, which is compared while it is sent.
    Large(Parcel, u64),
    /// The file cannot be sent, for the reason in the event.
    Failed(LinkEvent),
    /// The content has to be read from the journal first.
    InJournal(Parcel, Location),
    /// Content that still comes in.
    Ahead(Ahead),
    Confirm(Vec<u64>),
    Drop(u64, Expected),
}

/// Loads the content of all files in the batch, and keeps the order. The journal is read on a
/// thread that may block, in one go, and only if a file needs it.
pub(super) async fn load(batch: impl Iterator<Item = ToServer>) -> Vec<Loaded> {
    let mut items: Vec<Loaded> = batch.map(find).collect();
    let is_in_journal = |item: &Loaded| matches!(item, Loaded::InJournal(..));
    if !items.iter().any(is_in_journal) {
        return items;
    }
    let reading = spawn_blocking(move || {
        for item in &mut items {
            if let Loaded::InJournal(parcel, location) = item {
                *item = read(parcel, location);
            }
        }
        items
    });
    // Only a panic or the end of the runtime keeps the thread from its answer.
    reading.await.unwrap_or_default()
}

/// What can be told without waiting for the disk.
fn find(item: ToServer) -> Loaded {
    let parcel = match item {
        ToServer::Parcel(parcel) => parcel,
        ToServer::Ahead(ahead) => return Loaded::Ahead(ahead),
        ToServer::Confirm(numbers) => return Loaded::Confirm(numbers),
        ToServer::Drop(number, expected) => return Loaded::Drop(number, expected),
    };
    match &parcel.content {
        FileBody::Memory(content, _) if is_sound(content, &parcel.meta) => {
            let content = content.clone();
            Loaded::Small(parcel, content)
        }
        FileBody::Memory(_, Some(location)) | FileBody::Journal(location) => {
            let location = location.clone();
            Loaded::InJournal(parcel, location)
        }
        FileBody::Memory(_, None) => Loaded::Failed(LinkEvent::Unreadable {
            number: parcel.number,
            reason: "the content was damaged in memory, and the journal has no copy".to_owned(),
        }),
        FileBody::Own(id) => {
            let id = *id;
            Loaded::Large(parcel, id)
        }
    }
}

/// Whether the content is what the client sent.
fn is_sound(content: &[u8], meta: &Meta) -> bool {
    content.len() as u64 == meta.size && checksum::crc32c(content) == meta.crc32c
}

/// Reads content from the journal, and compares it with the client's checksum.
fn read(parcel: &Parcel, location: &Location) -> Loaded {
    let Parcel {
        number,
        meta,
        content,
        ahead: _,
    } = parcel;
    let number = *number;
    let was_in_memory = matches!(content, FileBody::Memory(..));
    match location.read(meta.crc32c) {
        Ok(read) => {
            if was_in_memory {
                tracing::error!(
                    number,
                    title = &*meta.title,
                    "damaged in memory, read again from the journal"
                );
            }
            Loaded::Small(parcel.clone(), read)
        }
        Err(error) if was_in_memory => Loaded::Failed(unreadable(number, &error, |error| {
            format!("the content was damaged in memory, and cannot be read again: {error}")
        })),
        Err(error) => Loaded::Failed(unreadable(number, &error, str::to_owned)),
    }
}

/// The event for content that cannot be read: later, if the system is only short of something.
pub(super) fn unreadable(
    number: u64,
    error: &io::Error,
    describe: impl FnOnce(&str) -> String,
) -> LinkEvent {
    let reason = describe(&plain(error));
    if is_shortage(error) {
        LinkEvent::NotNow { number, reason }
    } else {
        LinkEvent::Unreadable { number, reason }
    }
}
