//! Hands on to the fleet what a server's greeting tells of its host. It does not go through the hub:
//! nothing that the hub decides depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dispatch::Who;
use crate::fleet::{Fleet, Greeting};
use crate::protocol::HelloFacts;

/// How long it is not logged again that a server's figures are not taken.
const LOG_AGAIN: Duration = Duration::from_hours(1);

/// Tells the fleet of one server's host.
pub(super) struct HostFacts {
    fleet: Fleet,
    server: Arc<str>,
    /// When it was last logged that some were not taken.
    logged: Option<Instant>,
}

impl HostFacts {
    pub(super) fn new(fleet: Fleet, server: Arc<str>) -> Self {
        Self {
            fleet,
            server,
            logged: None,
        }
    }

    /// A probe, which is repeated after `every`, was answered by `who` with these facts.
    pub(super) fn tell(&mut self, who: &Who, facts: HelloFacts, every: Duration) {
        let told = match facts {
            HelloFacts::Untold => return,
            HelloFacts::Unusable(reason) => Err(reason.to_string()),
            HelloFacts::Told(facts) => {
                let greeting = Greeting {
                    server: self.server.clone(),
                    directory: who.speaker.identity.clone(),
                    peer: who.address.map(|address| address.ip()),
                    every,
                    facts,
                };
                let told = self.fleet.measured(greeting);
                told.map_err(|error| error.to_string())
            }
        };
        let Err(reason) = told else {
            return;
        };
        // The reason has figures in it, which may be others each second.
        if self.logged.is_none_or(|last| last.elapsed() >= LOG_AGAIN) {
            let server = &*self.server;
            tracing::warn!(
                server,
                reason,
                "figures of the server's host are left out; it gets files all the same"
            );
            self.logged = Some(Instant::now());
        }
    }
}
