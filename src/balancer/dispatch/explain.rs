//! Why files wait, and the state of everything, for people.

use std::time::Duration;

use super::config::InDoubt;
use super::dispatcher::Dispatcher;
use super::server::Intent;
use crate::numbers::seconds;
use crate::protocol::status::{QueueReport, StatusReport};
use crate::schedule::{Slot, Trouble};

/// The most servers that one reason names.
const NAMED: usize = 20;

impl<T> Dispatcher<T> {
    /// Why the file waits. `None`: it is with a server, or only waits for its turn.
    pub fn why_it_waits(&self, number: u64) -> Option<String> {
        if let Some(reason) = &self.queue.get(number)?.tag.waits {
            return Some(reason.clone());
        }
        if self.queue.is_parked(number) {
            return Some(self.why_held_back());
        }
        self.why_nothing_goes()
    }

    /// Why a file waits that comes to the dispatcher later. `None`: it only waits for its turn.
    pub fn why_it_comes_later(&self, number: u64) -> Option<String> {
        if number <= self.holds_back() {
            Some(self.why_held_back())
        } else {
            self.why_nothing_goes()
        }
    }

    /// Why files of an earlier run wait.
    fn why_held_back(&self) -> String {
        let waits = self.config.in_doubt == InDoubt::Wait;
        let missing: Vec<&str> = self
            .servers
            .iter()
            .filter(|(slot, server)| {
                self.unreported.contains(slot) || (waits && !server.has_reported)
            })
            .map(|(_, server)| &*server.name)
            .collect();
        format!(
            "it was accepted before a restart, and these servers have not said yet whether they \
             have it: {}",
            missing.join(", ")
        )
    }

    /// Why no file can go to any server now, if that is so.
    fn why_nothing_goes(&self) -> Option<String> {
        if self.scheduler.eligible_count() > 0 {
            return None;
        }
        let problems: Vec<String> = self
            .servers
            .iter()
            .map(|(_, server)| match server.health.problem() {
                Some((fact, reason, _)) => format!("{} ({}: {reason})", server.name, fact.name()),
                None => format!("{} (window full)", server.name),
            })
            .collect();
        Some(format!("no server can take files: {}", problems.join(", ")))
    }

    /// What keeps a server from getting files, and why, whatever an operator wants of it.
    pub fn trouble(&self, slot: Slot) -> Option<(Trouble, String)> {
        let (trouble, reason) = self.servers.get(slot)?.health.trouble()?;
        Some((trouble, reason.to_owned()))
    }

    /// Whether any server may get files, if only when its window has room.
    pub fn is_in_service(&self) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|(_, server)| server.weight > 0 && server.health.problem().is_none())
    }

    /// Why no server may get files.
    pub fn why_no_service(&self) -> String {
        let problems: Vec<String> = self
            .servers
            .iter()
            .take(NAMED)
            .map(|(_, server)| match server.health.problem() {
                Some(_) if server.intent == Intent::Drain => format!("{} (drained)", server.name),
                Some((_, reason, _)) => format!("{} ({reason})", server.name),
                None => format!("{} (weight 0)", server.name),
            })
            .collect();
        if problems.is_empty() {
            return "there are none".to_owned();
        }
        let more = self.servers.iter().count().saturating_sub(NAMED);
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{rest}", problems.join(", "))
    }

    /// The state of everything. Bounds and dead letters are for the hub to fill in.
    pub fn status(&self, started: Duration, now: Duration) -> StatusReport {
        let servers = self
            .servers()
            .map(|(_, server)| server.report(self.config.window, self.heaviest, now));
        StatusReport {
            uptime_s: seconds(now.saturating_sub(started)),
            accepted: self.accepted,
            accepted_bytes: self.accepted_bytes,
            delivered: self.delivered,
            delivered_bytes: self.delivered_bytes,
            trouble: None,
            queue: self.queue_report(now),
            servers: servers.collect(),
        }
    }

    fn queue_report(&self, now: Duration) -> QueueReport {
        let depth = self.queue.depth();
        let oldest = self.queue.oldest_ms().map(Duration::from_millis);
        QueueReport {
            ready: depth.ready,
            delayed: depth.delayed,
            in_flight: depth.taken,
            bytes: depth.bytes,
            oldest_s: oldest.map(|oldest| seconds(now.saturating_sub(oldest))),
            dead: 0,
            max_files: 0,
            max_bytes: 0,
        }
    }
}
