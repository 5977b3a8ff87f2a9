//! Random histories: servers that start, die, move and are copied, a balancer that is killed at any
//! moment, networks that are cut, ports that are used again, and anybody who claims anything.
//!
//! Six hundred of them, and a hundred thousand with `BILICO_PROOF=full`. A history that fails is named
//! by its number; `BILICO_HISTORY=NUMBER` runs it alone.

use std::collections::{BTreeMap, BTreeSet};

use super::super::KeptMember;
use super::*;

const DIRECTORIES: u64 = 5;
const PORTS: u64 = 7;
const CONFIGURED: [&str; 2] = ["a:0", "b:9"];

/// Histories that have shown defects, beside the first ones.
const FOUND: [u64; 11] = [
    1380, 1759, 2228, 3809, 3854, 4006, 14_631, 19_539, 20_541, 22_548, 84_749,
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A process that has a port.
#[derive(Clone)]
struct Process {
    directory: String,
    instance: String,
    registers: bool,
    lease: Option<LeaseId>,
    /// Its host was cut off: the balancer has not noticed.
    is_cut: bool,
}

/// A server, as the hub has it.
#[derive(Default)]
struct Server {
    is_drained: bool,
    /// The registry hears as soon as nothing is in doubt there.
    is_held_back: bool,
    /// The directory that is to answer there.
    expected: Option<String>,
    /// What the registry was told last of how it is found.
    told: Option<Probed>,
    /// Files that went there and of which nothing is known, as directories that may have them.
    in_doubt: BTreeSet<String>,
    /// What the registry was told last of that.
    told_in_doubt: Option<bool>,
}

impl Server {
    /// Tells the registry whether something is in doubt, if that is another thing than before. As in
    /// the hub, it is no news of a server that is found and not drained.
    fn tell_doubt(&mut self, registry: &mut Registry, address: &str, now: Duration) {
        let matters = !matches!(self.told, Some(Probed::Up { .. })) || self.is_held_back;
        let is_in_doubt = !matters || !self.in_doubt.is_empty();
        if self.told_in_doubt != Some(is_in_doubt) {
            registry.in_doubt(address, is_in_doubt, now);
            self.told_in_doubt = Some(is_in_doubt);
        }
    }
}

struct World {
    random: Random,
    now: Duration,
    registry: Registry,
    disk: Vec<KeptMember>,
    /// By address.
    processes: BTreeMap<String, Process>,
    hub: BTreeMap<Arc<str>, Server>,
    /// Where files are in doubt, as the journal knows it.
    doubts: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// Connections whose end is not known yet.
    dangling: Vec<LeaseId>,
    /// Addresses that were configured, or that registered.
    asked_for: BTreeSet<String>,
    configured: BTreeSet<String>,
    /// Which server of the hub speaks for which directory.
    speakers: BTreeMap<String, Arc<str>>,
    instances: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed),
            now: s(1_000),
            registry: Registry::new(RegistryConfig::default()),
            disk: Vec::new(),
            processes: BTreeMap::new(),
            hub: BTreeMap::new(),
            doubts: BTreeMap::new(),
            dangling: Vec::new(),
            asked_for: BTreeSet::new(),
            configured: CONFIGURED.iter().map(ToString::to_string).collect(),
            speakers: BTreeMap::new(),
            instances: 0,
        };
        world.configure();
        world
    }

    fn configure(&mut self) {
        let servers = self.configured.iter().map(|address| (&**address, 1));
        self.registry.configured(servers, self.now);
        for address in &self.configured {
            let server = self.hub.entry((**address).into()).or_default();
            server.expected = None;
            self.asked_for.insert(address.clone());
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=2 => self.start(),
            3 | 4 => self.kill(),
            5 => self.leave(),
            6 => self.cut(),
            7 => self.restart_balancer(),
            8 => self.claim(),
            9 => self.operate(),
            10 => self.reload(),
            11 => self.lose_dangling(),
            12 | 13 => self.send(),
            14 => self.settle_doubts(),
            15 => self.pass(20),
            16 if self.random.one_in(4) => self.pass(90_000),
            _ => self.pass(3),
        }
        if self.random.one_in(2) {
            self.keep();
        }
        if self.random.one_in(2) {
            self.drive();
        }
        self.check();
    }

    fn some_process(&mut self) -> Option<String> {
        let n = self.random.below(self.processes.len().max(1) as u64);
        self.processes
            .keys()
            .nth(usize::try_from(n).unwrap())
            .cloned()
    }

    /// A server starts at any free port; now and then its directory is in use already.
    fn start(&mut self) {
        let address = match self.random.below(PORTS + 1) {
            0 => "b:9".to_owned(),
            port => format!("a:{}", port - 1),
        };
        let directory = format!("d{}", self.random.below(DIRECTORIES));
        let is_in_use = self
            .processes
            .values()
            .any(|other| other.directory == directory);
        if self.processes.contains_key(&address) || is_in_use && !self.random.one_in(4) {
            return;
        }
        self.instances += 1;
        let process = Process {
            directory,
            instance: format!("{}", self.instances),
            registers: !self.random.one_in(5),
            lease: None,
            is_cut: false,
        };
        self.processes.insert(address.clone(), process);
        self.register(&address);
    }

    fn register(&mut self, address: &str) {
        let process = &self.processes[address];
        if !process.registers || process.is_cut || process.lease.is_some() {
            return;
        }
        let registration = registration(&process.directory, &process.instance, address);
        if let Ok(registered) = self.registry.register(&registration, self.now) {
            self.processes.get_mut(address).unwrap().lease = Some(registered.lease);
            self.asked_for.insert(address.to_owned());
        }
    }

    fn kill(&mut self) {
        if let Some(address) = self.some_process()
            && let Some(lease) = self.processes.remove(&address).unwrap().lease
        {
            self.dangling.push(lease);
            if !self.random.one_in(3) {
                self.lose_dangling();
            }
        }
    }

    fn lose_dangling(&mut self) {
        for lease in std::mem::take(&mut self.dangling) {
            self.registry.connection_lost(lease, self.now);
        }
    }

    fn leave(&mut self) {
        if let Some(address) = self.some_process()
            && let Some(lease) = self.processes[&address].lease
        {
            self.registry.leave(lease, "stop", self.now);
            if self.random.one_in(2) {
                self.pass(2);
                self.drive();
            }
            self.processes.remove(&address);
            self.registry.connection_lost(lease, self.now);
        }
    }

    /// Some hosts, or all, are cut off, or come back.
    fn cut(&mut self) {
        let is_cut = self.random.one_in(2);
        let is_all = self.random.one_in(3);
        for process in self.processes.values_mut() {
            if is_all || self.random.one_in(2) {
                process.is_cut = is_cut;
                if let Some(lease) = process.lease.take() {
                    self.dangling.push(lease);
                }
            }
        }
    }

    /// Seconds pass: who is there beats, is probed, and connects again.
    fn pass(&mut self, seconds: u64) {
        let step = if seconds > 100 { 600 } else { 1 };
        for _ in 0..seconds.div_ceil(step) {
            self.now += s(step);
            for address in self.processes.keys().cloned().collect::<Vec<_>>() {
                let process = &self.processes[&address];
                if process.is_cut {
                    continue;
                }
                if let Some(lease) = process.lease
                    && !self.registry.beat(lease, &Facts::default(), self.now)
                {
                    self.processes.get_mut(&address).unwrap().lease = None;
                    self.registry.connection_lost(lease, self.now);
                }
                self.register(&address);
            }
            self.probe();
            self.registry.tick(self.now);
            self.registry.check_invariants();
        }
    }

    /// As the hub tells it: changes only, and of two servers with one directory the one that spoke for
    /// it first.
    fn probe(&mut self) {
        for (address, server) in &mut self.hub {
            let process = self.processes.get(&**address);
            let Some(process) = process.filter(|process| !process.is_cut) else {
                self.speakers.retain(|_, speaker| speaker != address);
                tell(&mut self.registry, address, server, down(), self.now);
                continue;
            };
            let directory = &process.directory;
            let found = if server
                .expected
                .as_ref()
                .is_some_and(|expected| expected != directory)
            {
                self.speakers.retain(|_, speaker| speaker != address);
                other(directory)
            } else {
                self.speakers
                    .retain(|of, speaker| speaker != address || of == directory);
                let speaker = self.speakers.entry(directory.clone());
                if *speaker.or_insert_with(|| address.clone()) == *address {
                    up(directory)
                } else {
                    Probed::Second {
                        directory: Some((**directory).into()),
                        reason: "another server speaks for its directory".into(),
                    }
                }
            };
            tell(&mut self.registry, address, server, found, self.now);
        }
    }

    /// A file goes to some server, and its acknowledgement is lost.
    fn send(&mut self) {
        for (address, server) in &mut self.hub {
            if let Some(process) = self.processes.get(&**address)
                && !process.is_cut
                && !server.is_drained
                && matches!(server.told, Some(Probed::Up { .. }))
            {
                server.in_doubt.insert(process.directory.clone());
                let doubts = self.doubts.entry(address.clone()).or_default();
                doubts.insert(process.directory.clone());
            }
        }
    }

    /// Directories list their files, wherever they are now.
    fn settle_doubts(&mut self) {
        let there: BTreeSet<String> = self
            .hub
            .keys()
            .filter_map(|address| self.processes.get(&**address))
            .filter(|process| !process.is_cut)
            .map(|process| process.directory.clone())
            .collect();
        for (address, server) in &mut self.hub {
            server
                .in_doubt
                .retain(|directory| !there.contains(directory));
            let is_in_doubt = !server.in_doubt.is_empty();
            if is_in_doubt {
                self.doubts.insert(address.clone(), server.in_doubt.clone());
            } else {
                self.doubts.remove(address);
            }
            server.tell_doubt(&mut self.registry, address, self.now);
        }
    }

    fn claim(&mut self) {
        let who = match self.random.below(4) {
            0 => Identity::Directory(format!("d{}", self.random.below(DIRECTORIES)).into()),
            1 => Identity::Address(format!("a:{}", self.random.below(PORTS)).into()),
            2 => Identity::Address(format!("x:{}", self.random.below(3)).into()),
            _ => Identity::Source([10, 0, 0, 1].into()),
        };
        let servers = self.addresses();
        let before = self.registry.report(&who, self.now);
        let claim = told(who.clone(), Trust::Claimed, Source::Announced);
        let _ = self.registry.told(&claim, self.now);
        assert_eq!(self.addresses(), servers, "a claim changed servers");
        if let Some(before) = before
            && before.trust > Trust::Claimed
        {
            let after = self.registry.report(&who, self.now).unwrap();
            assert_eq!(
                (before.state, before.address, before.host, before.name),
                (after.state, after.address, after.host, after.name)
            );
        }
    }

    fn addresses(&self) -> BTreeSet<Arc<str>> {
        self.registry
            .registered()
            .map(|server| server.address.clone())
            .collect()
    }

    fn operate(&mut self) {
        let id = Identity::Directory(format!("d{}", self.random.below(DIRECTORIES)).into());
        match self.random.below(3) {
            0 => drop(self.registry.forget(&id, self.now)),
            1 => self.registry.protect(&id, true, self.now),
            _ => self.registry.protect(&id, false, self.now),
        }
    }

    /// The configuration gains or loses a server.
    fn reload(&mut self) {
        let address = CONFIGURED[usize::from(self.random.one_in(2))].to_owned();
        if !self.configured.remove(&address) {
            self.configured.insert(address.clone());
        }
        self.configure();
        // What the configuration has no longer goes, files in doubt and all: an operator wants it.
        if !self.configured.contains(&address) && !self.addresses().contains(&*address) {
            self.hub.remove(&*address);
            self.speakers.retain(|_, speaker| **speaker != *address);
            self.doubts.remove(&*address);
            self.registry.dropped(&address, self.now);
        }
    }

    fn keep(&mut self) {
        self.disk = self.registry.keep(self.now);
        self.registry.kept(self.registry.version());
    }

    fn drive(&mut self) {
        for _ in 0..self.random.below(12) {
            let Some(action) = self.registry.next_action() else {
                return;
            };
            self.carry_out(action);
            self.registry.check_invariants();
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Add {
                address, directory, ..
            } => {
                assert!(
                    self.asked_for.contains(&*address),
                    "{address} was added on a claim"
                );
                let mut kept = self.disk.iter().filter(|member| {
                    let text = serde_json::to_string(member).unwrap();
                    let is_it = |word: &str| text.contains(&format!("\"{word}\""));
                    let id = directory.as_ref().map(|of| format!("directory:{of}"));
                    is_it(&address) && id.is_none_or(|id| is_it(&id))
                });
                assert!(kept.next().is_some(), "{address} is not kept");
                let server = self.hub.entry(address.clone()).or_default();
                server.expected = directory.map(|directory| directory.to_string());
                // Files wait for the end of the drain.
                server.is_held_back = false;
                server.told = None;
                server.told_in_doubt = None;
            }
            Action::Drain { address, .. } => {
                let server = self.hub.get_mut(&address).expect("it was added");
                (server.is_drained, server.is_held_back) = (true, true);
                server.told_in_doubt = None;
                server.tell_doubt(&mut self.registry, &address, self.now);
            }
            Action::Undrain { address } => {
                let server = self.hub.get_mut(&address).unwrap();
                (server.is_drained, server.is_held_back) = (false, false);
                server.told_in_doubt = None;
                server.tell_doubt(&mut self.registry, &address, self.now);
            }
            Action::Moved {
                from, directory, ..
            } => {
                let former = self.hub[&from].expected.as_deref();
                assert!(former.is_none() || former == directory.as_deref());
            }
            Action::Remove { address, .. } => {
                let server = self.hub.remove(&address).expect("it was added");
                self.speakers.retain(|_, speaker| *speaker != address);
                assert!(
                    server.in_doubt.is_empty(),
                    "{address} was removed while in doubt"
                );
                assert!(!self.doubts.contains_key(&address));
                assert!(!self.configured.contains(&*address));
                self.registry.removed(&address, self.now);
            }
            Action::Notice(_) => {}
        }
    }

    /// It is killed: what is not on disk is lost, and every connection is.
    fn restart_balancer(&mut self) {
        let text = serde_json::to_string(&self.disk).unwrap();
        let kept = serde_json::from_str(&text).unwrap();
        // Its clock begins anew.
        self.now = s(self.random.below(1_000));
        self.registry = Registry::restore(RegistryConfig::default(), kept, self.now).unwrap();
        self.dangling.clear();
        for process in self.processes.values_mut() {
            process.lease = None;
        }
        self.hub.clear();
        self.speakers.clear();
        let registered: Vec<(Arc<str>, Option<String>)> = self
            .registry
            .registered()
            .map(|server| {
                (
                    server.address.clone(),
                    server.directory.map(ToString::to_string),
                )
            })
            .collect();
        for (address, directory) in registered {
            let server = self.hub.entry(address.clone()).or_default();
            server.expected = directory;
            // Whatever a file was in doubt at, and all that is not known to be free of it.
            server.in_doubt = self.doubts.get(&address).cloned().unwrap_or_default();
        }
        self.configure();
        for address in self.configured.clone() {
            let server = self.hub.get_mut(&*address).unwrap();
            server.in_doubt = self.doubts.get(&*address).cloned().unwrap_or_default();
        }
        for address in self.doubts.keys() {
            assert!(
                self.hub.contains_key(address),
                "files are in doubt at {address}, and nobody asks it"
            );
        }
    }

    fn check(&self) {
        self.registry.check_invariants();
        for address in self.doubts.keys() {
            assert!(
                self.hub.contains_key(address),
                "{address} left while in doubt"
            );
        }
    }

    /// All goes well for a while: then everything is as it should be.
    fn heal(&mut self) {
        self.lose_dangling();
        for process in self.processes.values_mut() {
            process.is_cut = false;
        }
        for _ in 0..15 {
            self.pass(4);
            self.settle_doubts();
            self.keep();
            while let Some(action) = self.registry.next_action() {
                self.carry_out(action);
                self.keep();
            }
        }
        self.check();
        self.check_servers();
    }

    /// Each directory that registers has one server that gets files, and what is nobody's is gone.
    fn check_servers(&self) {
        let directories: BTreeSet<_> = (self.processes.values())
            .filter(|process| process.registers && process.lease.is_some())
            .map(|process| &process.directory)
            .collect();
        for directory in directories {
            let id = Identity::Directory((**directory).into());
            let member = self
                .registry
                .report(&id, self.now)
                .expect("no member is lost");
            let address = member.address.clone().unwrap();
            // The first of two servers with a directory may have stopped registering, and is there.
            let is_silent = !self.processes[&address].registers;
            assert!(
                is_silent || member.state == MemberState::Active,
                "{member:?}"
            );
            assert_eq!(self.processes[&address].directory, *directory);
            let server = self.hub.get(&*address).expect("it has a server");
            assert!(!server.is_drained, "{address} is drained");
        }
        for address in self.hub.keys() {
            let is_known =
                self.configured.contains(&**address) || self.addresses().contains(address);
            assert!(is_known, "nobody wants {address}");
        }
    }
}

/// Tells the registry how a server is found, if that is another thing than before.
fn tell(registry: &mut Registry, address: &str, server: &mut Server, found: Probed, now: Duration) {
    if server.told.as_ref() != Some(&found) {
        registry.probed(address, found.clone(), now);
        server.told = Some(found);
    }
    server.tell_doubt(registry, address, now);
}

#[test]
fn no_member_is_lost_or_double_and_nothing_is_done_on_a_claim() {
    let is_full = std::env::var("BILICO_PROOF").is_ok_and(|proof| proof == "full");
    let one = std::env::var("BILICO_HISTORY")
        .ok()
        .and_then(|number| number.parse().ok());
    let (histories, also) = match one {
        Some(number) => (number..number + 1, &[][..]),
        None if is_full => (0..100_000, &[][..]),
        None => (0..600, &FOUND[..]),
    };
    let mut failed = Vec::new();
    for history in histories.chain(also.iter().copied()) {
        let run = || {
            let mut world = World::new(history);
            for _ in 0..80 {
                world.step();
            }
            world.heal();
        };
        if std::panic::catch_unwind(run).is_err() {
            failed.push(history);
        }
    }
    assert!(
        failed.is_empty(),
        "BILICO_HISTORY=NUMBER shows it: {failed:?}"
    );
}
