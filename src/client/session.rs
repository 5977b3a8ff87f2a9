//! One connection to a balancer: files go out over one half, receipts come in over the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::reading::{Opened, Reading, STEP, Summed, Trouble};
use crate::protocol::limits::STALL_TIMEOUT;
use crate::protocol::message::Prefix;
use crate::protocol::object;
use crate::protocol::query::{self, Query};
use crate::protocol::status::StatusReport;
use crate::protocol::{Message, ProtocolError, Refusal, RefusalCode, Role, frame};
use crate::transport::{
    BoxStream, Connect, Deadlines, ReadError, Reader, WriteError, send_content,
};

/// The largest status report that is read, in bytes.
const MAX_REPORT: u64 = 16 * 1024 * 1024;

/// How long the balancer may be silent, or read nothing: a full queue stops its reading for as long
/// as it takes, and receipts come when they come. How long to wait is the caller's to say; the
/// system notices a peer that has gone.
const PATIENCE: Duration = Duration::from_hours(365 * 24);

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
    /// Another program answers there, or the answer is invalid.
    #[error("the process at {address} is not a Bilico balancer: {reason}")]
    NotABalancer {
        /// The address.
        address: String,
        /// What came instead.
        reason: String,
        /// Whether it only fell silent or is stopping, as a balancer that is being restarted does.
        may_pass: bool,
    },
    /// The balancer ended the connection for what it heard from us, and said why.
    #[error("the balancer closed the connection: {0}")]
    Closed(String),
    /// The balancer ended the connection because it was stopped.
    #[error("the balancer closed the connection: {0}")]
    Stopped(String),
    /// What the balancer says breaks the protocol.
    #[error("the balancer does not follow the protocol: {0}")]
    Nonsense(ProtocolError),
    /// The connection was lost.
    #[error("the connection to the balancer was lost: {0}")]
    Lost(String),
}

impl ClientError {
    /// Whether another connection, a little later, may do better.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Stopped(_) | Self::Lost(_) => true,
            Self::NotABalancer { may_pass, .. } => *may_pass,
            Self::Closed(_) | Self::Nonsense(_) => false,
        }
    }
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Protocol(error) if !is_cut(&error) => Self::Nonsense(error),
            error => Self::Lost(error.to_string()),
        }
    }
}

impl From<WriteError> for ClientError {
    fn from(error: WriteError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Whether the bytes are right as far as they came.
fn is_cut(error: &ProtocolError) -> bool {
    matches!(error, ProtocolError::Truncated { .. })
}

/// Why a file was not sent to its end.
#[derive(Debug)]
pub(super) enum PutError {
    /// The connection failed.
    Connection(ClientError),
    /// The file failed before anything of it was sent: the connection is as good as before.
    Untouched(Trouble),
    /// The file failed in the middle: what was promised cannot be sent, so the connection must end.
    Broken(Trouble),
}

impl From<ClientError> for PutError {
    fn from(error: ClientError) -> Self {
        Self::Connection(error)
    }
}

/// A file as it goes out.
pub(super) struct FileUpload<'a> {
    /// Its name on this connection.
    pub(super) id: u64,
    /// Its title.
    pub(super) title: &'a str,
    /// Its lasting name.
    pub(super) key: Arc<str>,
    /// How many bytes of its content the balancer has already; at most its size.
    pub(super) offset: u64,
}

impl FileUpload<'_> {
    /// The message before the content from the offset on; the beginning up to there has this
    /// CRC32C.
    fn message(&self, crc32c: u32) -> Message {
        Message::Put {
            id: self.id,
            title: self.title.to_owned(),
            key: Some(Arc::clone(&self.key)),
            resumed: (self.offset > 0).then_some(Prefix {
                offset: self.offset,
                crc32c,
            }),
        }
    }
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
    pub async fn open(
        connector: &dyn Connect,
        address: &str,
        limit: Duration,
    ) -> Result<(Self, Answers), ClientError> {
        let unreachable = |source| ClientError::Connect {
            address: address.to_owned(),
            source,
        };
        let late = || {
            unreachable(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer in {limit:?}"),
            ))
        };
        let connected = timeout(limit, connector.connect(address)).await;
        let stream = connected.map_err(|_| late())?.map_err(unreachable)?;
        let (read, write) = tokio::io::split(stream);
        let mut session = Self {
            write,
            out: Vec::new(),
        };
        let deadlines = Deadlines {
            stall: STALL_TIMEOUT,
            idle: PATIENCE,
        };
        let mut answers = Answers {
            reader: Reader::new(read, deadlines),
        };
        frame::encode_preface(&mut session.out);
        frame::encode(
            &Message::Hello {
                role: Role::Client,
                overloaded: None,
                identity: None,
                memory: None,
                instance: None,
                epoch: None,
            },
            0,
            &mut session.out,
        );
        session.flush().await?;
        match timeout(limit, answers.greeting())
            .await
            .map_err(|_| late())?
        {
            Ok(()) => Ok((session, answers)),
            Err((reason, may_pass)) => Err(ClientError::NotABalancer {
                address: address.to_owned(),
                reason,
                may_pass,
            }),
        }
    }

    /// The connection itself, and what came in behind the greeting: for a caller that speaks the
    /// protocol itself.
    pub fn into_stream(self, answers: Answers) -> (BoxStream, BytesMut) {
        let (read, buffer) = answers.reader.into_parts();
        (read.unsplit(self.write), buffer)
    }

    /// Sends content in memory from the upload's offset on. Small files are kept together until
    /// [`Self::flush`].
    pub(super) async fn put(
        &mut self,
        upload: &FileUpload<'_>,
        content: &[u8],
    ) -> Result<(), ClientError> {
        let offset = usize::try_from(upload.offset).unwrap_or(usize::MAX);
        let (before, rest) = content.split_at_checked(offset).unwrap_or((content, &[]));
        frame::encode(
            &upload.message(crc32c::crc32c(before)),
            rest.len() as u64,
            &mut self.out,
        );
        send_content(&mut self.write, &mut self.out, rest, PATIENCE).await?;
        if self.out.len() >= STEP {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Sends a file on disk from the upload's offset on. `whole` hears what it is before the last
    /// of it is sent; a file that changed meanwhile is not sent to its end. The last bytes are kept
    /// until [`Self::flush`].
    pub(super) async fn put_file(
        &mut self,
        upload: &FileUpload<'_>,
        opened: Opened,
        whole: impl Fn(Summed),
    ) -> Result<(), PutError> {
        // Reading the beginning can take long: what is kept together must not wait for it.
        self.flush().await?;
        let mut reading = Reading::new(opened);
        let mut crc = 0;
        while reading.came < upload.offset {
            self.out.resize(STEP, 0);
            let step = reading.step(&mut self.out, upload.offset).await;
            crc = crc32c::crc32c_append(crc, &self.out);
            self.out.clear();
            step.map_err(PutError::Untouched)?;
        }
        let rest = reading.size() - reading.came;
        if rest == 0 {
            whole(reading.end(crc).await.map_err(PutError::Untouched)?);
        }
        frame::encode(&upload.message(crc), rest, &mut self.out);
        self.flush().await?;
        if rest > 0 {
            self.stream(&mut reading, crc, whole).await
        } else {
            Ok(())
        }
    }

    /// Asks whether the balancer wants the content of a file, or knows it already.
    pub(super) async fn offer(
        &mut self,
        id: u64,
        key: Arc<str>,
        (size, crc32c): (u64, Option<u32>),
    ) -> Result<(), ClientError> {
        frame::encode(
            &Message::Offer {
                id,
                key,
                size,
                crc32c,
            },
            0,
            &mut self.out,
        );
        if self.out.len() >= STEP {
            self.flush().await
        } else {
            Ok(())
        }
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
        let result = self.write.write_all(&self.out).await;
        self.out.clear();
        result.map_err(|error| ClientError::Lost(error.to_string()))
    }

    /// Sends the rest of a file, which is not empty, and its checksum. `before` is the checksum of
    /// its beginning.
    async fn stream(
        &mut self,
        reading: &mut Reading,
        before: u32,
        whole: impl Fn(Summed),
    ) -> Result<(), PutError> {
        let (begin, size, mut crc) = (reading.came, reading.size(), 0);
        while reading.came < size {
            self.out.resize(STEP, 0);
            reading
                .step(&mut self.out, size)
                .await
                .map_err(PutError::Broken)?;
            crc = crc32c::crc32c_append(crc, &self.out);
            if reading.came == size {
                let len = usize::try_from(size - begin).unwrap_or(usize::MAX);
                let all = crc32c::crc32c_combine(before, crc, len);
                whole(reading.end(all).await.map_err(PutError::Broken)?);
            }
            self.flush().await?;
        }
        self.out.extend_from_slice(&frame::checksum(crc));
        Ok(())
    }
}

impl Answers {
    /// Waits for the next answer; `None` when the balancer closed the connection.
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        let Some(frame) = self.reader.frame().await? else {
            return Ok(None);
        };
        match frame.message {
            Message::Status if frame.content_len <= MAX_REPORT => {
                let content = self.reader.content(frame.content_len).await?;
                let report = object::from_slice(&content)
                    .map_err(|error| ClientError::Lost(error.to_string()))?;
                Ok(Some(Answer::Status(report)))
            }
            Message::Query if frame.content_len <= MAX_REPORT => {
                let content = self.reader.content(frame.content_len).await?;
                let answer = object::from_slice(&content)
                    .map_err(|error| ClientError::Lost(error.to_string()))?;
                Ok(Some(Answer::Query(answer)))
            }
            // A balancer that is stopping still sends the receipts of what it has.
            Message::Bye(Refusal { code, reason }) if code != RefusalCode::Stopping => {
                Err(ClientError::Closed(reason))
            }
            message => Ok(Some(Answer::Message(message))),
        }
    }

    /// Reads the balancer's greeting. An error says why it is none, and whether it may be one a
    /// little later.
    async fn greeting(&mut self) -> Result<(), (String, bool)> {
        let broken = |error: ReadError| {
            let text = error.to_string();
            (text, ClientError::from(error).may_pass())
        };
        self.reader.preface().await.map_err(broken)?;
        match self
            .reader
            .frame()
            .await
            .map_err(broken)?
            .map(|frame| frame.message)
        {
            Some(Message::Hello {
                role: Role::Balancer,
                ..
            }) => Ok(()),
            Some(Message::Hello { .. }) => Err((
                "it is a file server; files go through its balancer".to_owned(),
                false,
            )),
            Some(Message::Bye(refusal)) => Err((refusal.reason, !refusal.code.is_lasting())),
            Some(_) => Err(("it does not begin with a greeting".to_owned(), false)),
            None => Err(("it closed instead of a greeting".to_owned(), true)),
        }
    }
}

/// Connects, asks for the status, and gives it, all in `limit`.
pub async fn status(
    connector: &dyn Connect,
    address: &str,
    limit: Duration,
) -> Result<StatusReport, ClientError> {
    let (mut session, mut answers) = Session::open(connector, address, limit).await?;
    session.ask_status().await?;
    wait_for(&mut answers, limit, |answer| {
        if let Answer::Status(report) = answer {
            Some(report)
        } else {
            None
        }
    })
    .await
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
    wait_for(&mut answers, limit, |answer| {
        if let Answer::Query(answer) = answer {
            Some(answer)
        } else {
            None
        }
    })
    .await
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
