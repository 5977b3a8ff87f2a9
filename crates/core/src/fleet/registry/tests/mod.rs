//! Tests of the registry.

mod bounds;
mod copies;
mod invariants;
mod restarts;
mod servers;
mod simulation;
mod together;
mod unproven;
mod words;

use std::sync::Arc;
use std::time::Duration;

use super::{Action, LeaseId, Notice, Probed, Registration, Registry, RegistryConfig};
use crate::fleet::{Facts, Identity, MemberReport, MemberState, Source, Told, Trust};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn registration(directory: &str, instance: &str, address: &str) -> Registration {
    Registration {
        directory: directory.into(),
        instance: Some(instance.into()),
        address: address.into(),
        weight: 1,
        name: None,
        ticket: None,
        is_proved: true,
        peer: Some([127, 0, 0, 1].into()),
        lease: s(15),
        facts: Facts::default(),
    }
}

fn up(directory: &str) -> Probed {
    Probed::Up {
        directory: Some(directory.into()),
    }
}

/// As the hub tells it: somebody else answers where a server has registered.
fn other(directory: &str) -> Probed {
    Probed::Other {
        directory: Some(directory.into()),
    }
}

fn down() -> Probed {
    Probed::Down {
        reason: "it refuses connections".into(),
    }
}

fn told(who: Identity, trust: Trust, source: Source) -> Told {
    Told {
        who,
        name: None,
        source,
        trust,
        peer: None,
        every: s(5),
        facts: Facts {
            cpu: Some(0.5),
            ..Facts::default()
        },
    }
}

/// A registry with a driver that does what it wants at once and a disk that keeps it at once.
struct Fleet {
    registry: Registry,
    now: Duration,
    actions: Vec<Action>,
}

impl Fleet {
    fn new() -> Self {
        Self {
            registry: Registry::new(RegistryConfig::default()),
            now: s(1_000),
            actions: Vec::new(),
        }
    }

    fn register(&mut self, directory: &str, instance: &str, address: &str) -> LeaseId {
        let registration = registration(directory, instance, address);
        let registered = self.registry.register(&registration, self.now).unwrap();
        self.carry_out();
        registered.lease
    }

    /// It is in service, and nothing is in doubt there.
    fn serve(&mut self, directory: &str, instance: &str, address: &str) -> LeaseId {
        let lease = self.register(directory, instance, address);
        self.probed(address, up(directory));
        self.registry.in_doubt(address, false, self.now);
        lease
    }

    fn probed(&mut self, address: &str, found: Probed) {
        self.registry.probed(address, found, self.now);
        self.carry_out();
    }

    fn beat(&mut self, lease: LeaseId) -> bool {
        let is_known = self.registry.beat(lease, &Facts::default(), self.now);
        self.carry_out();
        is_known
    }

    /// Time passes, second by second; these registrations beat every five.
    fn pass(&mut self, seconds: u64, beating: &[LeaseId]) {
        for second in 0..seconds {
            self.now += s(1);
            if second % 5 == 0 {
                for lease in beating {
                    self.beat(*lease);
                }
            }
            self.registry.tick(self.now);
            self.carry_out();
        }
    }

    /// The driver: nothing is in flight, so that what is drained is not in doubt.
    fn carry_out(&mut self) {
        self.registry.check_invariants();
        self.registry.kept(self.registry.version());
        while let Some(action) = self.registry.next_action() {
            match &action {
                Action::Drain { address, .. } => {
                    self.registry.in_doubt(address, false, self.now);
                }
                Action::Remove { address, .. } => self.registry.removed(address, self.now),
                _ => {}
            }
            self.actions.push(action);
            self.registry.check_invariants();
            self.registry.kept(self.registry.version());
        }
    }

    fn directory(&self, directory: &str) -> MemberReport {
        let id = Identity::Directory(directory.into());
        self.registry.report(&id, self.now).unwrap()
    }

    fn state(&self, directory: &str) -> MemberState {
        self.directory(directory).state
    }

    /// What the hub was asked to do since this was called last, in short.
    fn hub(&mut self) -> Vec<String> {
        let actions = std::mem::take(&mut self.actions).into_iter();
        let short = |action| match action {
            Action::Add { address, .. } => Some(format!("add {address}")),
            Action::Drain { address, .. } => Some(format!("drain {address}")),
            Action::Undrain { address } => Some(format!("undrain {address}")),
            Action::Remove { address, .. } => Some(format!("remove {address}")),
            Action::Moved { .. } | Action::Notice(_) => None,
        };
        actions.filter_map(short).collect()
    }

    /// What the hub was told of moves since this was called last; the rest is dropped.
    fn moves(&mut self) -> Vec<String> {
        let actions = std::mem::take(&mut self.actions).into_iter();
        let short = |action| match action {
            Action::Moved { from, to, .. } => Some(format!("{from} to {to}")),
            _ => None,
        };
        actions.filter_map(short).collect()
    }

    fn notices(&mut self) -> Vec<&'static str> {
        let actions = std::mem::take(&mut self.actions).into_iter();
        let name = |action| match action {
            Action::Notice(notice) => Some(Notice::name(&notice)),
            _ => None,
        };
        actions.filter_map(name).collect()
    }

    fn addresses(&self) -> Vec<Arc<str>> {
        let mut all: Vec<_> = self
            .registry
            .registered()
            .map(|server| server.address.clone())
            .collect();
        all.sort();
        all
    }
}
