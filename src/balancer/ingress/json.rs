//! The JSON doorway, for old-style clients. They never read, so nothing is sent back: only the log
//! says why such a connection was closed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::door::{InMemory, Inside};
use crate::checksum;
use crate::pool::Share;
use crate::protocol::json::{JsonError, Request, parse};
use crate::transport::{ObjectReader, ReadError, Reader, Rest, Seat};

/// Takes files until the client closes, breaks the rules, or the balancer stops.
pub(super) async fn serve<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    door: &Inside,
    max_json: u64,
    seat: &Seat,
) -> Result<(), ReadError> {
    let mut reader = ObjectReader::new(reader);
    loop {
        let has_more = tokio::select! {
            () = door.shutdown.draining.cancelled() => return Ok(()),
            () = seat.asked_to_leave() => return Err(ReadError::Crowded),
            has_more = reader.skip_space() => has_more?,
        };
        if !has_more {
            return Ok(());
        }
        seat.work();
        let taken = tokio::select! {
            () = door.shutdown.draining.cancelled() => return Ok(()),
            taken = take(&mut reader, door, max_json) => taken?,
        };
        if !taken {
            return Ok(());
        }
        // Such a client would not notice that its connection is closed.
        seat.rest(Rest::Deaf);
    }
}

/// A file whose client cannot be told what becomes of it: if it is not taken, the log says so.
struct Unheard {
    title: Box<str>,
    from: Arc<str>,
    is_admitted: bool,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if !self.is_admitted {
            tracing::error!(
                title = &*self.title,
                from = &*self.from,
                "not accepted: its client cannot be told"
            );
        }
    }
}

/// Takes one file; false when the client closed.
async fn take<R: AsyncRead + Unpin>(
    reader: &mut ObjectReader<'_, R>,
    door: &Inside,
    max_json: u64,
) -> Result<bool, ReadError> {
    let mut share = Share::default();
    let object = reader.object_in(door.gate().json_memory(), &mut share, max_json);
    let Some(object) = object.await? else {
        return Ok(false);
    };
    let (title, content) = match parse(&object)? {
        Request::File {
            title,
            content,
            number: _,
        } => (title, content),
        Request::Status => {
            return Err(JsonError::UnknownRequest("richiesta_status".to_owned()).into());
        }
        Request::Discovery => return Err(JsonError::UnknownRequest("bilico".to_owned()).into()),
        Request::Other(name) => return Err(JsonError::UnknownRequest(name).into()),
    };
    drop(object);
    let unheard = Unheard {
        title: title.into(),
        from: door.pass().from().clone(),
        is_admitted: false,
    };
    let taken = admit(unheard, content, door).await;
    drop(share);
    taken
}

/// Waits for room and admits the file; false if the balancer is gone.
async fn admit(mut unheard: Unheard, content: Bytes, door: &Inside) -> Result<bool, ReadError> {
    let size = (content.len() + unheard.title.len()) as u64;
    let pass = door.pass();
    let charge = pass.turn(pass.pace(), size).await;
    let room = match door.gate().try_room(size) {
        Some(room) => Some(room),
        None => door.gate().room(size).await,
    };
    let Some(room) = room else { return Ok(false) };
    let disk = door.gate().wait_for_disk(size).await;
    let file = InMemory {
        title: unheard.title.clone(),
        key: None,
        is_key_of_content: false,
        crc32c: checksum::crc32c(&content),
        content,
        room: room.charged(charge),
        disk,
        reply: None,
    };
    if let Err(refusal) = door.admit(file).await {
        // Nothing more is read from this client: it takes each file that it has sent for stored.
        return Err(ReadError::Io(std::io::Error::other(refusal.reason)));
    }
    unheard.is_admitted = true;
    Ok(true)
}
