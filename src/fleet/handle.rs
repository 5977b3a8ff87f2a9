//! The handle on the fleet.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::commands::Commands;
use super::doors::Doors;
use super::error::{FleetError, NotTaken};
use super::history::{Histories, HistoryConfig, by_name};
use super::keeper::Keeper;
use super::notes::{Author, Notes};
use crate::access::{Pass, Right, audit};
use crate::fleet_core::registry::{
    LeaseId, MAX_MEMBERS, NoRoom, NotDone, Registry, RegistryConfig, Renamed, Seen,
};
use crate::fleet_core::{Averages, Columns, Facts, Figure, Identity, MemberReport, Told};

/// Members that are looked at under one hold of the lock.
const CHUNK: usize = 256;

/// The handle on a balancer's fleet. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

pub(super) struct Inner {
    state: Mutex<State>,
    doors: Doors,
    notes: Notes,
    commands: Commands,
    /// The beginning of the fleet's clock.
    started: Instant,
    pub(super) keeper: Option<Keeper>,
    /// There is something for the driver.
    pub(super) to_do: Notify,
    /// Something is due earlier than it was, or is to be kept.
    pub(super) upkeep: Notify,
    history: Histories,
}

pub(super) struct State {
    pub(super) registry: Registry,
    pub(super) seen: HashMap<LeaseId, watch::Sender<Seen>>,
    /// What the upkeep waits for, if it sleeps.
    pub(super) plan: Option<Plan>,
}

/// When the upkeep wakes up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) wakes: Duration,
    /// Not before this for what is due.
    pub(super) look_from: Duration,
    /// Not before this for what is to be kept.
    pub(super) write_from: Duration,
}

impl Plan {
    /// When it is to wake up by what is known now.
    pub(super) fn due(&self, registry: &Registry, now: Duration) -> Option<Duration> {
        let look = registry.next_tick(now).map(|next| next.max(self.look_from));
        let write = (!registry.is_kept()).then_some(self.write_from);
        look.into_iter().chain(write).min()
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::with_registry(
            Registry::new(RegistryConfig::default()),
            None,
            &HistoryConfig::default(),
        )
    }
}

impl Fleet {
    /// A fleet with these members; without a keeper they end with the process.
    pub(super) fn with_registry(
        registry: Registry,
        keeper: Option<Keeper>,
        history: &HistoryConfig,
    ) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                registry,
                seen: HashMap::new(),
                plan: None,
            }),
            doors: Doors::default(),
            notes: Notes::default(),
            commands: Commands::default(),
            started: Instant::now(),
            keeper,
            to_do: Notify::new(),
            upkeep: Notify::new(),
            history: Histories::new(history),
        }))
    }

    /// The balancer stops: keeps the members as they are now, and writes what waits for the history's
    /// disk, for at most a moment.
    pub fn close(&self) {
        if let Err(error) = self.write() {
            tracing::error!(%error, "the members of the fleet are not kept as they are now");
        }
        self.0.history.close();
    }

    /// Takes what is told of a member.
    pub fn told(&self, told: Told) -> Result<(), NotTaken> {
        let every = told.every;
        self.told_with(told, every)
    }

    /// The same of a member whose words do not all have figures: those come as often as `figures` says.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who tells it has no more use for it"
    )]
    pub fn told_with(&self, told: Told, figures: Duration) -> Result<(), NotTaken> {
        told.facts.check()?;
        let taken = self.change(|state, now| {
            let known = state.registry.told(&told, now)?;
            // What anybody could have said stays out of the history of a member that is known better.
            if let Some(id) = known {
                self.remember(&id, figures, &told.facts);
            }
            Ok(())
        });
        taken.map_err(|NoRoom| NotTaken::Full(MAX_MEMBERS))
    }

    /// What came in at the doorways.
    pub fn doors(&self) -> &Doors {
        &self.0.doors
    }

    /// All members, by name.
    pub fn members(&self) -> Vec<MemberReport> {
        let ids = self.change(|state, now| {
            state.registry.tick(now);
            state.registry.identities()
        });
        let mut members = Vec::with_capacity(ids.len());
        for ids in ids.chunks(CHUNK) {
            let now = self.now();
            let state = self.state();
            members.extend(ids.iter().filter_map(|id| state.registry.report(id, now)));
        }
        self.0.notes.add_to(&mut members);
        members.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        members
    }

    /// The identities of all members.
    pub fn ids(&self) -> HashSet<String> {
        let ids = self.state().registry.identities();
        ids.iter().map(Identity::to_string).collect()
    }

    /// Whether there is a member with this identity, whatever others are called.
    pub fn has(&self, id: &Identity) -> bool {
        self.change(|state, now| {
            state.registry.tick(now);
            state.registry.identity_of(id).is_some()
        })
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
        self.about(name, |state, now| {
            state.registry.tick(now);
            state.registry.find(name)
        })
    }

    /// The member that has this server.
    pub fn at(&self, address: &str) -> Option<MemberReport> {
        let found = self.about(address, |state, now| {
            state.registry.tick(now);
            state.registry.find_exactly(address)
        });
        // Anybody may have chosen a name that looks like an address.
        let is_there = |member: &MemberReport| member.address.as_deref() == Some(address);
        found.ok().filter(is_there)
    }

    /// The identity of the member that [`Self::find`] finds.
    pub fn id_of(&self, name: &str) -> Result<Identity, FleetError> {
        let found = self.state().registry.find(name);
        found.map_err(|error| not_done(name, error))
    }

    /// The member that was found, or changed, by what it was called.
    fn about(
        &self,
        name: &str,
        find: impl FnOnce(&mut State, Duration) -> Result<Identity, NotDone>,
    ) -> Result<MemberReport, FleetError> {
        let found = self.change(|state, now| {
            let id = find(state, now)?;
            state.registry.report(&id, now).ok_or(NotDone::Unknown)
        });
        let mut member = found.map_err(|error| not_done(name, error))?;
        self.0.notes.add_to(std::slice::from_mut(&mut member));
        Ok(member)
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
        let members = self.state().registry.names().into_iter();
        let averages = members.filter_map(|(id, name)| {
            let known = self.0.history.averages(&id, over)?;
            Some(Averages {
                id: id.to_string(),
                name: name.to_string(),
                known_s: known.seconds,
                figures: by_name(known),
            })
        });
        let mut averages: Vec<Averages> = averages.collect();
        averages.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        averages
    }

    /// Forgets a member that is gone or unknown, by its identity, name or address.
    pub fn forget(&self, pass: &Pass, name: &str) -> Result<(), FleetError> {
        pass.check(Right::Admin)?;
        let forgotten = self.change(|state, now| {
            let id = state.registry.find_exactly(name)?;
            state.registry.forget(&id, now)?;
            Ok(id)
        });
        let id = forgotten.map_err(|error| not_done(name, error))?;
        audit::done("member.forgotten", pass, &id.to_string());
        Ok(())
    }

    /// Keeps a member however long nothing is heard of it, or no longer, and tells how it is now. It
    /// is called by its identity, name or address.
    pub fn protect(
        &self,
        pass: &Pass,
        name: &str,
        is_protected: bool,
    ) -> Result<MemberReport, FleetError> {
        pass.check(Right::Operate)?;
        let member = self.about(name, |state, now| {
            let id = state.registry.find_exactly(name)?;
            state.registry.protect(&id, is_protected, now);
            Ok(id)
        })?;
        let event = if is_protected {
            "member.kept"
        } else {
            "member.let_go"
        };
        audit::done(event, pass, &member.id);
        Ok(member)
    }

    /// The history hears of all that is taken. With the lock on the members held, so that no member
    /// gets another identity meanwhile.
    pub(super) fn remember(&self, id: &Identity, every: Duration, facts: &Facts) {
        self.0.history.told(id, every, facts);
    }

    /// The history goes along with members whose identity is another one, and ends with them.
    fn follow(&self, renamed: Vec<Renamed>) {
        for renamed in renamed {
            match renamed {
                Renamed::To(old, new) => self.0.history.renamed(&old, &new),
                Renamed::Forgotten(id) => {
                    self.0.commands.forget(&id);
                    self.0.history.forgotten(&id);
                }
            }
        }
    }

    /// The time on the fleet's clock, which never steps back.
    pub(super) fn now(&self) -> Duration {
        self.0.started.elapsed()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes whoever has to do with it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.state();
        // With the lock held, so that times come in order.
        let now = self.now();
        let done = change(&mut state, now);
        for (lease, seen) in state.registry.take_seen() {
            if let Some(to) = state.seen.get(&lease) {
                to.send_replace(seen);
            }
        }
        // In the order in which it happened, and before anything is told under the new identities.
        let renamed = state.registry.take_renamed();
        self.follow(renamed);
        if self.0.keeper.is_none() {
            let version = state.registry.version();
            state.registry.kept(version);
        }
        let has_actions = state.registry.has_actions();
        let is_due = state.plan.is_some_and(|plan| {
            let due = plan.due(&state.registry, now);
            due.is_some_and(|due| due < plan.wakes)
        });
        if is_due {
            state.plan = None;
        }
        drop(state);
        if has_actions {
            self.0.to_do.notify_one();
        }
        if is_due {
            self.0.upkeep.notify_one();
        }
        done
    }
}

fn not_done(name: &str, error: NotDone) -> FleetError {
    match error {
        NotDone::Unknown => FleetError::Unknown(name.to_owned()),
        NotDone::Ambiguous(candidates) => FleetError::Ambiguous {
            name: name.to_owned(),
            candidates,
        },
        NotDone::Kept { name, reason } => FleetError::Kept { name, reason },
    }
}
