//! The link to an old-style server: one connection for each file, which the server closes once it has
//! saved the file.
//!
//! That close is the only acknowledgement there is. The kernel closes the connections of a process
//! that is killed in the same way, so a close counts only when the server answers a question that
//! was asked after it: a killed process no longer listens by then. One question answers for all
//! files whose connections were closed before it. Everything else leaves the file in doubt
//! ([`LinkEvent::Lost`]): a connection that breaks, an answer to a file, a close without a server
//! behind it, and a close that does not come in time.
//!
//! Only this room knows which files such a server can read: it builds the JSON document. A file
//! that has none is [`LinkEvent::Unfit`], which is no failed attempt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::content::{Loaded, load};
use super::error::LinkError;
use super::target::Target;
use crate::balancer::dispatch::{LinkEvent, OLD_STYLE_FILES, Probed, Speaker};
use crate::balancer::messages::{Parcel, ToServer};
use crate::balancer::probe::ask_at;
use crate::protocol::json::{self, NotOldStyle};
use crate::protocol::status::Dialect;
use crate::server::name::stored_title;
use crate::transport::{BoxStream, write_all};

/// How many files go out to an old-style server at once: its backlog is short. Many more may be
/// with it, since it starts a thread for each.
const OUTGOING: usize = 4;

/// How many connect timeouts the connection of a file may take. While the backlog is full the kernel
/// drops what asks for a connection, and the asking one repeats it after 1, 3 and 7 s.
const CONNECT_TIMEOUTS: u32 = 8;

/// The connections that a link may have with the descriptors that are reserved for each server: files,
/// and the question.
const CONNECTIONS: usize = 4;

/// The most connections that a link has use for beside those: one for each file of the window, and
/// one for the question.
pub(in crate::balancer) const MORE_CONNECTIONS: usize = OLD_STYLE_FILES + 1 - CONNECTIONS;

/// Gives each file a connection of its own, until the hub drops its end or the server is silent.
pub(super) async fn run(target: Arc<Target>, mut from_hub: mpsc::UnboundedReceiver<ToServer>) {
    target.tell(LinkEvent::Opened {
        speaker: Speaker::default(),
        holding: None,
        seen: None,
    });
    let mut link = Link::new(target);
    loop {
        tokio::select! {
            item = from_hub.recv() => match item {
                Some(ToServer::Parcel(parcel)) => link.waiting.push_back(parcel),
                // Such a server confirms nothing, and removes nothing.
                Some(ToServer::Ahead(_) | ToServer::Confirm(_) | ToServer::Drop(..)) => {}
                None => return,
            },
            Some(Ok(sent)) = link.sending.join_next() => link.sent(sent),
            Some(Ok(worked)) = link.working.join_next() => {
                if let Err(silence) = link.worked(worked) {
                    link.target.tell(LinkEvent::Silent(silence));
                    return;
                }
            }
            Some(Ok(asked)) = link.asking.join_next() => link.asked(asked),
        }
        link.go_on();
    }
}

/// What is under way over the link. The dispatcher's window bounds the number of files.
struct Link {
    target: Arc<Target>,
    /// Files that were not sent yet.
    waiting: VecDeque<Parcel>,
    sending: JoinSet<Sending>,
    /// Files that the server has, until it closes their connections.
    working: JoinSet<Worked>,
    /// Files whose connections the server has closed, and no question was asked since.
    closed: Vec<u64>,
    /// The question whether the server is there: one at a time.
    asking: JoinSet<Asked>,
    /// When the server closed a file's connection last.
    last_close: Option<Instant>,
}

/// What became of sending a file.
enum Sending {
    /// The server has it.
    Sent { number: u64, stream: BoxStream },
    /// There is no connection, so there is none for the files behind it, either.
    NoConnection { number: u64, reason: String },
    /// It is over for another reason.
    Over(LinkEvent),
}

/// What became of a file that the server had.
struct Worked {
    number: u64,
    /// When it was sent.
    since: Instant,
    end: Result<(), LinkError>,
}

/// Whether the server was there when its closes were looked at.
struct Asked {
    numbers: Vec<u64>,
    answer: Result<(), LinkError>,
}

impl Link {
    fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            waiting: VecDeque::new(),
            sending: JoinSet::new(),
            working: JoinSet::new(),
            closed: Vec::new(),
            asking: JoinSet::new(),
            last_close: None,
        }
    }

    /// Starts what can be started now.
    fn go_on(&mut self) {
        // One is for the question.
        let files = CONNECTIONS + self.target.extra.number() - 1;
        while self.sending.len() < OUTGOING
            && self.sending.len() + self.working.len() < files
            && let Some(parcel) = self.waiting.pop_front()
        {
            let target = self.target.clone();
            self.sending
                .spawn(async move { send(&target, parcel).await });
        }
        if self.asking.is_empty() && !self.closed.is_empty() {
            let numbers = std::mem::take(&mut self.closed);
            let target = self.target.clone();
            self.asking.spawn(async move {
                let answer = is_there(&target).await;
                Asked { numbers, answer }
            });
        }
    }

    fn sent(&mut self, sent: Sending) {
        match sent {
            Sending::Sent { number, stream } => {
                let patience = self.target.old_style;
                self.working.spawn(async move {
                    let since = Instant::now();
                    let end = closes(stream, patience).await;
                    Worked { number, since, end }
                });
            }
            Sending::NoConnection { number, reason } => {
                let behind = self.waiting.drain(..).map(|parcel| parcel.number);
                for number in std::iter::once(number).chain(behind) {
                    let reason = reason.clone();
                    self.target.tell(LinkEvent::Lost { number, reason });
                }
            }
            Sending::Over(event) => self.target.tell(event),
        }
    }

    /// The server has closed a file's connection, or has not. The error says that it saves nothing
    /// any more: it has closed none since it was sent this file.
    fn worked(&mut self, worked: Worked) -> Result<(), String> {
        let Worked { number, since, end } = worked;
        match end {
            Ok(()) => {
                self.last_close = Some(Instant::now());
                self.closed.push(number);
            }
            Err(error) => {
                let reason = error.reason();
                if error.is_silence() && self.last_close.is_none_or(|last| last < since) {
                    return Err(reason);
                }
                self.target.tell(LinkEvent::Lost { number, reason });
            }
        }
        Ok(())
    }

    fn asked(&self, asked: Asked) {
        let Asked { numbers, answer } = asked;
        match answer {
            Ok(()) => self.target.tell(LinkEvent::Stored {
                numbers,
                confirmed: false,
            }),
            Err(error) => {
                let reason = format!(
                    "the server closed the file's connection, and was not there after that: {}",
                    error.reason()
                );
                for number in numbers {
                    let reason = reason.clone();
                    self.target.tell(LinkEvent::Lost { number, reason });
                }
            }
        }
    }
}

/// Sends one file.
async fn send(target: &Target, parcel: Parcel) -> Sending {
    let number = parcel.number;
    let unfit = |why| Sending::Over(LinkEvent::Unfit { number, why });
    let lost = |reason| Sending::Over(LinkEvent::Lost { number, reason });
    let loaded = load(std::iter::once(ToServer::Parcel(parcel))).await.pop();
    let (parcel, content) = match loaded {
        Some(Loaded::Small(parcel, content)) => (parcel, content),
        Some(Loaded::Large(..)) => return unfit(NotOldStyle::TooLarge),
        Some(Loaded::Failed(event)) => return Sending::Over(event),
        _ => return lost("the content could not be loaded".to_owned()),
    };
    // Such a server makes a file of this name, without a look at it.
    let title = stored_title(number, &parcel.meta.title);
    let document = match json::old_style_file(number, &title, &content) {
        Ok(document) => document,
        Err(why) => return unfit(why),
    };
    let connecting = target.connect_within(target.connect_timeout.saturating_mul(CONNECT_TIMEOUTS));
    let mut stream = match connecting.await {
        Ok(stream) => stream,
        Err(error) => {
            let reason = error.reason();
            return Sending::NoConnection { number, reason };
        }
    };
    match hand_over(&mut stream, &document, target.stall).await {
        Ok(()) => Sending::Sent { number, stream },
        Err(error) => lost(error.reason()),
    }
}

/// Such a server reads once, so the whole document goes out in one write.
async fn hand_over(
    stream: &mut BoxStream,
    document: &[u8],
    stall: Duration,
) -> Result<(), LinkError> {
    write_all(stream, document, stall).await?;
    stream.shutdown().await?;
    Ok(())
}

/// Waits until the server closes a file's connection.
async fn closes(mut stream: BoxStream, patience: Duration) -> Result<(), LinkError> {
    match timeout(patience, stream.read(&mut [0])).await {
        Ok(Ok(0)) => Ok(()),
        // It answers what is no file to it.
        Ok(Ok(_)) => Err(LinkError::AnsweredAFile),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LinkError::NotClosed(patience)),
    }
}

/// Asks until there is an answer of an old-style server, or a sign that there is none. A server with
/// much to do may be late, which is no such sign.
async fn is_there(target: &Target) -> Result<(), LinkError> {
    let asks = async {
        loop {
            match timeout(target.connect_timeout, ask(target)).await {
                Err(_) | Ok(Err(LinkError::ConnectTimeout(_))) => {}
                Ok(answer) => return answer,
            }
        }
    };
    timeout(target.old_style, asks)
        .await
        .unwrap_or(Err(LinkError::NoAnswer(target.old_style)))
}

async fn ask(target: &Target) -> Result<(), LinkError> {
    let stream = target.connect().await?;
    match ask_at(stream).await?.0.probed {
        Probed::Answered {
            dialect: Dialect::OldStyle,
            ..
        } => Ok(()),
        _ => Err(LinkError::OtherServer),
    }
}
