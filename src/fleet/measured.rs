//! What servers tell in the greetings that answer the balancer's own probes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::NotTaken;
use super::handle::Fleet;
use crate::fleet_core::{Facts, Identity, Source, Told, Trust};

/// The greeting of a server that a probe has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Greeting {
    /// The server's name among the servers: its address as it was given.
    pub server: Arc<str>,
    /// The identity of its directory.
    pub directory: Option<Arc<str>>,
    /// Where it answered.
    pub peer: Option<IpAddr>,
    /// How often it is probed.
    pub every: Duration,
    /// What it tells. They have passed [`Facts::check`].
    pub facts: Arc<Facts>,
}

impl Fleet {
    /// Takes what a server tells of its host in answer to a probe. What somebody else tells at a
    /// server's address is left out.
    pub fn measured(&self, greeting: Greeting) -> Result<(), NotTaken> {
        let Greeting {
            server,
            directory,
            peer,
            every,
            facts,
        } = greeting;
        let told = Told {
            who: Identity::Address(server),
            name: None,
            source: Source::Configuration,
            trust: Trust::Measured,
            peer,
            every,
            facts: Arc::unwrap_or_clone(facts),
        };
        told.facts.check()?;
        self.change(|state, now| {
            let known = (state.registry).measured(&told, directory.as_deref(), now);
            if let Some(id) = known {
                self.remember(&id, every, &told.facts);
            }
        });
        Ok(())
    }
}
