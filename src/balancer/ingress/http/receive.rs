//! Takes one file from the body of a request.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::arriving::{Arriving, Head, HttpUpload, Reserved, UploadBody};
use super::receipts::Receipts;
use super::sums::{Sums, key_of_content};
use crate::access::{OverQuota, Pass};
use crate::balancer::ingress::Door;
use crate::balancer::ingress::door::{InMemory, Inside};
use crate::balancer::ingress::holding::Holding;
use crate::balancer::ingress::upload::Coming;
use crate::balancer::messages::{Admission, Arrived, Declined, Sum};
use crate::checksum;
use crate::protocol::limits::{MAX_KEY, MAX_LARGE_UPLOADS, MAX_TITLE};
use crate::protocol::{ProtocolError, Refusal, RefusalCode};
use crate::queue::{INLINE, key_hash};
use crate::transport::{ProgressDeadline, ReadError};
use crate::units::ByteSize;

impl Door {
    /// Takes one file of somebody who may send some. Nothing of its body is read before there is
    /// room for it.
    pub async fn receive<B: UploadBody>(
        &self,
        pass: &Pass,
        upload: HttpUpload<B>,
    ) -> Result<Receipts, ReadError> {
        match pass.allow() {
            Ok(allowed) => self.enter(allowed).receive(upload).await,
            Err(denied) => Err(ReadError::Refused(denied.refusal())),
        }
    }
}

impl Inside {
    pub(super) async fn receive<B: UploadBody>(
        &self,
        upload: HttpUpload<B>,
    ) -> Result<Receipts, ReadError> {
        let HttpUpload {
            title,
            key,
            size,
            claims,
            body,
        } = upload;
        if title.len() > MAX_TITLE {
            return Err(ProtocolError::TitleTooLong(title.len()).into());
        }
        if let Some(key) = key
            .as_deref()
            .filter(|key| !(1..=MAX_KEY).contains(&key.len()))
        {
            return Err(ProtocolError::KeyLength(key.len()).into());
        }
        let head = Head {
            title: title.into(),
            key: key.map(|key| self.own_key(key.into())),
            size,
        };
        let sums = Sums::of(claims);
        let reserved = match self.reserve(&head).await {
            Ok(reserved) => reserved,
            Err(refusal) => return self.refuse(&head, body, sums, refusal).await,
        };
        let mut arriving = Arriving::new(self, body, &head, sums, reserved);
        match arriving.gather().await? {
            Some(content) => {
                let hash = arriving.sums.hash();
                let reserved = arriving.reserved;
                self.take_small(&head, content, hash, reserved).await
            }
            None => self.take_large(&head, arriving).await,
        }
    }

    /// Reserves what a file needs, or the beginning of a file of unknown size. The client cannot be
    /// told that it waits, so it does not wait long.
    async fn reserve(&self, head: &Head) -> Result<Reserved, Refusal> {
        if self.shutdown.draining.is_cancelled() {
            return Err(self.farewell());
        }
        let size = head.size.unwrap_or(INLINE);
        let title = head.title.len() as u64;
        let mut whole = size.saturating_add(title);
        if head.size.is_none() {
            whole = whole.min(self.largest()).max(title);
        }
        self.check(whole)?;
        let pass = self.pass();
        let turn = async { Some(pass.turn(pass.pace(), whole).await) };
        let charge = self.in_time(turn, || OverQuota.to_string()).await?;
        let disk = self.reserve_disk(size, 0).await?;
        let place = if size > INLINE {
            Some(self.in_time(self.uploads().place(), too_many).await?)
        } else {
            None
        };
        let first = self.gate().first_step(title, whole);
        let mut reserved = if let Some(reserved) = self.gate().try_reserve(first, whole) {
            reserved
        } else {
            let reserved = self.gate().reserve(first, whole);
            self.in_time(reserved, || self.gate().full_reason()).await?
        };
        reserved.room = reserved.room.charged(charge);
        if head.size.is_none() {
            whole = self.largest();
        }
        let holding = Holding::new(reserved, disk, title, whole);
        Ok(Reserved { place, holding })
    }

    /// Waits for something, for as long as clients are patient and the balancer takes files;
    /// `reason` becomes the refusal when the time is over.
    pub(super) async fn in_time<T>(
        &self,
        wait: impl Future<Output = Option<T>>,
        reason: impl FnOnce() -> String,
    ) -> Result<T, Refusal> {
        tokio::select! {
            had = timeout(self.limits.room_patience, wait) => match had {
                Ok(Some(had)) => Ok(had),
                Ok(None) => Err(self.farewell()),
                Err(_) => Err(Refusal::new(RefusalCode::Busy, reason())),
            },
            () = self.shutdown.draining.cancelled() => Err(self.farewell()),
        }
    }

    /// Refuses a file of which nothing was read. If a file came before under its key, the client
    /// must not take that for lost: the content is read after all, and its checksum tells whether
    /// it is the same file.
    async fn refuse<B: UploadBody>(
        &self,
        head: &Head,
        body: B,
        mut sums: Sums,
        refusal: Refusal,
    ) -> Result<Receipts, ReadError> {
        let (Some(key), Some(size)) = (head.key.clone(), head.size) else {
            return Err(ReadError::Refused(refusal));
        };
        let (back, came_before) = oneshot::channel();
        let (mut receipts, reply) = Receipts::new(size, 0, sums.hash());
        let declined = Declined {
            key: key.clone(),
            size,
            sum: Sum::Unread(back),
            refusal,
            reply,
        };
        self.decline(declined).await;
        if let Ok((refusal, reply)) = came_before.await {
            let crc32c = self.sum(body, size, &mut sums).await?;
            receipts.crc32c = crc32c;
            receipts.hash = sums.hash();
            let declined = Declined {
                key,
                size,
                sum: Sum::Known(crc32c),
                refusal,
                reply,
            };
            self.decline(declined).await;
        }
        Ok(receipts)
    }

    /// Reads content of this size, throws it away, and gives its CRC32C.
    async fn sum<B: UploadBody>(
        &self,
        mut body: B,
        size: u64,
        sums: &mut Sums,
    ) -> Result<u32, ReadError> {
        let mut lap = ProgressDeadline::default();
        let mut came = 0;
        let mut crc32c = 0;
        let stall = self.bounds().deadlines.stall;
        loop {
            let piece = tokio::select! {
                piece = lap.bound(stall, body.piece()) => piece?,
                () = self.shutdown.ended.cancelled() => {
                    return Err(ReadError::Refused(self.farewell()));
                }
            };
            let Some(piece) = piece else { break };
            if piece.is_empty() {
                continue;
            }
            came += piece.len() as u64;
            crc32c = checksum::append(crc32c, &piece);
            sums.add(&piece);
            if came > size {
                return Err(ProtocolError::TooLarge {
                    size: came,
                    limit: size,
                }
                .into());
            }
            lap.count(piece.len(), 1)?;
        }
        if came < size {
            Err(ProtocolError::Truncated {
                missing: size - came,
            }
            .into())
        } else {
            sums.check()?;
            Ok(crc32c)
        }
    }

    async fn take_small(
        &self,
        head: &Head,
        content: Bytes,
        hash: blake3::Hash,
        reserved: Reserved,
    ) -> Result<Receipts, ReadError> {
        let crc32c = checksum::crc32c(&content);
        let (receipts, reply) = Receipts::new(content.len() as u64, crc32c, hash);
        let (room, disk) = reserved.holding.read();
        let file = InMemory {
            title: head.title.clone(),
            key: Some(self.key(head, &hash)),
            is_key_of_content: head.key.is_none(),
            content,
            crc32c,
            room,
            disk,
            reply: Some(reply),
        };
        self.admit(file).await.map_err(ReadError::Refused)?;
        Ok(receipts)
    }

    async fn take_large<B: UploadBody>(
        &self,
        head: &Head,
        mut arriving: Arriving<'_, B>,
    ) -> Result<Receipts, ReadError> {
        if arriving.reserved.place.is_none() {
            // It holds room already, so it must not wait.
            let busy = || ReadError::Refused(Refusal::new(RefusalCode::Busy, too_many()));
            arriving.reserved.place = Some(self.uploads().try_place().ok_or_else(busy)?);
        }
        let mark = head.key.as_deref().map(key_hash);
        let coming = Coming {
            mark,
            resumed: None,
            size: head.size,
        };
        let mut uploaded = match self.uploads().receive(&mut arriving, coming).await? {
            Ok(uploaded) => uploaded,
            Err(refusal) => return Err(ReadError::Refused(refusal)),
        };
        arriving.fit();
        let hash = arriving.sums.hash();
        let (receipts, reply) = Receipts::new(arriving.came, uploaded.crc32c, hash);
        let (room, disk) = arriving.reserved.holding.read();
        self.gate().admit(Admission {
            title: head.title.clone(),
            key: Some(self.key(head, &hash)),
            is_key_of_content: head.key.is_none(),
            content: Arrived::Own(uploaded.id),
            head_start: uploaded.head_start.take(),
            size: receipts.size,
            crc32c: uploaded.crc32c,
            room,
            disk,
            allowed: self.allowed().clone(),
            reply: Some(reply),
        });
        uploaded.admitted();
        Ok(receipts)
    }

    /// The file's key: its client's, or one of title and content.
    fn key(&self, head: &Head, hash: &blake3::Hash) -> Arc<str> {
        let of_content = || self.own_key(key_of_content(&head.title, hash).into());
        head.key.clone().unwrap_or_else(of_content)
    }
}

fn too_many() -> String {
    format!(
        "{MAX_LARGE_UPLOADS} files of more than {} are coming in",
        ByteSize(INLINE)
    )
}
