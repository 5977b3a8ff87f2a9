//! Operators that ask and give orders.

use tokio::sync::oneshot;

use super::world::World;
use crate::balancer::events::Event;
use crate::balancer::messages::{Ask, ToHub};
use crate::balancer::orders::{Command, Order, OrderError};
use crate::balancer::query::{Answer, FileReport, Query};
use crate::config::ServerSpec;
use crate::protocol::status::StatusReport;

impl World {
    /// An order about servers, or new settings.
    pub(super) fn order(&mut self, order: Order) -> Result<(), OrderError> {
        let (to, mut done) = oneshot::channel();
        self.step([ToHub::Control(Command::Order(order, to))]);
        done.try_recv().unwrap()
    }

    pub(super) fn apply(&mut self, servers: &[(&str, u32)]) -> Result<(), OrderError> {
        let mut settings = self.hub.deps.config.settings.clone();
        let spec = |(name, weight): &(&str, u32)| ServerSpec {
            address: (*name).to_owned(),
            weight: *weight,
        };
        settings.servers = servers.iter().map(spec).collect();
        let (to, mut done) = oneshot::channel();
        self.step([ToHub::Control(Command::Apply(Box::new(settings), to))]);
        done.try_recv().unwrap()
    }

    /// Asks about files; the answer may come later.
    pub(super) fn ask(&mut self, query: Query) -> oneshot::Receiver<Answer> {
        let (to, answer) = oneshot::channel();
        self.step([ToHub::Ask(Ask::Files(query, to))]);
        answer
    }

    /// Asks, and commits what the answer waits for.
    pub(super) fn ask_now(&mut self, query: Query) -> Answer {
        let mut answer = self.ask(query);
        self.commit();
        answer.try_recv().unwrap()
    }

    pub(super) fn drop_file(&mut self, number: u64) -> Result<usize, String> {
        match self.ask_now(Query::Drop { number }) {
            Answer::Done { files } => Ok(files),
            Answer::Failed { reason } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn show(&mut self, number: u64) -> Option<FileReport> {
        match self.ask_now(Query::Show { number }) {
            Answer::File(report) => Some(*report),
            _ => None,
        }
    }

    pub(super) fn status(&mut self) -> StatusReport {
        let (to, mut status) = oneshot::channel();
        self.step([ToHub::Ask(Ask::Status(to))]);
        status.try_recv().unwrap()
    }

    /// The texts of the events of this kind, and whom they are about.
    pub(super) fn noted(&self, is_wanted: impl Fn(&Event) -> bool) -> Vec<String> {
        let events = self.events.after(0);
        let wanted = events.iter().filter(|event| is_wanted(event));
        wanted.map(|event| event.text.clone()).collect()
    }
}
