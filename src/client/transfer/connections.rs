//! The connections of a transfer, one after the other.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::job::Job;
use super::state::Grant;
use super::upload::Uploader;
use crate::client::backoff::Backoff;
use crate::client::error::ClientError;
use crate::client::options::Options;
use crate::client::session::{Answer, Answers, PutError, Session};
use crate::client::source::Source;
use crate::client::tally::Tally;
use crate::client::way::Way;
use crate::protocol::Message;

/// How long the balancer may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The shortest time that an attempt to reach the balancer again is given.
const ATTEMPT: Duration = Duration::from_millis(100);

/// Sends the files and follows their receipts in `tally`, until every file has the receipt that is
/// waited for or never will. A file that cannot be read is told in the tally and ends nothing else.
/// A first connection that cannot be made is an error at once; a lost one is made again. Dropping
/// the future ends the transfer; the balancer keeps what it has accepted.
pub async fn transfer(
    way: &Way,
    sources: &[Source],
    options: &Options,
    tally: &watch::Sender<Tally>,
) -> Result<(), ClientError> {
    tally.send_replace(Tally::new(sources.len()));
    resume(way, sources, options, tally).await
}

/// Goes on with a transfer that ended early, from what its tally knows of the files: those that the
/// balancer has are only asked about.
pub async fn resume(
    way: &Way,
    sources: &[Source],
    options: &Options,
    tally: &watch::Sender<Tally>,
) -> Result<(), ClientError> {
    let transfer = Transfer {
        way,
        job: Job::new(sources, options, tally),
    };
    transfer.run().await
}

/// A transfer and the balancer that it goes to.
struct Transfer<'a> {
    way: &'a Way,
    job: Job<'a>,
}

/// How a connection ended.
enum TransferEnded {
    /// No file is left to wait for.
    Done,
    /// The balancer is stopping: it reads nothing more, but may still have receipts.
    Farewell(String),
    /// We ended it, because a file could not be sent with the size that its frame had promised.
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
            self.job.state().connected();
            let ended = self.use_connection(connection).await;
            // A balancer that ends every connection before it says anything is still away.
            if self.job.state().has_heard {
                outage = Outage::begin();
            }
            let error = match ended {
                TransferEnded::Done => return Ok(()),
                TransferEnded::Broken => match self.connect(CONNECT).await {
                    Ok(made) => {
                        connection = made;
                        continue;
                    }
                    Err(error) => error,
                },
                TransferEnded::Farewell(reason) => ClientError::Stopped(reason),
                TransferEnded::Lost(error) => error,
            };
            connection = self.reconnect(error, &mut outage).await?;
        }
    }

    async fn connect(&self, limit: Duration) -> Result<(Session, Answers), ClientError> {
        Session::open(self.way, limit).await
    }

    /// Tries to make another connection until the time for it is up. Then it gives `error`, which
    /// ended the last connection.
    async fn reconnect(
        &self,
        error: ClientError,
        outage: &mut Outage,
    ) -> Result<(Session, Answers), ClientError> {
        if !error.may_pass() {
            return Err(error);
        }
        self.job.disconnected();
        loop {
            let left = self
                .job
                .options
                .retry
                .saturating_sub(outage.since.elapsed());
            if left.is_zero() {
                return Err(error);
            }
            sleep(outage.backoff.next(rand::random()).min(left)).await;
            match self.connect(CONNECT.min(left.max(ATTEMPT))).await {
                Ok(connection) => {
                    self.job.reconnected();
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
        let (grants, mut granted) = mpsc::unbounded_channel();
        let mut uploader = Uploader {
            job: &self.job,
            session: &mut session,
        };
        let ended = {
            let sent = uploader.send(&mut granted);
            let followed = self.follow(&mut answers, &grants);
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
            // To a stopping balancer nothing more is sent: it might destroy the last receipts on
            // their way to us.
            TransferEnded::Farewell(reason) => match self.follow(&mut answers, &grants).await {
                TransferEnded::Done => TransferEnded::Done,
                _ => TransferEnded::Farewell(reason),
            },
            ended => ended,
        }
    }

    /// Follows receipts until no file is left to wait for, or the connection ends.
    async fn follow(
        &self,
        answers: &mut Answers,
        grants: &mpsc::UnboundedSender<Grant>,
    ) -> TransferEnded {
        let mut changes = self.job.watch();
        loop {
            if self.job.is_done(&changes.borrow_and_update()) {
                return TransferEnded::Done;
            }
            let answer = tokio::select! {
                answer = answers.next() => answer,
                // A file that cannot be read may be the last one that was waited for.
                _ = changes.changed() => continue,
            };
            match answer {
                Ok(Some(Answer::Message(Message::Bye(refusal)))) => {
                    return TransferEnded::Farewell(refusal.reason);
                }
                Ok(Some(Answer::Message(message))) => {
                    if let Some(grant) = self.job.heard(message) {
                        // On a connection that is ending, nobody sends what was granted.
                        let _ = grants.send(grant);
                    }
                }
                Ok(Some(Answer::Status(_) | Answer::Account(_))) => {}
                Ok(None) => {
                    let lost = ClientError::Lost("the balancer closed it".to_owned());
                    return TransferEnded::Lost(lost);
                }
                Err(error) => return TransferEnded::Lost(error),
            }
        }
    }
}
