//! The JSON doorway: what clients of the first system of this kind speak. They never read, so
//! nothing is sent back: the log alone tells why such a connection was closed.

use std::net::SocketAddr;

use tokio::io::AsyncRead;

use super::{Door, InMemory};
use crate::protocol::json::{JsonError, Request, parse};
use crate::protocol::limits::SMALL_CONTENT;
use crate::transport::{Object, ObjectReader, ReadError, Reader, Rest, Seat};

/// Takes files until the client closes, breaks the rules, or the balancer stops.
pub(super) async fn serve<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    peer: SocketAddr,
    door: &Door,
    max_json: u64,
    seat: &Seat,
) -> Result<(), ReadError> {
    let mut reader = ObjectReader::new(reader);
    loop {
        let has_more = tokio::select! {
            () = door.stop.cancelled() => return Ok(()),
            () = seat.asked_to_leave() => return Err(ReadError::Crowded),
            has_more = reader.skip_space() => has_more?,
        };
        if !has_more {
            return Ok(());
        }
        seat.work();
        let taken = tokio::select! {
            () = door.stop.cancelled() => return Ok(()),
            taken = take(&mut reader, peer, door, max_json) => taken?,
        };
        if !taken {
            return Ok(());
        }
        // Such a client would not notice that it is closed.
        seat.rest(Rest::Deaf);
    }
}

/// A file whose client cannot be told what becomes of it: the log must, if it is not taken.
struct Unheard {
    title: Box<str>,
    peer: SocketAddr,
    is_admitted: bool,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if !self.is_admitted {
            tracing::error!(title = &*self.title, from = %self.peer, "not accepted: its client cannot be told");
        }
    }
}

/// Takes one file; false when the client closed.
async fn take<R: AsyncRead + Unpin>(
    reader: &mut ObjectReader<'_, R>,
    peer: SocketAddr,
    door: &Door,
    max_json: u64,
) -> Result<bool, ReadError> {
    let mut incoming = None;
    let object = loop {
        match reader.object(SMALL_CONTENT, max_json).await? {
            None => return Ok(false),
            Some(Object::Whole(object)) => break object,
            // How large it will be is not known, so it needs leave for the largest: with less, two
            // objects that wait for each other's share would never end.
            Some(Object::Large) => incoming = door.gate.memory(max_json).await,
        }
    };
    match parse(&object)? {
        Request::File {
            title,
            content,
            number: _,
        } => {
            drop(object);
            let from = peer.to_string().into();
            let mut unheard = Unheard {
                title: title.into(),
                peer,
                is_admitted: false,
            };
            let size = (content.len() + unheard.title.len()) as u64;
            let room = match door.gate.try_room(size) {
                Some(room) => Some(room),
                None => door.gate.room(size).await,
            };
            let Some(room) = room else { return Ok(false) };
            let share = door.gate.wait_for_share(size).await;
            let (title, crc32c) = (unheard.title.clone(), crc32c::crc32c(&content));
            let file = InMemory {
                title,
                key: None,
                content,
                crc32c,
                room,
                share,
                from,
                reply: None,
            };
            if let Err((refusal, _)) = door.admit(file).await {
                // Nothing more is read from such a client: it would take each file that follows for
                // sent, too.
                return Err(ReadError::Io(std::io::Error::other(refusal.reason)));
            }
            unheard.is_admitted = true;
            drop(incoming);
            Ok(true)
        }
        Request::Status => Err(JsonError::UnknownRequest("richiesta_status".to_owned()).into()),
        Request::Discovery => Err(JsonError::UnknownRequest("bilico".to_owned()).into()),
        Request::Other(name) => Err(JsonError::UnknownRequest(name).into()),
    }
}
