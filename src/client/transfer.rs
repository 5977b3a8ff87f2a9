//! Sends many files and follows their receipts, over as many connections as it takes.
//!
//! Each file bears a key, the same on each resend, so that the balancer takes it once. When a
//! connection is lost, files without a receipt are sent again; those that were accepted are only
//! asked about. What was in the middle of being sent goes on where the balancer's part of it ends.
//!
//! A file that changes while it is read is never sent to its end, so that nothing of it can be
//! accepted, and is read anew a little later.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::content::{Content, Source, WHOLE};
use super::course::{Grant, TransferState};
use super::keys::Keys;
use super::reading::{Summed, Trouble};
use super::session::{Answer, Answers, ClientError, FileUpload, PutError, Session};
use super::tally::{Fate, Tally};
use crate::protocol::Message;
use crate::transport::Connect;

/// How long the balancer may take to answer at first.
const CONNECT: Duration = Duration::from_secs(5);

/// The shortest time that an attempt to reach the balancer again is given.
const ATTEMPT: Duration = Duration::from_millis(100);

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The balancer has every file.
    Accepted,
    /// A server has every file.
    Delivered,
}

/// What to do with a file that changes while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changed {
    /// Give it up at once: it is not sent.
    Fail,
    /// Read it again, up to 5 times within some 3 s, and then give it up.
    #[default]
    Retry,
    /// Send what was read, and say so; one that becomes shorter is read again.
    Send,
}

/// How a transfer is to go.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it waits for.
    pub wait: Wait,
    /// How files get their keys. The caller has checked that they are different.
    pub keys: Keys,
    /// How long it tries to reach a balancer whose connection was lost; zero for not at all.
    pub retry: Duration,
    /// What to do with a file that changes while it is read.
    pub changed: Changed,
}

/// Sends the files and follows their receipts in `tally`, until every file has reached what is
/// waited for or never will. A file that cannot be read is told in the tally and ends nothing else.
/// A connection that cannot be made at first is an error at once; one that is lost is made again.
/// Dropping the future ends the transfer; what the balancer has accepted it keeps.
pub async fn transfer(
    connector: &dyn Connect,
    address: &str,
    sources: &[Source],
    options: &Options,
    tally: &watch::Sender<Tally>,
) -> Result<(), ClientError> {
    tally.send_replace(Tally::new(sources.len()));
    let transfer = Transfer {
        connector,
        address,
        sources,
        options,
        tally,
        course: Mutex::default(),
    };
    transfer.run().await
}

/// A transfer and what it has under way.
struct Transfer<'a> {
    connector: &'a dyn Connect,
    address: &'a str,
    sources: &'a [Source],
    options: &'a Options,
    tally: &'a watch::Sender<Tally>,
    course: Mutex<TransferState>,
}

/// How a connection ended.
enum TransferEnded {
    /// Nothing is left to wait for.
    Done,
    /// The balancer is stopping: it reads nothing more, but may still have receipts.
    Farewell(String),
    /// We ended it, because a file could not be sent as it was promised.
    Broken,
    /// It failed.
    Lost(ClientError),
}

/// A time without a connection that works.
struct Outage {
    since: Instant,
    backoff: Backoff,
}

impl Outage {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            backoff: Backoff::default(),
        }
    }
}

impl Transfer<'_> {
    async fn run(&self) -> Result<(), ClientError> {
        let mut connection = self.connect(CONNECT).await?;
        let mut outage = Outage::begin();
        loop {
            self.course().connected();
            let ended = self.use_connection(connection).await;
            // A balancer that ends every connection before it says anything is still away.
            if self.course().has_heard {
                outage = Outage::begin();
            }
            connection = match ended {
                TransferEnded::Done => return Ok(()),
                TransferEnded::Broken => match self.connect(CONNECT).await {
                    Ok(connection) => connection,
                    Err(error) => self.reconnect(error, &mut outage).await?,
                },
                TransferEnded::Farewell(reason) => {
                    self.reconnect(ClientError::Stopped(reason), &mut outage)
                        .await?
                }
                TransferEnded::Lost(error) => self.reconnect(error, &mut outage).await?,
            };
        }
    }

    async fn connect(&self, limit: Duration) -> Result<(Session, Answers), ClientError> {
        Session::open(self.connector, self.address, limit).await
    }

    /// Tries to make another connection until the time for it is up; then the error is the one that
    /// ended the last.
    async fn reconnect(
        &self,
        error: ClientError,
        outage: &mut Outage,
    ) -> Result<(Session, Answers), ClientError> {
        if !error.may_pass() {
            return Err(error);
        }
        self.tally
            .send_modify(|tally| (tally.reconnecting, tally.waiting) = (true, None));
        loop {
            let left = self.options.retry.saturating_sub(outage.since.elapsed());
            if left.is_zero() {
                return Err(error);
            }
            sleep(outage.backoff.next(rand::random()).min(left)).await;
            match self.connect(CONNECT.min(left.max(ATTEMPT))).await {
                Ok(connection) => {
                    self.tally.send_modify(|tally| tally.reconnecting = false);
                    return Ok(connection);
                }
                Err(error) if !error.may_pass() => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Sends and follows over one connection until it ends.
    async fn use_connection(
        &self,
        (mut session, mut answers): (Session, Answers),
    ) -> TransferEnded {
        let (wishes, mut asked) = mpsc::unbounded_channel();
        let ended = {
            let (sent, followed) = (
                self.send(&mut session, &mut asked),
                self.follow(&mut answers, &wishes),
            );
            tokio::pin!(sent, followed);
            tokio::select! {
                // A connection that fails while we send fails for the other half, too, which may
                // have receipts or know the balancer's reason.
                failed = &mut sent => match failed {
                    Ok(never) => match never {},
                    Err(PutError::Connection(error)) => {
                        timeout(CONNECT, followed).await.unwrap_or(TransferEnded::Lost(error))
                    }
                    Err(PutError::Broken(_) | PutError::Untouched(_)) => TransferEnded::Broken,
                },
                ended = &mut followed => ended,
            }
        };
        match ended {
            // Whatever is sent to a stopping balancer may only destroy its last receipts on their
            // way to us.
            TransferEnded::Farewell(reason) => match self.follow(&mut answers, &wishes).await {
                TransferEnded::Done => TransferEnded::Done,
                _ => TransferEnded::Farewell(reason),
            },
            ended => ended,
        }
    }

    /// Follows receipts until nothing is left to wait for, or the connection ends.
    async fn follow(
        &self,
        answers: &mut Answers,
        wishes: &mpsc::UnboundedSender<Grant>,
    ) -> TransferEnded {
        let mut changes = self.tally.subscribe();
        loop {
            if self.is_done(&changes.borrow_and_update()) {
                return TransferEnded::Done;
            }
            tokio::select! {
                answer = answers.next() => match answer {
                    Ok(Some(Answer::Message(Message::Bye(refusal)))) => return TransferEnded::Farewell(refusal.reason),
                    Ok(Some(Answer::Message(message))) => self.heard(message, wishes),
                    Ok(Some(Answer::Status(_) | Answer::Query(_))) => {}
                    Ok(None) => return TransferEnded::Lost(ClientError::Lost("the balancer closed it".to_owned())),
                    Err(error) => return TransferEnded::Lost(error),
                },
                // A file that cannot be read may be the last one that was waited for.
                _ = changes.changed() => {}
            }
        }
    }

    fn is_done(&self, tally: &Tally) -> bool {
        match self.options.wait {
            Wait::Accepted => tally.unaccepted() == 0,
            Wait::Delivered => tally.undecided() == 0,
        }
    }

    fn heard(&self, message: Message, wishes: &mpsc::UnboundedSender<Grant>) {
        let mut wish = None;
        self.tally
            .send_modify(|tally| wish = self.course().heard(message, tally));
        if let Some(wish) = wish {
            // Nobody sends any more on a connection that is ending.
            let _ = wishes.send(wish);
        }
    }

    /// Sends what this connection is to bear: questions about what was accepted, then what has no
    /// receipt, and in between what the balancer wants of the files that it was offered. Ends only
    /// when it fails.
    async fn send(
        &self,
        session: &mut Session,
        wishes: &mut mpsc::UnboundedReceiver<Grant>,
    ) -> Result<Infallible, PutError> {
        if self.options.wait == Wait::Delivered {
            self.ask(session).await?;
        }
        for (file, source) in self.sources.iter().enumerate() {
            while let Ok(wish) = wishes.try_recv() {
                self.grant(session, wish).await?;
            }
            if self.fate_is(file, |fate| *fate == Fate::Pending) && !self.course().is_put_off(file)
            {
                self.turn(session, file, source).await?;
            }
        }
        loop {
            session.flush().await?;
            let (file, due) = self.course().next_due().unzip();
            tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(wish) => self.grant(session, wish).await?,
                    None => std::future::pending().await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let file = file.unwrap_or_default();
                    self.course().is_due(file);
                    if let Some(source) = self.sources.get(file)
                        && self.fate_is(file, |fate| *fate == Fate::Pending)
                    {
                        self.turn(session, file, source).await?;
                    }
                }
            }
        }
    }

    /// Asks about the files that were accepted over an earlier connection, so that their receipts
    /// come over this one.
    async fn ask(&self, session: &mut Session) -> Result<(), ClientError> {
        for (file, source) in self.sources.iter().enumerate() {
            if self.fate_is(file, |fate| matches!(fate, Fate::Accepted { .. })) {
                let (size, crc32c) = self.sent(file);
                self.offer(session, (file, source), (size.unwrap_or(0), crc32c))
                    .await?;
            }
        }
        Ok(())
    }

    fn fate_is(&self, file: usize, is: impl Fn(&Fate) -> bool) -> bool {
        self.tally.borrow().fates.get(file).is_some_and(is)
    }

    /// The size and the checksum of what was last sent or offered of a file, as far as they are
    /// known.
    fn sent(&self, file: usize) -> (Option<u64>, Option<u32>) {
        self.tally
            .borrow()
            .sent
            .get(file)
            .map_or((None, None), |sent| (sent.size, sent.crc32c))
    }

    async fn offer(
        &self,
        session: &mut Session,
        (file, source): (usize, &Source),
        content: (u64, Option<u32>),
    ) -> Result<(), ClientError> {
        self.course().offer(file);
        session
            .offer(file as u64, self.options.keys.of(file, source), content)
            .await
    }

    /// Sends a file that has no receipt, or offers it if the balancer may have it, or some of it,
    /// already.
    ///
    /// What was sent whole over an earlier connection the balancer may have accepted: that is asked
    /// about first, whatever has become of the file since.
    async fn turn(
        &self,
        session: &mut Session,
        file: usize,
        source: &Source,
    ) -> Result<(), PutError> {
        let (size, crc32c) = self.sent(file);
        let before = size.zip(crc32c);
        if let Some((size, crc32c)) = before.filter(|(size, _)| *size > WHOLE) {
            return Ok(self
                .offer(session, (file, source), (size, Some(crc32c)))
                .await?);
        }
        match (source.read(self.options.changed).await, before) {
            (Ok((title, content)), before)
                if before.is_none_or(|before| is_same(&content, before)) =>
            {
                if before.is_none() && self.is_offered(file, &content) {
                    self.offer_first(session, (file, source), (&title, content))
                        .await
                } else {
                    self.put(session, (file, source), 0, (&title, content))
                        .await
                }
            }
            (_, Some((size, crc32c))) => Ok(self
                .offer(session, (file, source), (size, Some(crc32c)))
                .await?),
            (Err(trouble), None) => {
                self.cannot_send(file, trouble);
                Ok(())
            }
            // Without an earlier content there is nothing that could be different from it.
            (Ok(_), None) => Ok(()),
        }
    }

    /// Whether a file is offered before it is sent: that costs a round trip, and pays only where
    /// much may be there.
    fn is_offered(&self, file: usize, content: &Content) -> bool {
        let may_be_there = self.options.keys.are_lasting() || self.course().has_begun(file);
        content.size() > WHOLE && may_be_there && !self.course().has_changed(file)
    }

    /// Offers a file of which nothing was sent whole. If another run may have sent it, it is read
    /// once for that: its content tells whether it is the same.
    async fn offer_first(
        &self,
        session: &mut Session,
        (file, source): (usize, &Source),
        (title, content): (&str, Content),
    ) -> Result<(), PutError> {
        let size = content.size();
        let summed = match content {
            _ if !self.options.keys.are_lasting() => None,
            Content::Bytes(bytes, change) => Some(Summed::of(&bytes, change)),
            Content::File(opened) => {
                session.flush().await?;
                match opened.sum().await {
                    Ok(summed) => Some(summed),
                    Err(trouble) => {
                        self.cannot_send(file, trouble);
                        return Ok(());
                    }
                }
            }
        };
        let crc32c = summed.as_ref().map(|summed| summed.crc32c);
        self.sending((file, source), (title, size), summed);
        Ok(self.offer(session, (file, source), (size, crc32c)).await?)
    }

    /// A file cannot be sent, and nothing of it was accepted: it is given up, or read again later.
    fn cannot_send(&self, file: usize, trouble: Trouble) {
        match trouble {
            Trouble::Unreadable(reason) => self
                .tally
                .send_modify(|tally| tally.unreadable(file, reason)),
            Trouble::Changed(reason) => {
                let tries = self.course().put_off(file, Instant::now());
                if self.options.changed == Changed::Fail {
                    self.tally.send_modify(|tally| tally.changed(file, reason));
                } else if let Err(times) = tries {
                    self.tally.send_modify(|tally| {
                        tally.changed(file, format!("{reason}, {times} times in a row"))
                    });
                }
            }
        }
    }

    /// Sends what the balancer wants of a file that it was offered.
    async fn grant(
        &self,
        session: &mut Session,
        Grant { file, offset }: Grant,
    ) -> Result<(), PutError> {
        let Some(source) = self.sources.get(file) else {
            return Ok(());
        };
        match source.read(self.options.changed).await {
            Ok((title, content)) => {
                // A file that is shorter than what the balancer has of it is not the one that it
                // was.
                let offset = if offset <= content.size() { offset } else { 0 };
                self.put(session, (file, source), offset, (&title, content))
                    .await
            }
            Err(trouble) => {
                self.cannot_send(file, trouble);
                Ok(())
            }
        }
    }

    async fn put(
        &self,
        session: &mut Session,
        (file, source): (usize, &Source),
        offset: u64,
        (title, content): (&str, Content),
    ) -> Result<(), PutError> {
        let size = content.size();
        if size > WHOLE {
            self.course().begin(file, offset);
        }
        let upload = FileUpload {
            id: file as u64,
            title,
            key: self.options.keys.of(file, source),
            offset,
        };
        let sent = match content {
            Content::Bytes(bytes, change) => {
                self.sending(
                    (file, source),
                    (title, size),
                    Some(Summed::of(&bytes, change)),
                );
                session.put(&upload, &bytes).await.map_err(PutError::from)
            }
            Content::File(opened) => {
                self.sending((file, source), (title, size), None);
                let whole = |summed| self.tally.send_modify(|tally| tally.summed(file, summed));
                session.put_file(&upload, opened, whole).await
            }
        };
        match sent {
            Err(PutError::Untouched(trouble)) => {
                self.cannot_send(file, trouble);
                Ok(())
            }
            Err(PutError::Broken(trouble)) => {
                self.cannot_send(file, trouble.clone());
                Err(PutError::Broken(trouble))
            }
            other => other,
        }
    }

    /// A file goes out, or is offered, and what is known of its content.
    fn sending(
        &self,
        (file, source): (usize, &Source),
        (title, size): (&str, u64),
        summed: Option<Summed>,
    ) {
        self.tally.send_modify(|tally| {
            tally.sending(file, size, (title != source.title).then_some(title));
            if let Some(summed) = summed {
                tally.summed(file, summed);
            }
        });
    }

    fn course(&self) -> MutexGuard<'_, TransferState> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether content is of this size and checksum.
fn is_same(content: &Content, (size, crc32c): (u64, u32)) -> bool {
    match content {
        Content::Bytes(bytes, _) => bytes.len() as u64 == size && crc32c::crc32c(bytes) == crc32c,
        Content::File(_) => false,
    }
}
