//! How a native client and the balancer get to know each other.
//!
//! At a balancer with users, a client that shows no token can do one thing: ask for one. All that
//! it sends before it is known is bounded in size, number and time.

use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::session::Session;
use crate::access::{AccountRequest, Denied, Right};
use crate::balancer::messages::ClientAnswer;
use crate::protocol::limits::MAX_ACCOUNT;
use crate::protocol::{Hello, Message, ProtocolError, Role, object};
use crate::transport::ReadError;

/// How often a client may ask about accounts before it is known, over one connection.
const ASKED: usize = 4;

/// Who is at the other end.
pub(super) enum Introduced {
    /// A client.
    Client,
    /// A server or an agent, which was not answered yet.
    Member(Box<Hello>),
    /// Nobody any more.
    Gone,
}

impl<R: AsyncRead + Unpin> Session<'_, R> {
    /// Exchanges greetings, and waits until the client has said who it is if it must.
    pub(super) async fn introduce(&mut self) -> Result<Introduced, ReadError> {
        let time = self.door.limits.greeting;
        let late = Err(ReadError::Idle(time));
        let introduced = timeout(time, self.greet()).await.unwrap_or(late)?;
        if !matches!(introduced, Introduced::Client) || !self.pass.is_nobody() {
            return Ok(introduced);
        }
        for _ in 0..ASKED {
            let asked = timeout(time, self.ask_for_token());
            if !asked.await.unwrap_or(Err(ReadError::Idle(time)))? {
                return Ok(Introduced::Gone);
            }
        }
        Err(self.unknown())
    }

    async fn greet(&mut self) -> Result<Introduced, ReadError> {
        self.reader.preface().await?;
        let first = self.reader.hello().await?.map(|frame| frame.message);
        let token = match first {
            Some(Message::Hello(hello)) if hello.role == Role::Client => hello.token,
            Some(Message::Hello(hello)) if hello.role != Role::Balancer => {
                return Ok(Introduced::Member(hello));
            }
            Some(Message::Hello(_)) => {
                let error = "a balancer takes files from a client only";
                return Err(ProtocolError::Unexpected(error).into());
            }
            Some(_) => {
                return Err(ProtocolError::Unexpected("a connection begins with a hello").into());
            }
            None => return Ok(Introduced::Gone),
        };
        let lock = self.door.lock();
        if let Some(token) = token {
            let pass = lock
                .by_token(self.at, &token)
                .map_err(|denied| refused(&denied))?;
            self.of_user = pass.session().map_err(ReadError::Refused)?;
            self.inside = pass.allow().map(|allowed| self.door.enter(allowed));
            self.pass = pass;
        }
        self.say(Message::from(Hello {
            locked: lock.is_locked().then_some(true),
            user: self.pass.user().map(|user| user.text().clone()),
            ..Hello::of(Role::Balancer)
        }));
        Ok(Introduced::Client)
    }

    /// Takes one question of a client that nobody knows yet; false if it has gone instead.
    async fn ask_for_token(&mut self) -> Result<bool, ReadError> {
        let Some(frame) = self.reader.hello().await? else {
            return Ok(false);
        };
        if !matches!(frame.message, Message::Account) {
            return Err(self.unknown());
        }
        self.take_account(frame.content_len).await?;
        Ok(true)
    }

    /// Why a client that has shown nothing can go no further.
    fn unknown(&self) -> ReadError {
        match self.pass.check(Right::Send) {
            Err(denied) => refused(&denied),
            Ok(()) => ProtocolError::Unexpected("a client says who it is once").into(),
        }
    }

    /// Answers what a client asks about its account.
    pub(super) async fn take_account(&mut self, size: u64) -> Result<(), ReadError> {
        if size > MAX_ACCOUNT {
            let limit = MAX_ACCOUNT;
            return Err(ProtocolError::TooLarge { size, limit }.into());
        }
        let content = self.reader.content(size).await?;
        let request: AccountRequest = object::from_slice(&content).map_err(|error| {
            // The parser repeats no text of the request: it may be a secret.
            let place = format!("line {}, column {}", error.line(), error.column());
            ProtocolError::BadContent("account", place)
        })?;
        let answer = self.door.lock().account(self.at, &self.pass, request).await;
        let answer = answer.unwrap_or_else(|error| error.answer());
        self.answer(ClientAnswer::Account(Box::new(answer))).await;
        Ok(())
    }
}

pub(super) fn refused(denied: &Denied) -> ReadError {
    ReadError::Refused(denied.refusal())
}
