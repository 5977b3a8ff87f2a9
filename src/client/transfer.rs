//! Sends many files over one connection and follows their receipts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::session::{Answer, Answers, ClientError, Content, Session};
use super::tally::Tally;
use crate::protocol::limits::DEFAULT_MAX_JSON;
use crate::protocol::{Message, json};
use crate::transport::Connect;

/// Files up to this size are read whole before they are sent.
const WHOLE: u64 = 1024 * 1024;

/// How long the balancer may take to answer at first.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How a file on disk becomes a title and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Its bytes are the content.
    Raw,
    /// It is a JSON payload, whose title and content are sent.
    Payload,
    /// A payload if it is called `.json` and is one, its bytes otherwise.
    Either,
}

/// A file that is to be sent.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// Its title, unless it is a payload with a title of its own.
    pub title: String,
    /// What it is.
    pub form: Form,
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// The balancer has every file.
    Accepted,
    /// A server has every file.
    Delivered,
}

/// How a transfer is to go.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What it waits for.
    pub wait: Wait,
}

/// Sends the files and follows their receipts in `tally`, until every file has reached what is waited for or never
/// will. A file that cannot be read is told in the tally and ends nothing else. Dropping the future ends the
/// transfer; what the balancer has accepted it keeps.
pub async fn transfer(
    connector: &dyn Connect,
    address: &str,
    sources: &[Source],
    options: Options,
    tally: &watch::Sender<Tally>,
) -> Result<(), ClientError> {
    tally.send_replace(Tally::new(sources.len()));
    let (mut session, mut answers) = Session::open(connector, address, CONNECT).await?;
    let is_done = |tally: &Tally| match options.wait {
        Wait::Accepted => tally.unaccepted() == 0,
        Wait::Delivered => tally.undecided() == 0,
    };
    let (sent, follow) = (send_all(&mut session, sources, tally), follow(&mut answers, tally, is_done));
    tokio::pin!(sent, follow);
    tokio::select! {
        // A connection that fails while we send fails for the other half, too, which may know the balancer's reason.
        failed = &mut sent => match failed {
            Ok(()) => follow.await,
            Err(error @ ClientError::Changed { .. }) => Err(error),
            Err(error) => tokio::time::timeout(CONNECT, follow).await.unwrap_or(Ok(())).and(Err(error)),
        },
        followed = &mut follow => followed,
    }
}

/// Follows receipts until `is_done`.
async fn follow(
    answers: &mut Answers,
    tally: &watch::Sender<Tally>,
    is_done: impl Fn(&Tally) -> bool,
) -> Result<(), ClientError> {
    let mut changes = tally.subscribe();
    let mut farewell = None;
    loop {
        if is_done(&changes.borrow_and_update()) {
            return Ok(());
        }
        tokio::select! {
            answer = answers.next() => match answer? {
                Some(Answer::Message(Message::Bye(refusal))) => farewell = Some(refusal.reason),
                Some(Answer::Message(message)) => tally.send_modify(|tally| tally.heard(message)),
                Some(Answer::Status(_) | Answer::Query(_)) => {}
                None => {
                    let lost = ClientError::Lost("the balancer closed it".to_owned());
                    return Err(farewell.map_or(lost, ClientError::Closed));
                }
            },
            // A file that cannot be read may be the last one that was waited for.
            _ = changes.changed() => {}
        }
    }
}

async fn send_all(session: &mut Session, sources: &[Source], tally: &watch::Sender<Tally>) -> Result<(), ClientError> {
    for (file, source) in sources.iter().enumerate() {
        match read(source).await {
            Ok((title, content)) => {
                let size = match &content {
                    Content::Bytes(bytes) => bytes.len() as u64,
                    Content::File(_, size) => *size,
                };
                tally.send_modify(|tally| tally.sized(file, size));
                if let Err(error) = session.put(file as u64, title, content).await {
                    if let ClientError::Changed { .. } = error {
                        tally.send_modify(|tally| tally.unreadable(file, error.to_string()));
                    }
                    return Err(error);
                }
            }
            Err(error) => tally.send_modify(|tally| tally.unreadable(file, error.to_string())),
        }
    }
    session.flush().await
}

async fn read(source: &Source) -> io::Result<(String, Content)> {
    // Before it is opened: opening a pipe would wait for its other end.
    let metadata = tokio::fs::metadata(&source.path).await?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let is_json = source.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let whole = match source.form {
        Form::Payload => u64::MAX,
        Form::Either if is_json => DEFAULT_MAX_JSON,
        Form::Either | Form::Raw => WHOLE,
    };
    if metadata.len() > whole {
        let file = tokio::fs::File::open(&source.path).await?;
        return Ok((source.title.clone(), Content::File(file, metadata.len())));
    }
    let bytes = Bytes::from(tokio::fs::read(&source.path).await?);
    match source.form {
        Form::Payload => unwrap(&bytes),
        Form::Either if is_json => Ok(unwrap(&bytes).unwrap_or_else(|_| raw(source, bytes))),
        Form::Either | Form::Raw => Ok(raw(source, bytes)),
    }
}

fn raw(source: &Source, bytes: Bytes) -> (String, Content) {
    (source.title.clone(), Content::Bytes(bytes))
}

fn unwrap(bytes: &Bytes) -> io::Result<(String, Content)> {
    let payload = json::parse_payload(bytes).map_err(|error| io::Error::other(format!("no JSON payload: {error}")))?;
    Ok((payload.title, Content::Bytes(payload.content)))
}

impl Source {
    /// A file whose title is its name.
    pub fn named(path: &Path, form: Form) -> Self {
        let title = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { path: path.to_owned(), title, form }
    }
}
