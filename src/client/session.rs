//! One connection to a balancer: files go out over one half, receipts come in over the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::error::ClientError;
use super::reading::{Opened, Reading, STEP, Summed, Trouble};
use super::way::Way;
use crate::access::AccountAnswer;
use crate::bulk::{Next, ReadAhead};
use crate::checksum;
use crate::protocol::limits::STALL_TIMEOUT;
use crate::protocol::message::Prefix;
use crate::protocol::object;
use crate::protocol::status::StatusReport;
use crate::protocol::{Hello, Message, Refusal, RefusalCode, Role, frame};
use crate::secret::Secret;
use crate::transport::{BoxStream, Deadlines, Direct, ReadError, Reader, send_content};

/// The largest status report, or answer about an account, that is read, in bytes.
const MAX_REPORT: u64 = 16 * 1024 * 1024;

/// How long the balancer may be silent, or read nothing: practically without end. While its queue
/// is full it does not read, and receipts may take any time. The caller decides how long it waits;
/// the system notices a peer that has gone.
const PATIENCE: Duration = Duration::from_hours(365 * 24);

/// Why a file was not sent to its end.
#[derive(Debug)]
pub(super) enum PutError {
    /// The connection failed.
    Connection(ClientError),
    /// The file failed before any of it was sent: the connection is as good as before.
    Untouched(Trouble),
    /// The file failed in the middle: the rest that its frame promised cannot be sent, so the
    /// connection must end.
    Broken(Trouble),
}

impl From<ClientError> for PutError {
    fn from(error: ClientError) -> Self {
        Self::Connection(error)
    }
}

/// A file that is being sent.
pub(super) struct FileUpload<'a> {
    /// The client's number for it on this connection.
    pub(super) id: u64,
    /// Its title.
    pub(super) title: &'a str,
    /// Its durable name.
    pub(super) key: Arc<str>,
    /// How many bytes of its content the balancer has already; at most its size.
    pub(super) offset: u64,
    /// Whether its content is hashed.
    pub(super) is_hashed: bool,
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

/// A message of a balancer after its greeting.
#[derive(Debug)]
pub enum Answer {
    /// A receipt, or another message without content.
    Message(Message),
    /// The status report that was asked for.
    Status(StatusReport),
    /// The answer to a question about the client's account.
    Account(AccountAnswer),
}

/// The sending half of a connection to a balancer.
pub struct Session {
    write: WriteHalf<BoxStream>,
    /// The direct way to what `write` writes to, by which large content may be written.
    direct: Option<Direct>,
    out: Vec<u8>,
}

/// The receiving half of a connection to a balancer.
pub struct Answers {
    reader: Reader<ReadHalf<BoxStream>>,
}

impl Session {
    /// Connects to the balancer and says who the client is, in `limit` at most. A balancer that
    /// wants a token and gets none is an error.
    pub async fn open(way: &Way, limit: Duration) -> Result<(Self, Answers), ClientError> {
        let (session, answers, hello) = Self::greeted(way, false, limit).await?;
        if hello.locked == Some(true) && hello.user.is_none() {
            return Err(ClientError::WantsToken(way.address.to_string()));
        }
        Ok((session, answers))
    }

    /// Connects to the balancer and greets it, in `limit` at most. With a secret to tell, or a token,
    /// a connection that others could hear is an error before anything is sent.
    pub(super) async fn greeted(
        way: &Way,
        has_secret: bool,
        limit: Duration,
    ) -> Result<(Self, Answers, Hello), ClientError> {
        let unreachable = |source| ClientError::Connect {
            address: way.address.to_string(),
            source,
        };
        let late = || {
            let error = format!("no answer in {limit:?}");
            unreachable(io::Error::new(io::ErrorKind::TimedOut, error))
        };
        let connected = timeout(limit, way.connector.connect(&way.address)).await;
        let stream = connected.map_err(|_| late())?.map_err(unreachable)?;
        if (has_secret || way.token.is_some()) && !stream.is_private() {
            return Err(ClientError::PlainText(way.address.to_string()));
        }
        let (mut session, mut answers) = Self::over(stream);
        session.greet(way.token.clone()).await?;
        let greeted = timeout(limit, answers.greeting()).await;
        match greeted.map_err(|_| late())? {
            Ok(hello) => Ok((session, answers, hello)),
            Err(Strange::Denied(refusal)) => Err(ClientError::Denied(refusal)),
            Err(Strange::Other { reason, may_pass }) => Err(ClientError::NotABalancer {
                address: way.address.to_string(),
                reason,
                may_pass,
            }),
        }
    }

    /// Both halves of a connection on which nothing was said yet.
    fn over(stream: BoxStream) -> (Self, Answers) {
        let direct = stream.direct();
        let (read, write) = tokio::io::split(stream);
        let session = Self {
            write,
            direct,
            out: Vec::new(),
        };
        let deadlines = Deadlines {
            stall: STALL_TIMEOUT,
            idle: PATIENCE,
        };
        let answers = Answers {
            reader: Reader::new(read, deadlines),
        };
        (session, answers)
    }

    async fn greet(&mut self, token: Option<Secret>) -> Result<(), ClientError> {
        let hello = Message::from(Hello {
            token,
            ..Hello::of(Role::Client)
        });
        frame::encode_preface(&mut self.out);
        frame::encode(&hello, 0, &mut self.out);
        self.flush().await
    }

    /// The connection itself, and the bytes that came behind the greeting: for a caller that speaks
    /// the protocol itself.
    pub fn into_stream(self, answers: Answers) -> (BoxStream, BytesMut) {
        let (read, buffer) = answers.reader.into_parts();
        (read.unsplit(self.write), buffer)
    }

    /// Sends content in memory from the upload's offset on. Small files are collected until
    /// [`Self::flush`].
    pub(super) async fn put(
        &mut self,
        upload: &FileUpload<'_>,
        content: &[u8],
    ) -> Result<(), ClientError> {
        let offset = usize::try_from(upload.offset).unwrap_or(usize::MAX);
        let (before, rest) = content.split_at_checked(offset).unwrap_or((content, &[]));
        frame::encode(
            &upload.message(checksum::crc32c(before)),
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

    /// Sends a file on disk from the upload's offset on. `whole` is told the sums of all of its
    /// content before the last of it is sent; a file that changed meanwhile is not sent to its end.
    /// The last bytes are kept until [`Self::flush`].
    pub(super) async fn put_file(
        &mut self,
        upload: &FileUpload<'_>,
        opened: Opened,
        whole: impl Fn(Summed),
    ) -> Result<(), PutError> {
        // Reading the prefix can take long: collected small files must not wait for it.
        self.flush().await?;
        let size = opened.size();
        let mut reading = opened.read(upload.offset, upload.is_hashed);
        let (mut came, mut crc32c) = (0, 0);
        while came < upload.offset
            && let Some(piece) = reading.next().await
        {
            let mut piece = piece.map_err(PutError::Untouched)?.piece;
            came += piece.bytes.len() as u64;
            crc32c = piece.crc32c;
            if let Some(sums) = piece.whole.take() {
                whole(sums);
            }
            reading.reuse(piece);
        }
        frame::encode(&upload.message(crc32c), size - came, &mut self.out);
        self.flush().await?;
        if came < size {
            self.stream(&mut reading, whole).await
        } else {
            Ok(())
        }
    }

    /// Asks whether the balancer wants the content of a file, or has the file already.
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

    /// Asks about an account.
    pub(super) async fn ask_account(&mut self, content: &[u8]) -> Result<(), ClientError> {
        frame::encode(&Message::Account, content.len() as u64, &mut self.out);
        send_content(&mut self.write, &mut self.out, content, PATIENCE).await?;
        self.flush().await
    }

    /// Writes what was collected.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let mut result = self.write.write_all(&self.out).await;
        self.out.clear();
        if result.is_ok() {
            result = self.write.flush().await;
        }
        result.map_err(|error| ClientError::Lost(error.to_string()))
    }

    /// Sends the rest of a file, which is not empty, and its checksum.
    async fn stream(
        &mut self,
        reading: &mut ReadAhead<Reading>,
        whole: impl Fn(Summed),
    ) -> Result<(), PutError> {
        reading.send_over(self.direct.clone());
        while let Some(next) = reading.next().await {
            let Next { mut piece, sent } = next.map_err(PutError::Broken)?;
            if let Some(sums) = piece.whole.take() {
                whole(sums);
                self.out.extend_from_slice(&frame::checksum(piece.crc32c));
            }
            self.write(piece.bytes.get(sent..).unwrap_or_default())
                .await?;
            reading.reuse(piece);
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let written = self.write.write_all(bytes).await;
        written.map_err(|error| ClientError::Lost(error.to_string()))
    }
}

impl Answers {
    /// Waits for the next answer; `None` once the balancer has closed the connection.
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
            Message::Account if frame.content_len <= MAX_REPORT => {
                let content = self.reader.content(frame.content_len).await?;
                let answer = object::from_slice(&content)
                    .map_err(|error| ClientError::Lost(error.to_string()))?;
                Ok(Some(Answer::Account(answer)))
            }
            Message::Bye(refusal) if is_denied(refusal.code) => Err(ClientError::Denied(refusal)),
            // A balancer that is stopping still sends receipts for the files that it has.
            Message::Bye(Refusal { code, reason }) if code != RefusalCode::Stopping => {
                Err(ClientError::Closed(reason))
            }
            message => Ok(Some(Answer::Message(message))),
        }
    }

    /// Reads the balancer's greeting.
    async fn greeting(&mut self) -> Result<Hello, Strange> {
        let broken = |error: ReadError| {
            let reason = error.to_string();
            let may_pass = ClientError::from(error).may_pass();
            Strange::Other { reason, may_pass }
        };
        let other = |reason: &str, may_pass| Strange::Other {
            reason: reason.to_owned(),
            may_pass,
        };
        self.reader.preface().await.map_err(broken)?;
        let first = self.reader.frame().await.map_err(broken)?;
        match first.map(|frame| frame.message) {
            Some(Message::Hello(hello)) if hello.role == Role::Balancer => Ok(*hello),
            Some(Message::Hello(_)) => Err(other(
                "it is a file server; files go through its balancer",
                false,
            )),
            Some(Message::Bye(refusal)) if is_denied(refusal.code) => Err(Strange::Denied(refusal)),
            Some(Message::Bye(refusal)) => Err(other(&refusal.reason, !refusal.code.is_lasting())),
            Some(_) => Err(other("its first message is not a greeting", false)),
            None => Err(other("it closed the connection instead of greeting", true)),
        }
    }
}

fn is_denied(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::Unauthorized | RefusalCode::Forbidden)
}

/// What came instead of a balancer's greeting.
enum Strange {
    /// A balancer's refusal of what this client has shown.
    Denied(Refusal),
    /// Something else; perhaps a balancer answers a little later.
    Other { reason: String, may_pass: bool },
}

/// Connects and asks for the status. Connecting and the answer may each take up to `limit`.
pub async fn status(way: &Way, limit: Duration) -> Result<StatusReport, ClientError> {
    let (mut session, mut answers) = Session::open(way, limit).await?;
    session.ask_status().await?;
    let late = ClientError::Lost(format!("no answer in {limit:?}"));
    timeout(limit, next_report(&mut answers))
        .await
        .unwrap_or(Err(late))
}

async fn next_report(answers: &mut Answers) -> Result<StatusReport, ClientError> {
    loop {
        match answers.next().await? {
            Some(Answer::Status(report)) => return Ok(report),
            Some(Answer::Message(_) | Answer::Account(_)) => {}
            None => return Err(ClientError::Lost("closed without an answer".to_owned())),
        }
    }
}
