//! One connection to a balancer: files go out over one half, receipts come in over the other.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::protocol::limits::STALL_TIMEOUT;
use crate::protocol::query::{self, Query};
use crate::protocol::status::StatusReport;
use crate::protocol::{Message, Refusal, RefusalCode, Role, frame};
use crate::transport::{BoxStream, Connect, Deadlines, ReadError, Reader, WriteError, send_content};

/// The largest status report that is read, in bytes.
const MAX_REPORT: u64 = 16 * 1024 * 1024;

/// How much of a file is read and sent at once.
const STEP: usize = 256 * 1024;

/// Why a balancer cannot be talked to, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot reach the balancer at {address}: {source}")]
    Connect {
        /// The balancer's address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// What answers is no balancer, or its answer makes no sense.
    #[error("what answers at {address} is no balancer: {reason}")]
    NotABalancer {
        /// The address.
        address: String,
        /// What came instead.
        reason: String,
    },
    /// The balancer ended the connection, and said why.
    #[error("the balancer closed the connection: {0}")]
    Closed(String),
    /// The connection was lost.
    #[error("the connection to the balancer was lost: {0}")]
    Lost(String),
    /// A file changed its size while it was sent.
    #[error("it changed while it was sent: {declared} bytes were promised, {actual} came")]
    Changed {
        /// The size that was promised.
        declared: u64,
        /// How much could be read.
        actual: u64,
    },
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<WriteError> for ClientError {
    fn from(error: WriteError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// The content of a file that is to be sent.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// On disk, of this size.
    File(tokio::fs::File, u64),
}

/// Something that a balancer says after its greeting.
#[derive(Debug)]
pub enum Answer {
    /// A receipt, or another message without content.
    Message(Message),
    /// Its status.
    Status(StatusReport),
    /// What it says to a query.
    Query(query::Answer),
}

/// The sending half of a connection to a balancer.
pub struct Session {
    write: WriteHalf<BoxStream>,
    out: Vec<u8>,
}

/// The receiving half of a connection to a balancer.
pub struct Answers {
    reader: Reader<ReadHalf<BoxStream>>,
}

impl Session {
    /// Connects to the balancer and greets it, in `limit` at most.
    pub async fn open(connector: &dyn Connect, address: &str, limit: Duration) -> Result<(Self, Answers), ClientError> {
        let unreachable = |source| ClientError::Connect { address: address.to_owned(), source };
        let late = || unreachable(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}")));
        let connected = timeout(limit, connector.connect(address)).await;
        let stream = connected.map_err(|_| late())?.map_err(unreachable)?;
        let (read, write) = tokio::io::split(stream);
        let mut session = Self { write, out: Vec::new() };
        // Receipts come whenever they come: how long to wait for them is the caller's to say.
        let deadlines = Deadlines { stall: STALL_TIMEOUT, idle: Duration::from_hours(365 * 24) };
        let mut answers = Answers { reader: Reader::new(read, deadlines) };
        frame::encode_preface(&mut session.out);
        frame::encode(&Message::Hello { role: Role::Client, overloaded: None, identity: None }, 0, &mut session.out);
        session.flush().await?;
        match timeout(limit, answers.greeting()).await.map_err(|_| late())? {
            Ok(()) => Ok((session, answers)),
            Err(reason) => Err(ClientError::NotABalancer { address: address.to_owned(), reason }),
        }
    }

    /// Sends a file under the name `id`. Small ones are kept together until [`Self::flush`].
    pub async fn put(&mut self, id: u64, title: String, content: Content) -> Result<(), ClientError> {
        match content {
            Content::Bytes(content) => {
                frame::encode(
                    &Message::Put { id, title, key: None, resumed: None },
                    content.len() as u64,
                    &mut self.out,
                );
                send_content(&mut self.write, &mut self.out, &content, STALL_TIMEOUT).await?;
            }
            Content::File(file, size) => {
                frame::encode(&Message::Put { id, title, key: None, resumed: None }, size, &mut self.out);
                self.flush().await?;
                self.stream(file, size).await?;
            }
        }
        if self.out.len() >= STEP { self.flush().await } else { Ok(()) }
    }

    /// Asks for the balancer's status.
    pub async fn ask_status(&mut self) -> Result<(), ClientError> {
        frame::encode(&Message::Status, 0, &mut self.out);
        self.flush().await
    }

    /// Asks about files, or says what to do with them.
    pub async fn query(&mut self, query: &Query) -> Result<(), ClientError> {
        let content = serde_json::to_vec(query).unwrap_or_default();
        frame::encode(&Message::Query, content.len() as u64, &mut self.out);
        send_content(&mut self.write, &mut self.out, &content, STALL_TIMEOUT).await?;
        self.flush().await
    }

    /// Writes what was kept together.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        // A full queue stops the balancer's reading for as long as it takes, and it says so: no deadline here.
        let result = self.write.write_all(&self.out).await;
        self.out.clear();
        result.map_err(|error| ClientError::Lost(error.to_string()))
    }

    async fn stream(&mut self, file: tokio::fs::File, size: u64) -> Result<(), ClientError> {
        let mut file = file.take(size);
        let (mut crc, mut sent) = (0, 0);
        while sent < size {
            self.out.resize(STEP, 0);
            let read = file.read(&mut self.out).await.map_err(|error| ClientError::Lost(error.to_string()))?;
            if read == 0 {
                return Err(ClientError::Changed { declared: size, actual: sent });
            }
            self.out.truncate(read);
            crc = crc32c::crc32c_append(crc, &self.out);
            self.flush().await?;
            sent += read as u64;
        }
        self.out.extend_from_slice(&frame::checksum(crc));
        Ok(())
    }
}

impl Answers {
    /// Waits for the next answer; `None` when the balancer closed the connection.
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        let Some(frame) = self.reader.frame().await? else { return Ok(None) };
        match frame.message {
            Message::Status if frame.content_len <= MAX_REPORT => {
                let content = self.reader.content(frame.content_len).await?;
                let report = serde_json::from_slice(&content).map_err(|error| ClientError::Lost(error.to_string()))?;
                Ok(Some(Answer::Status(report)))
            }
            Message::Query if frame.content_len <= MAX_REPORT => {
                let content = self.reader.content(frame.content_len).await?;
                let answer = serde_json::from_slice(&content).map_err(|error| ClientError::Lost(error.to_string()))?;
                Ok(Some(Answer::Query(answer)))
            }
            // A balancer that is stopping still sends the receipts of what it has.
            Message::Bye(Refusal { code, reason }) if code != RefusalCode::Stopping => Err(ClientError::Closed(reason)),
            message => Ok(Some(Answer::Message(message))),
        }
    }

    async fn greeting(&mut self) -> Result<(), String> {
        self.reader.preface().await.map_err(|error| error.to_string())?;
        match self.reader.frame().await.map_err(|error| error.to_string())?.map(|frame| frame.message) {
            Some(Message::Hello { role: Role::Balancer, .. }) => Ok(()),
            Some(Message::Hello { .. }) => Err("it is a file server; files go through its balancer".to_owned()),
            Some(Message::Bye(refusal)) => Err(refusal.reason),
            Some(_) => Err("it does not begin with a greeting".to_owned()),
            None => Err("it closed instead of a greeting".to_owned()),
        }
    }
}

/// Connects, asks for the status, and gives it, all in `limit`.
pub async fn status(connector: &dyn Connect, address: &str, limit: Duration) -> Result<StatusReport, ClientError> {
    let (mut session, mut answers) = Session::open(connector, address, limit).await?;
    session.ask_status().await?;
    wait_for(&mut answers, limit, |answer| if let Answer::Status(report) = answer { Some(report) } else { None }).await
}

/// Connects, asks about files or says what to do with them, and gives the answer, all in `limit`.
pub async fn query(
    connector: &dyn Connect,
    address: &str,
    query: Query,
    limit: Duration,
) -> Result<query::Answer, ClientError> {
    let (mut session, mut answers) = Session::open(connector, address, limit).await?;
    session.query(&query).await?;
    wait_for(&mut answers, limit, |answer| if let Answer::Query(answer) = answer { Some(answer) } else { None }).await
}

/// Waits for the answer that `pick` takes.
async fn wait_for<T>(
    answers: &mut Answers,
    limit: Duration,
    pick: impl Fn(Answer) -> Option<T>,
) -> Result<T, ClientError> {
    let wait = async {
        loop {
            match answers.next().await? {
                Some(answer) => {
                    if let Some(picked) = pick(answer) {
                        return Ok(picked);
                    }
                }
                None => return Err(ClientError::Lost("closed without an answer".to_owned())),
            }
        }
    };
    let late = ClientError::Lost(format!("no answer in {limit:?}"));
    timeout(limit, wait).await.unwrap_or(Err(late))
}
