//! The sending half of a transfer over one connection.

use std::convert::Infallible;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::job::Job;
use super::state::Grant;
use crate::checksum;
use crate::client::content::{self, Content, WHOLE};
use crate::client::error::ClientError;
use crate::client::options::Wait;
use crate::client::reading::{Summed, Trouble};
use crate::client::session::{FileUpload, PutError, Session};
use crate::client::source::Source;

/// Sends the files of a job over one connection.
pub(super) struct Uploader<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) session: &'a mut Session,
}

impl Uploader<'_> {
    /// Sends all that this connection is for: offers of accepted files, then the files without a
    /// receipt, and in between the content that the balancer grants after an offer. Ends only when
    /// it fails.
    pub(super) async fn send(
        &mut self,
        grants: &mut mpsc::UnboundedReceiver<Grant>,
    ) -> Result<Infallible, PutError> {
        if self.job.options.wait == Wait::Delivered {
            self.ask().await?;
        }
        for (file, source) in self.job.sources.iter().enumerate() {
            while let Ok(grant) = grants.try_recv() {
                self.grant(grant).await?;
            }
            if self.job.is_pending(file) && !self.job.state().is_put_off(file) {
                self.turn(file, source).await?;
            }
        }
        loop {
            self.session.flush().await?;
            let next = self.job.state().next_due();
            let due = next.map(|(_, due)| due);
            tokio::select! {
                grant = grants.recv() => match grant {
                    Some(grant) => self.grant(grant).await?,
                    None => std::future::pending().await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let file = next.map_or(0, |(file, _)| file);
                    self.try_again(file).await?;
                }
            }
        }
    }

    /// Asks about the files that were accepted over an earlier connection, so that their receipts
    /// come over this one.
    async fn ask(&mut self) -> Result<(), ClientError> {
        for (file, source) in self.job.sources.iter().enumerate() {
            if self.job.is_accepted(file) {
                let (size, crc32c) = self.job.sent(file);
                self.offer((file, source), (size.unwrap_or(0), crc32c))
                    .await?;
            }
        }
        Ok(())
    }

    /// The time of a file has come that had changed while it was read.
    async fn try_again(&mut self, file: usize) -> Result<(), PutError> {
        self.job.state().is_due(file);
        match self.job.sources.get(file) {
            Some(source) if self.job.is_pending(file) => self.turn(file, source).await,
            _ => Ok(()),
        }
    }

    async fn offer(
        &mut self,
        (file, source): (usize, &Source),
        content: (u64, Option<u32>),
    ) -> Result<(), ClientError> {
        self.job.state().offer(file);
        let key = self.job.options.keys.of(file, source);
        self.session.offer(file as u64, key, content).await
    }

    /// Sends a file that has no receipt, or offers it if the balancer may have it, or some of it,
    /// already.
    ///
    /// The balancer may have accepted what was sent whole over an earlier connection: it is asked
    /// first, whatever has become of the file since.
    async fn turn(&mut self, file: usize, source: &Source) -> Result<(), PutError> {
        let (size, crc32c) = self.job.sent(file);
        let before = size.zip(crc32c);
        if let Some((size, crc32c)) = before.filter(|(size, _)| *size > WHOLE) {
            return Ok(self.offer((file, source), (size, Some(crc32c))).await?);
        }
        let read = self.read(file, source).await;
        match (read, before) {
            (Ok((title, content)), Some(before)) if is_same(&content, before) => {
                self.put((file, source), 0, (&title, content)).await
            }
            (_, Some((size, crc32c))) => {
                Ok(self.offer((file, source), (size, Some(crc32c))).await?)
            }
            (Ok((title, content)), None) if self.is_offered(file, &content) => {
                self.offer_first((file, source), (&title, content)).await
            }
            (Ok((title, content)), None) => self.put((file, source), 0, (&title, content)).await,
            (Err(trouble), None) => {
                self.job.cannot_send(file, trouble);
                Ok(())
            }
        }
    }

    async fn read(&self, file: usize, source: &Source) -> Result<(String, Content), Trouble> {
        let options = self.job.options;
        content::read(source, options.changed, options.keys.seen(file)).await
    }

    /// Whether a file is offered before it is sent: that costs a round trip, and pays only where
    /// the balancer may have much of the file.
    fn is_offered(&self, file: usize, content: &Content) -> bool {
        let state = self.job.state();
        let may_be_there = self.job.options.keys.are_durable() || state.has_begun(file);
        content.size() > WHOLE && may_be_there && !state.has_changed(file)
    }

    /// Offers a file that was not sent whole yet. If another run may have sent it, it is read once
    /// for that: its content tells whether it is the same.
    async fn offer_first(
        &mut self,
        (file, source): (usize, &Source),
        (title, content): (&str, Content),
    ) -> Result<(), PutError> {
        let size = content.size();
        let is_hashed = self.job.options.hashed;
        let summed = match content {
            _ if !self.job.options.keys.are_durable() => None,
            Content::Bytes(bytes, change) => Some(Summed::of(&bytes, change, is_hashed)),
            Content::File(opened) => {
                self.session.flush().await?;
                match opened.sum(is_hashed).await {
                    Ok(summed) => Some(summed),
                    Err(trouble) => {
                        self.job.cannot_send(file, trouble);
                        return Ok(());
                    }
                }
            }
        };
        let crc32c = summed.as_ref().map(|summed| summed.crc32c);
        self.job.offering((file, source), (title, size), summed);
        Ok(self.offer((file, source), (size, crc32c)).await?)
    }

    /// Sends the content that the balancer wants of a file that it was offered.
    async fn grant(&mut self, Grant { file, offset }: Grant) -> Result<(), PutError> {
        let Some(source) = self.job.sources.get(file) else {
            return Ok(());
        };
        match self.read(file, source).await {
            Ok((title, content)) => {
                // A file that is shorter than the balancer's part of it is another file by now.
                let offset = if offset <= content.size() { offset } else { 0 };
                self.put((file, source), offset, (&title, content)).await
            }
            Err(trouble) => {
                self.job.cannot_send(file, trouble);
                Ok(())
            }
        }
    }

    async fn put(
        &mut self,
        (file, source): (usize, &Source),
        offset: u64,
        (title, content): (&str, Content),
    ) -> Result<(), PutError> {
        let job = self.job;
        let size = content.size();
        if size > WHOLE {
            job.state().begin(file, offset);
        }
        let upload = FileUpload {
            id: file as u64,
            title,
            key: job.options.keys.of(file, source),
            offset,
            is_hashed: job.options.hashed,
        };
        let sent = match content {
            Content::Bytes(bytes, change) => {
                let summed = Summed::of(&bytes, change, job.options.hashed);
                job.sending((file, source), (title, size), Some(summed));
                self.session
                    .put(&upload, &bytes)
                    .await
                    .map_err(PutError::from)
            }
            Content::File(opened) => {
                job.sending((file, source), (title, size), None);
                let whole = |summed| job.summed(file, summed);
                self.session.put_file(&upload, opened, whole).await
            }
        };
        self.settle(file, sent)
    }

    /// A file that failed before any of it was sent does not end the connection.
    fn settle(&self, file: usize, sent: Result<(), PutError>) -> Result<(), PutError> {
        match sent {
            Err(PutError::Untouched(trouble)) => {
                self.job.cannot_send(file, trouble);
                Ok(())
            }
            Err(PutError::Broken(trouble)) => {
                self.job.cannot_send(file, trouble.clone());
                Err(PutError::Broken(trouble))
            }
            other => other,
        }
    }
}

/// Whether content is of this size and checksum.
fn is_same(content: &Content, (size, crc32c): (u64, u32)) -> bool {
    match content {
        Content::Bytes(bytes, _) => bytes.len() as u64 == size && checksum::crc32c(bytes) == crc32c,
        Content::File(_) => false,
    }
}
