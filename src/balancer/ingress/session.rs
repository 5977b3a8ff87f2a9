//! A native client's connection, as its reading half sees it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Door;
use super::door::Inside;
use super::receipts::Backpressure;
use crate::access::users::UserSession;
use crate::access::{At, Denied, Pass};
use crate::balancer::messages::{ClientAnswer, Outlet, Reply};
use crate::protocol::Message;
use crate::transport::{Reader, Seat};

/// The reading half of a connection.
pub(super) struct Session<'a, R> {
    pub(super) reader: Reader<R>,
    /// Unique among all connections.
    pub(super) connection: u64,
    pub(super) to_client: Outlet,
    pub(super) backpressure: Arc<Backpressure>,
    /// Where the client is.
    pub(super) at: At,
    /// Who it is.
    pub(super) pass: Pass,
    /// Counts the connection for its user.
    pub(super) of_user: Option<UserSession>,
    /// The way in for its files, if it may send some.
    pub(super) inside: Result<Inside, Denied>,
    pub(super) door: &'a Door,
    pub(super) seat: Arc<Seat>,
}

impl<R> Session<'_, R> {
    /// Sends a message to the client.
    pub(super) fn say(&self, message: Message) {
        say(&self.backpressure, &self.to_client, message);
    }

    /// Sends an answer with content. It returns when that is written, so that a connection has one
    /// at a time: a report of many servers is long.
    pub(super) async fn answer(&self, answer: ClientAnswer) {
        self.backpressure.count_answer();
        let (to, written) = oneshot::channel();
        self.to_client.answer(answer, to);
        tokio::select! {
            // A client that reads nothing more ends with its writing half.
            _ = written => {}
            () = self.door.shutdown.draining.cancelled() => {}
        }
    }

    /// Another way to say something, while the connection is read from.
    pub(super) fn voice(&self) -> Voice {
        Voice {
            backpressure: self.backpressure.clone(),
            to_client: self.to_client.clone(),
        }
    }

    /// Where the receipts of a file go.
    pub(super) fn reply(&self, id: u64) -> Reply {
        self.backpressure.count_file();
        Reply {
            connection: self.connection,
            to: self.to_client.clone(),
            id,
        }
    }
}

/// Says messages to the client of a connection.
pub(super) struct Voice {
    backpressure: Arc<Backpressure>,
    to_client: Outlet,
}

impl Voice {
    /// Sends a message to the client.
    pub(super) fn say(&self, message: Message) {
        say(&self.backpressure, &self.to_client, message);
    }
}

fn say(backpressure: &Backpressure, to_client: &Outlet, message: Message) {
    backpressure.count(&message);
    to_client.send(message);
}
