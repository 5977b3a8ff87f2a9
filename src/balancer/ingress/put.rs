//! Takes a file from a native client: reservations first, then its content.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::sync::oneshot;

use super::door::{InMemory, Inside};
use super::growing::Growing;
use super::holding::Holding;
use super::session::Session;
use super::upload::{Coming, Framed, Uploaded};
use crate::access::OverQuota;
use crate::access::users::Charge;
use crate::balancer::gate::Reserved;
use crate::balancer::messages::{Admission, Arrived, Declined, Sum};
use crate::balancer::room::{DiskReservation, Room};
use crate::checksum;
use crate::protocol::limits::MAX_READ_PAST;
use crate::protocol::{Message, Prefix, ProtocolError, Refusal};
use crate::queue::{INLINE, key_hash};
use crate::transport::ReadError;

/// A file on its way in.
pub(super) struct Put {
    pub(super) id: u64,
    pub(super) title: String,
    pub(super) key: Option<Arc<str>>,
    pub(super) resumed: Option<Prefix>,
    /// Bytes of content that follow.
    pub(super) size: u64,
}

impl Put {
    /// Bytes that an earlier upload has brought.
    fn there(&self) -> u64 {
        self.resumed.map_or(0, |prefix| prefix.offset)
    }

    /// The size of the whole file, in bytes.
    fn whole(&self) -> u64 {
        self.size.saturating_add(self.there())
    }

    /// The CRC32C of the whole file; `rest` is that of the bytes that followed.
    fn sum(&self, rest: u32) -> Sum {
        Sum::Known(self.resumed.map_or(rest, |prefix| {
            checksum::combine(prefix.crc32c, rest, self.size)
        }))
    }
}

impl<R: AsyncRead + Unpin> Session<'_, R> {
    /// Takes one file.
    pub(super) async fn take(&mut self, put: Put, inside: &Inside) -> Result<(), ReadError> {
        let whole = put.whole();
        // The title waits in memory, too.
        let takes = whole.saturating_add(put.title.len() as u64);
        let disk = match inside.check(takes) {
            Ok(()) => inside.reserve_disk(whole, put.there()).await,
            Err(refusal) => Err(refusal),
        };
        let disk = match disk {
            Ok(disk) => disk,
            Err(refusal) => return Box::pin(self.decline(put, refusal, inside)).await,
        };
        let Some(charge) = self.charge(takes, put.size, inside).await? else {
            return Ok(());
        };
        let there = self.there(&put, inside).await;
        let first = inside.gate().first_step(there, takes);
        let Some(mut reserved) = self.reserve(first, takes, put.size, inside).await? else {
            return Ok(());
        };
        reserved.room = reserved.room.charged(charge);
        let id = put.id;
        let received = if whole <= INLINE && put.there() == 0 {
            self.take_small(put, reserved.room, disk, inside).await
        } else {
            let holding = Holding::new(reserved, disk, there, takes);
            // Boxed, so that connections that never do this do not hold its state.
            Box::pin(self.take_large(put, holding, there, inside)).await
        };
        // A file that comes over another connection, now or later, is not refused; one whose
        // content is not read was refused before.
        if let Err(error) = &received
            && !matches!(
                error,
                ReadError::TakenOver | ReadError::GaveWay | ReadError::NotRead(_)
            )
        {
            let refusal = error.refusal();
            self.say(Message::Refused { id, refusal });
        }
        received
    }

    /// Bytes of the file that are on the disk; never more than the client says, who may be wrong.
    async fn there(&self, put: &Put, inside: &Inside) -> u64 {
        match (&put.key, put.there()) {
            (Some(key), 1..) => inside.uploads().there(key_hash(key)).await.min(put.there()),
            _ => 0,
        }
    }

    /// Counts a file of `takes` bytes for its user, unless the balancer stops. Who hands over more
    /// than the quota allows has to wait, as for a full queue.
    async fn charge(
        &mut self,
        takes: u64,
        size: u64,
        inside: &Inside,
    ) -> Result<Option<Option<Charge>>, ReadError> {
        let (pass, wait) = (inside.pass(), inside.pass().pace());
        if wait.is_zero()
            && let Ok(charge) = pass.try_charge(takes)
        {
            return Ok(Some(charge));
        }
        let reason = OverQuota.to_string();
        self.say(Message::Waiting { reason });
        let charge = tokio::select! {
            charge = pass.turn(wait, takes) => Some(charge),
            () = self.door.shutdown.draining.cancelled() => None,
            () = self.reader.cut_off(size) => {
                return Err(ProtocolError::Truncated { missing: size }.into());
            }
        };
        self.say(Message::Resumed);
        Ok(charge)
    }

    /// Leave to read the first `first` bytes of a file of `takes`, and room for them, unless the
    /// balancer stops. A client that has to wait is told why, and if it has gone before the `size`
    /// bytes of its content came, it waits no more.
    async fn reserve(
        &mut self,
        first: u64,
        takes: u64,
        size: u64,
        inside: &Inside,
    ) -> Result<Option<Reserved>, ReadError> {
        let gate = inside.gate();
        if let Some(reserved) = gate.try_reserve(first, takes) {
            return Ok(Some(reserved));
        }
        self.say(Message::Waiting {
            reason: gate.full_reason(),
        });
        let reserved = tokio::select! {
            reserved = gate.reserve(first, takes) => reserved,
            () = self.door.shutdown.draining.cancelled() => None,
            () = self.reader.cut_off(size) => {
                return Err(ProtocolError::Truncated { missing: size }.into());
            }
        };
        self.say(Message::Resumed);
        Ok(reserved)
    }

    async fn take_small(
        &mut self,
        put: Put,
        room: Room,
        disk: DiskReservation,
        inside: &Inside,
    ) -> Result<(), ReadError> {
        let (content, crc32c) = self.reader.summed_content(put.size).await?;
        let file = InMemory {
            title: put.title.into(),
            key: put.key,
            is_key_of_content: false,
            content,
            crc32c,
            room,
            disk,
            reply: Some(self.reply(put.id)),
        };
        // It cannot fail: only content that gets a file of its own can be refused.
        let _ = inside.admit(file).await;
        Ok(())
    }

    async fn take_large(
        &mut self,
        put: Put,
        holding: Holding,
        there: u64,
        inside: &Inside,
    ) -> Result<(), ReadError> {
        let mark = put.key.as_deref().map(key_hash);
        let (mut rest, mut left, mut holding) = (0, put.size, Some(holding));
        let source = Growing {
            voice: self.voice(),
            framed: Framed::new(&mut self.reader, put.size, &mut rest),
            door: inside,
            holding: &mut holding,
            came: there.saturating_add(put.title.len() as u64),
            left: &mut left,
        };
        let coming = Coming {
            mark,
            resumed: put.resumed,
            size: Some(put.whole()),
        };
        let received = match inside.uploads().receive(source, coming).await {
            // It turned out while it came, and the next frame comes behind it.
            Err(ReadError::Refused(refusal)) => {
                drop(holding.take());
                if put.key.is_none() && left > MAX_READ_PAST {
                    let id = put.id;
                    self.say(Message::Refused { id, refusal });
                    return Err(ReadError::NotRead(left));
                }
                rest = self.read_past(left, rest).await?;
                Err(refusal)
            }
            received => received?,
        };
        match (received, holding.map(Holding::read)) {
            (Ok(uploaded), Some((room, disk))) => self.admit(put, uploaded, (room, disk), inside),
            (Err(refusal), _) => {
                self.refuse(&put, put.sum(rest), refusal, inside).await;
            }
            // Content that is not wanted does not come whole.
            (Ok(_), None) => return Err(ReadError::GaveWay),
        }
        Ok(())
    }

    /// Hands a file to the hub whose content is on the disk.
    fn admit(
        &self,
        put: Put,
        mut uploaded: Uploaded,
        (room, disk): (Room, DiskReservation),
        inside: &Inside,
    ) {
        inside.gate().admit(Admission {
            is_key_of_content: false,
            size: put.whole(),
            title: put.title.into(),
            key: put.key,
            content: Arrived::Own(uploaded.id),
            head_start: uploaded.head_start.take(),
            crc32c: uploaded.crc32c,
            room,
            disk,
            allowed: inside.allowed().clone(),
            reply: Some(self.reply(put.id)),
        });
        uploaded.admitted();
    }

    /// Reads past the last `left` bytes of a refused file and their checksum, unless they are too
    /// many.
    pub(super) async fn skip(&mut self, left: u64) -> Result<(), ReadError> {
        if left > MAX_READ_PAST {
            return Err(ReadError::NotRead(left));
        }
        self.reader.skip_content(left).await
    }

    /// Reads the last `left` bytes of content and their checksum, and gives the CRC32C of all;
    /// `crc32c` is that of the bytes before.
    async fn read_past(&mut self, mut left: u64, mut crc32c: u32) -> Result<u32, ReadError> {
        while left > 0 {
            let piece = self.reader.piece(left).await?;
            left -= piece.len() as u64;
            crc32c = checksum::append(crc32c, &piece);
        }
        self.reader.verify(crc32c).await?;
        Ok(crc32c)
    }

    /// Refuses a file whose content was read, unless the same file came before under its key.
    async fn refuse(&self, put: &Put, sum: Sum, refusal: Refusal, inside: &Inside) {
        match put.key.clone() {
            Some(key) => {
                let declined = Declined {
                    key,
                    size: put.whole(),
                    sum,
                    refusal,
                    reply: self.reply(put.id),
                };
                inside.decline(declined).await;
            }
            None => self.say(Message::Refused {
                id: put.id,
                refusal,
            }),
        }
    }

    /// Refuses a file whose content was not read. If a file came before under its key, the content
    /// is read after all: its checksum tells whether it is the same file.
    async fn decline(
        &mut self,
        put: Put,
        refusal: Refusal,
        inside: &Inside,
    ) -> Result<(), ReadError> {
        let Some(key) = put.key.clone() else {
            let id = put.id;
            self.say(Message::Refused { id, refusal });
            return self.skip(put.size).await;
        };
        let (back, came_before) = oneshot::channel();
        let declined = Declined {
            key: key.clone(),
            size: put.whole(),
            sum: Sum::Unread(back),
            refusal,
            reply: self.reply(put.id),
        };
        inside.decline(declined).await;
        let Ok((refusal, reply)) = came_before.await else {
            return self.skip(put.size).await;
        };
        match self.reader.sum_content(put.size).await {
            Ok(rest) => {
                let declined = Declined {
                    key,
                    size: put.whole(),
                    sum: put.sum(rest),
                    refusal,
                    reply,
                };
                inside.decline(declined).await;
                Ok(())
            }
            Err(error) => {
                let refusal = error.refusal();
                reply.send(|id| Message::Refused { id, refusal });
                Err(error)
            }
        }
    }
}
