//! Hands on to the fleet what a server's greeting tells of its host. It does not go through the hub:
//! nothing that the hub decides depends on it.

use std::sync::Arc;
use std::time::Duration;

use super::dispatch::Who;
use crate::fleet::{Fleet, Greeting};
use crate::protocol::HelloFacts;

/// Tells the fleet of one server's host.
pub(super) struct HostFacts {
    fleet: Fleet,
    server: Arc<str>,
    /// Why the last ones were not taken: each reason is logged once.
    refused: Option<String>,
}

impl HostFacts {
    pub(super) fn new(fleet: Fleet, server: Arc<str>) -> Self {
        Self {
            fleet,
            server,
            refused: None,
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
            self.refused = None;
            return;
        };
        if self.refused.as_ref() != Some(&reason) {
            let server = &*self.server;
            tracing::warn!(
                server,
                reason,
                "the figures of the server's host are left out; it gets files all the same"
            );
            self.refused = Some(reason);
        }
    }
}
