//! A native client's connection, as its reading half sees it.

use std::sync::Arc;

use super::Door;
use super::door::Inside;
use super::receipts::Backpressure;
use crate::access::{Denied, Pass};
use crate::balancer::messages::{Outlet, Reply};
use crate::protocol::Message;
use crate::transport::{Reader, Seat};

/// The reading half of a connection.
pub(super) struct Session<'a, R> {
    pub(super) reader: Reader<R>,
    /// Unique among all connections.
    pub(super) connection: u64,
    pub(super) to_client: Outlet,
    pub(super) backpressure: Arc<Backpressure>,
    /// Who the client is.
    pub(super) pass: Pass,
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
