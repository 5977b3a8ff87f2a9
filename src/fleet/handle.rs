//! The handle on the fleet.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::doors::Doors;
use super::error::{FleetError, NotTaken};
use super::history::{Histories, HistoryConfig, by_name};
use super::notes::{Author, Notes};
use crate::access::{Pass, Right};
use crate::fleet_core::{
    Averages, Capabilities, Columns, Figure, Identity, MemberReport, MemberState, Told,
};

/// The handle on a balancer's fleet. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    state: Mutex<BTreeMap<Identity, (Told, Instant)>>,
    doors: Doors,
    notes: Notes,
    commands: Commands,
    history: Histories,
}

/// The most members of a fleet.
const MAX_MEMBERS: usize = 10_000;

impl Default for Fleet {
    fn default() -> Self {
        Self::new(&HistoryConfig::default())
    }
}

impl Fleet {
    /// A fleet without members, and their history, which is read from its files if it has some.
    pub fn new(history: &HistoryConfig) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            doors: Doors::default(),
            notes: Notes::default(),
            commands: Commands::default(),
            history: Histories::new(history),
        }))
    }

    /// Writes what waits for the history's disk, for at most a moment.
    pub fn close(&self) {
        self.0.history.close();
    }

    /// Takes what is told of a member.
    pub fn told(&self, told: Told) -> Result<(), NotTaken> {
        told.facts.check()?;
        let mut state = self.state();
        if state.len() >= MAX_MEMBERS && !state.contains_key(&told.who) {
            return Err(NotTaken::Full(MAX_MEMBERS));
        }
        self.0.history.told(&told);
        state.insert(told.who.clone(), (told, Instant::now()));
        Ok(())
    }

    /// What came in at the doorways.
    pub fn doors(&self) -> &Doors {
        &self.0.doors
    }

    /// All members, by name.
    pub fn members(&self) -> Vec<MemberReport> {
        let state = self.state();
        let reports = state.values().map(|(told, at)| report(told, *at));
        let mut reports: Vec<_> = reports.collect();
        self.0.notes.add_to(&mut reports);
        reports
    }

    /// The identities of all members.
    pub fn ids(&self) -> HashSet<String> {
        self.members().into_iter().map(|member| member.id).collect()
    }

    /// Makes somebody who can note what they think of members.
    pub fn author(&self) -> Author {
        self.0.notes.author()
    }

    /// What users have typed on the hosts of members.
    pub fn commands(&self) -> &Commands {
        &self.0.commands
    }

    /// The member with this identity, name or address, or the only one whose name contains it.
    pub fn find(&self, name: &str) -> Result<MemberReport, FleetError> {
        let members = self.members();
        let exact = |member: &&MemberReport| {
            member.id == name || member.name == name || member.address.as_deref() == Some(name)
        };
        if let Some(found) = members.iter().find(exact) {
            return Ok(found.clone());
        }
        let near: Vec<_> = members
            .into_iter()
            .filter(|member| member.name.contains(name))
            .collect();
        match near.as_slice() {
            [] => Err(FleetError::Unknown(name.to_owned())),
            [one] => Ok(one.clone()),
            several => Err(FleetError::Ambiguous {
                name: name.to_owned(),
                candidates: several.iter().map(|member| member.name.clone()).collect(),
            }),
        }
    }

    /// The figures of a member over the last stretch of time, all of them if none is named. Rows have
    /// at least the length of `step`; without one, they are as short as the member's words allow.
    /// `None` if nothing was told of it.
    pub fn history(
        &self,
        id: &Identity,
        figures: &[Figure],
        over: Duration,
        step: Option<Duration>,
    ) -> Option<Columns> {
        self.0.history.columns(id, figures, over, step)
    }

    /// The averages of all members over the last stretch of time.
    pub fn averages(&self, over: Duration) -> Vec<Averages> {
        let members = self.members().into_iter();
        let averages = members.filter_map(|member| {
            let known = self.0.history.averages(&member.id.parse().ok()?, over)?;
            Some(Averages {
                id: member.id,
                name: member.name,
                known_s: known.seconds,
                figures: by_name(known),
            })
        });
        averages.collect()
    }

    /// Forgets a member that is gone or unknown.
    pub fn forget(&self, pass: &Pass, name: &str) -> Result<(), FleetError> {
        pass.check(Right::Admin)?;
        let member = self.find(name)?;
        let id = member.id.parse::<Identity>();
        let id = id.map_err(|error| FleetError::Unknown(error.to_string()))?;
        self.state().remove(&id);
        self.0.commands.forget(&id);
        self.0.history.forgotten(&id);
        Ok(())
    }

    /// Keeps a member however long nothing is heard of it, or no longer.
    pub fn protect(&self, pass: &Pass, name: &str, _is_protected: bool) -> Result<(), FleetError> {
        pass.check(Right::Operate)?;
        self.find(name).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<Identity, (Told, Instant)>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(told: &Told, at: Instant) -> MemberReport {
    MemberReport {
        id: told.who.to_string(),
        name: told
            .name
            .as_deref()
            .map_or_else(|| told.who.to_string(), str::to_owned),
        address: match &told.who {
            Identity::Address(address) => Some(address.to_string()),
            _ => None,
        },
        host: told.peer.map(|peer| peer.to_string()),
        source: told.source,
        state: MemberState::Active,
        reason: None,
        since_s: at.elapsed().as_secs_f64(),
        heard_s: Some(at.elapsed().as_secs_f64()),
        lease_s: None,
        capabilities: Capabilities {
            files: false,
            facts: true,
            load: told.facts.load.is_some(),
        },
        trust: told.trust,
        protected: false,
        facts: told.facts.clone(),
        notes: Vec::new(),
    }
}
