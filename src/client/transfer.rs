//! Sends many files and follows their receipts, over as many connections as it takes.
//!
//! Each file bears a key, the same on each resend, so that the balancer takes it once. When a connection is lost,
//! files without a receipt are sent again; those that were accepted are only asked about. What was in the middle of being sent
//! goes on where the balancer's part of it ends.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::content::{Source, WHOLE};
use super::course::{Course, Wish};
use super::keys::Keys;
use super::session::{Answer, Answers, ClientError, Content, PutError, Session, Upload};
use super::tally::{Fate, Sent, Tally};
use crate::protocol::Message;
use crate::transport::Connect;

/// How long the balancer may take to answer at first.
const CONNECT: Duration = Duration::from_secs(5);

/// The shortest time that an attempt to reach the balancer again is given.
const ATTEMPT: Duration = Duration::from_millis(100);

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// The balancer has every file.
    Accepted,
    /// A server has every file.
    Delivered,
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
}

/// Sends the files and follows their receipts in `tally`, until every file has reached what is waited for or never
/// will. A file that cannot be read is told in the tally and ends nothing else. A connection that cannot be made at
/// first is an error at once; one that is lost is made again. Dropping the future ends the transfer; what the
/// balancer has accepted it keeps.
pub async fn transfer(
    connector: &dyn Connect,
    address: &str,
    sources: &[Source],
    options: &Options,
    tally: &watch::Sender<Tally>,
) -> Result<(), ClientError> {
    tally.send_replace(Tally::new(sources.len()));
    let transfer = Transfer { connector, address, sources, options, tally, course: Mutex::default() };
    transfer.run().await
}

/// A transfer and what it has under way.
struct Transfer<'a> {
    connector: &'a dyn Connect,
    address: &'a str,
    sources: &'a [Source],
    options: &'a Options,
    tally: &'a watch::Sender<Tally>,
    course: Mutex<Course>,
}

/// How a connection ended.
enum Ended {
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
        Self { since: Instant::now(), backoff: Backoff::default() }
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
                Ended::Done => return Ok(()),
                Ended::Broken => match self.connect(CONNECT).await {
                    Ok(connection) => connection,
                    Err(error) => self.reconnect(error, &mut outage).await?,
                },
                Ended::Farewell(reason) => self.reconnect(ClientError::Stopped(reason), &mut outage).await?,
                Ended::Lost(error) => self.reconnect(error, &mut outage).await?,
            };
        }
    }

    async fn connect(&self, limit: Duration) -> Result<(Session, Answers), ClientError> {
        Session::open(self.connector, self.address, limit).await
    }

    /// Tries to make another connection until the time for it is up; then the error is the one that ended the last.
    async fn reconnect(&self, error: ClientError, outage: &mut Outage) -> Result<(Session, Answers), ClientError> {
        if !error.may_pass() {
            return Err(error);
        }
        self.tally.send_modify(|tally| (tally.reconnecting, tally.waiting) = (true, None));
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
    async fn use_connection(&self, (mut session, mut answers): (Session, Answers)) -> Ended {
        let (wishes, mut asked) = mpsc::unbounded_channel();
        let ended = {
            let (sent, followed) = (self.send(&mut session, &mut asked), self.follow(&mut answers, &wishes));
            tokio::pin!(sent, followed);
            tokio::select! {
                // A connection that fails while we send fails for the other half, too, which may have receipts or know the
                // balancer's reason.
                failed = &mut sent => match failed {
                    Ok(never) => match never {},
                    Err(PutError::Connection(error)) => {
                        timeout(CONNECT, followed).await.unwrap_or(Ended::Lost(error))
                    }
                    Err(PutError::Broken(_) | PutError::Unreadable(_)) => Ended::Broken,
                },
                ended = &mut followed => ended,
            }
        };
        match ended {
            // Whatever is sent to a stopping balancer may only destroy its last receipts on their way to us.
            Ended::Farewell(reason) => match self.follow(&mut answers, &wishes).await {
                Ended::Done => Ended::Done,
                _ => Ended::Farewell(reason),
            },
            ended => ended,
        }
    }

    /// Follows receipts until nothing is left to wait for, or the connection ends.
    async fn follow(&self, answers: &mut Answers, wishes: &mpsc::UnboundedSender<Wish>) -> Ended {
        let mut changes = self.tally.subscribe();
        loop {
            if self.is_done(&changes.borrow_and_update()) {
                return Ended::Done;
            }
            tokio::select! {
                answer = answers.next() => match answer {
                    Ok(Some(Answer::Message(Message::Bye(refusal)))) => return Ended::Farewell(refusal.reason),
                    Ok(Some(Answer::Message(message))) => self.heard(message, wishes),
                    Ok(Some(Answer::Status(_) | Answer::Query(_))) => {}
                    Ok(None) => return Ended::Lost(ClientError::Lost("the balancer closed it".to_owned())),
                    Err(error) => return Ended::Lost(error),
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

    fn heard(&self, message: Message, wishes: &mpsc::UnboundedSender<Wish>) {
        let mut wish = None;
        self.tally.send_modify(|tally| wish = self.course().heard(message, tally));
        if let Some(wish) = wish {
            // Nobody sends any more on a connection that is ending.
            let _ = wishes.send(wish);
        }
    }

    /// Sends what this connection is to bear: questions about what was accepted, then what has no receipt, and in
    /// between what the balancer wants of the files that it was offered. Ends only when it fails.
    async fn send(
        &self,
        session: &mut Session,
        wishes: &mut mpsc::UnboundedReceiver<Wish>,
    ) -> Result<Infallible, PutError> {
        if self.options.wait == Wait::Delivered {
            self.ask(session).await?;
        }
        for (file, source) in self.sources.iter().enumerate() {
            while let Ok(wish) = wishes.try_recv() {
                self.grant(session, wish).await?;
            }
            if self.fate_is(file, |fate| *fate == Fate::Pending) {
                self.turn(session, file, source).await?;
            }
        }
        loop {
            session.flush().await?;
            match wishes.recv().await {
                Some(wish) => self.grant(session, wish).await?,
                None => std::future::pending().await,
            }
        }
    }

    /// Asks about the files that were accepted over an earlier connection, so that their receipts come over this one.
    async fn ask(&self, session: &mut Session) -> Result<(), ClientError> {
        for (file, source) in self.sources.iter().enumerate() {
            if self.fate_is(file, |fate| matches!(fate, Fate::Accepted { .. })) {
                let size = self.tally.borrow().size(file);
                self.offer(session, file, source, size).await?;
            }
        }
        Ok(())
    }

    fn fate_is(&self, file: usize, is: impl Fn(&Fate) -> bool) -> bool {
        self.tally.borrow().fates.get(file).is_some_and(is)
    }

    async fn offer(&self, session: &mut Session, file: usize, source: &Source, size: u64) -> Result<(), ClientError> {
        self.course().offer(file);
        session.offer(file as u64, self.options.keys.of(file, source), size).await
    }

    /// Sends a file that has no receipt, or offers it if the balancer may have some of it already.
    async fn turn(&self, session: &mut Session, file: usize, source: &Source) -> Result<(), PutError> {
        match source.read().await {
            Ok((title, content)) if self.is_offered(file, &content) => {
                let size = content.size();
                self.tally.send_modify(|tally| tally.offering(file, what(source, &title, size)));
                Ok(self.offer(session, file, source, size).await?)
            }
            Ok((title, content)) => self.put(session, (file, source), 0, (&title, content)).await,
            Err(error) => self.cannot_read(session, file, source, error.to_string()).await,
        }
    }

    /// Whether a file is offered before it is sent: that costs a round trip, and pays only where much may be there.
    fn is_offered(&self, file: usize, content: &Content) -> bool {
        content.size() > WHOLE && (self.options.keys.are_lasting() || self.course().has_begun(file))
    }

    /// A file cannot be read. If it was sent over an earlier connection, the balancer may have it all the same.
    async fn cannot_read(
        &self,
        session: &mut Session,
        file: usize,
        source: &Source,
        reason: String,
    ) -> Result<(), PutError> {
        let sent = self.tally.borrow().sent.get(file).and_then(|sent| sent.size);
        match sent {
            Some(size) => self.offer(session, file, source, size).await?,
            None => self.tally.send_modify(|tally| tally.unreadable(file, reason)),
        }
        Ok(())
    }

    /// Sends what the balancer wants of a file that it was offered.
    async fn grant(&self, session: &mut Session, Wish { file, offset }: Wish) -> Result<(), PutError> {
        let Some(source) = self.sources.get(file) else { return Ok(()) };
        match source.read().await {
            Ok((title, content)) => {
                // A file that is shorter than what the balancer has of it is not the one that it was.
                let offset = if offset <= content.size() { offset } else { 0 };
                self.put(session, (file, source), offset, (&title, content)).await
            }
            Err(error) => {
                self.tally.send_modify(|tally| tally.unreadable(file, error.to_string()));
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
        let hash = if let Content::Bytes(bytes) = &content { Some(blake3::hash(bytes)) } else { None };
        self.tally.send_modify(|tally| tally.sending(file, Sent { hash, ..what(source, title, size) }));
        let upload = Upload { id: file as u64, title, key: self.options.keys.of(file, source), offset };
        let sent = match content {
            Content::Bytes(bytes) => session.put(&upload, &bytes).await.map_err(PutError::from),
            Content::File(handle, size) => session.put_file(&upload, handle, size).await.map(|hash| {
                self.tally.send_modify(|tally| tally.hashed(file, hash));
            }),
        };
        if let Err(PutError::Unreadable(reason) | PutError::Broken(reason)) = &sent {
            self.tally.send_modify(|tally| tally.unreadable(file, reason.clone()));
        }
        match sent {
            Err(PutError::Unreadable(_)) => Ok(()),
            other => other,
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a file before its content is read.
fn what(source: &Source, title: &str, size: u64) -> Sent {
    Sent { size: Some(size), hash: None, title: (title != source.title).then(|| title.into()) }
}
