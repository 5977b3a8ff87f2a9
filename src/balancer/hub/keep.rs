//! Keeps operators' orders about servers for later runs. One writing is under way at a time, beside
//! the hub; orders that come meanwhile share the next one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::keeping::Answered;
use super::state::Hub;
use crate::balancer::happening::Happening;
use crate::balancer::messages::ToHub;
use crate::balancer::orders::{MAX_SERVERS, OrderError};
use crate::balancer::standing;
use crate::config::ServerSpec;

impl Hub {
    /// Adds the servers that are configured, as orders of earlier runs have changed them.
    pub(super) fn begin_servers(&mut self, now: Duration) {
        let configured = self.deps.config.settings.servers.clone();
        let registered = self.deps.fleet.registered();
        self.tell_configured();
        // The balancer may have been killed before the fleet was kept.
        for server in self.deps.standing.removed() {
            self.deps.fleet.ordered_away(server);
        }
        let without_orders = standing::with_registered(&configured, &registered);
        let (servers, _) = self.deps.standing.begin(&without_orders);
        for server in servers {
            let is_configured = configured.iter().any(|spec| spec.address == server.address);
            if !is_configured && let Err(problem) = self.room_for_server() {
                tracing::error!(server = server.address, %problem, "a server that was added is not added again");
                continue;
            }
            self.add_server(&server.address, server.weight, now);
            let has_registered = registered.iter().any(|spec| spec.address == server.address);
            if !is_configured && !has_registered {
                self.deps.fleet.ordered(&server.address, server.weight);
            }
        }
        self.expect_registered();
        let orders: Vec<String> = self
            .deps
            .standing
            .all()
            .map(|(server, held)| format!("{server} {}", held.words()))
            .collect();
        for (server, _) in self.deps.standing.all().filter(|(_, held)| held.drained) {
            if let Some(slot) = self.files.dispatcher.slot_of(server) {
                self.files.dispatcher.drain(slot, true, now);
            }
        }
        if !orders.is_empty() {
            self.report(&Happening::OrdersStand { orders: &orders });
        }
    }

    /// Tells the fleet which servers are configured. Those that operators have removed are not there.
    pub(super) fn tell_configured(&self) {
        let removed: BTreeSet<&String> = self.deps.standing.removed().collect();
        let servers = self.deps.config.settings.servers.iter();
        let there = servers.filter(|spec| !removed.contains(&spec.address));
        let there: Vec<ServerSpec> = there.cloned().collect();
        self.deps.fleet.configured(&there);
    }

    /// Takes room for a server that is not configured, or says why there is none.
    pub(super) fn room_for_server(&self) -> Result<(), OrderError> {
        if self.files.dispatcher.staying().count() >= MAX_SERVERS {
            return Err(OrderError::TooMany);
        }
        if !self.deps.share.take_for_server() {
            return Err(OrderError::Descriptors(self.deps.share.limit()));
        }
        Ok(())
    }

    /// Answers an order when it is kept. What is refused is answered at once, and so is what changes
    /// nothing.
    pub(super) fn keep(&mut self, result: Result<(), OrderError>, to: Answered) {
        if result.is_err() {
            // Who gave the order may have gone.
            return drop(to.send(result));
        }
        if !self.keeping.is_under_way {
            let text = self.orders_text();
            let is_nothing =
                self.keeping.kept.is_none() && self.deps.standing.all().next().is_none();
            if is_nothing || self.keeping.kept.as_ref() == Some(&text) {
                return drop(to.send(result));
            }
        }
        self.keeping.next.push(to);
        if !self.keeping.is_under_way {
            self.write_orders();
        }
    }

    fn orders_text(&self) -> String {
        let journal = standing::name_of(self.deps.journal);
        self.deps.standing.text(&journal)
    }

    fn write_orders(&mut self) {
        self.keeping.is_under_way = true;
        self.keeping.written = std::mem::take(&mut self.keeping.next);
        let text = self.orders_text();
        let disk = self.deps.disk.clone();
        let hub = self.deps.to_self.clone();
        self.deps.outside.block(Box::new(move || {
            let written = standing::FILE.write(&*disk, &text);
            let kept = written
                .map(|()| text)
                .map_err(|error| Arc::from(error.to_string()));
            // A hub that has ended answers nothing.
            let _ = hub.send(ToHub::OrdersKept(kept));
        }));
    }

    /// The orders were written, or could not be.
    pub(super) fn orders_kept(&mut self, kept: Result<String, Arc<str>>) {
        self.keeping.is_under_way = false;
        let answer = match kept {
            Ok(text) => {
                self.keeping.kept = Some(text);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "operators' orders cannot be kept for the next start");
                Err(OrderError::NotKept(error))
            }
        };
        for to in std::mem::take(&mut self.keeping.written) {
            // Who gave the order may have gone.
            let _ = to.send(answer.clone());
        }
        if !self.keeping.next.is_empty() {
            self.write_orders();
        }
    }
}
