//! Tests of the handle: members that outlive it, and what ten thousand of them cost.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{Fleet, Membership, kept};
use crate::access::Lock;
use crate::config::ServerSpec;
use crate::fleet_core::registry::{Action, Probed, Registration, RegistryConfig};
use crate::fleet_core::{Facts, Identity, MemberState, Source, Told, Trust};
use crate::queue::disk::Disk;
use crate::queue::sim::SimDisk;

fn registration(n: usize) -> Registration {
    Registration {
        directory: format!("{n:032x}").into(),
        instance: Some(format!("{n:032x}").into()),
        address: format!("10.0.{}.{}:5001", n / 250, n % 250).into(),
        weight: 1,
        name: None,
        ticket: None,
        is_proved: true,
        peer: Some([10, 0, 0, 1].into()),
        lease: Duration::from_secs(15),
        facts: facts(n),
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn facts(n: usize) -> Facts {
    Facts {
        cpu: Some(0.25),
        cores: vec![n as f32 / 1e6; 8].into(),
        memory_used: Some(1 << 30),
        memory_total: Some(1 << 34),
        disk_used: Some(1 << 37),
        disk_total: Some(1 << 40),
        net_rx: Some(1e6),
        net_tx: Some(1e6),
        uptime_s: Some(86_400),
        process_memory: Some(1 << 24),
        held_files: Some(1_000),
        ..Facts::default()
    }
}

fn open(disk: &Arc<dyn Disk>, journal: &str) -> (Fleet, Option<super::Lost>) {
    let history = super::HistoryConfig::default();
    Fleet::open(
        disk.clone(),
        journal.to_owned(),
        RegistryConfig::default(),
        &history,
    )
}

/// Lets time pass in a fleet until it is dropped.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn run(fleet: &Fleet) -> Running {
    let fleet = fleet.clone();
    Running(tokio::spawn(async move { fleet.run().await }).abort_handle())
}

/// The address that is to be added next.
async fn added(fleet: &Fleet) -> Arc<str> {
    loop {
        let action = timeout(Duration::from_secs(30), fleet.next_action()).await;
        if let Action::Add { address, .. } = action.expect("an action in time") {
            return address;
        }
    }
}

#[tokio::test]
async fn a_server_is_added_when_it_is_kept_and_is_known_after_a_restart() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let (fleet, lost) = open(&disk, "j");
    assert!(lost.is_none());
    let running = run(&fleet);
    let mut members = Vec::new();
    for n in 0..3 {
        members.push(fleet.register(registration(n)).unwrap());
        let address = added(&fleet).await;
        assert_eq!(*address, *registration(n).address);
        assert_eq!(on_disk(&disk), n + 1, "it is on disk before it gets a file");
    }
    // Killed: nothing is said, and nothing is written.
    drop(running);
    members.into_iter().for_each(std::mem::forget);

    let (fleet, lost) = open(&disk, "j");
    assert!(lost.is_none());
    let mut known: Vec<_> = fleet.registered();
    known.sort_by(|a, b| a.address.cmp(&b.address));
    let expected: Vec<_> = (0..3)
        .map(|n| ServerSpec {
            address: registration(n).address.to_string(),
            weight: 1,
        })
        .collect();
    assert_eq!(known, expected);
    assert!(
        fleet
            .members()
            .iter()
            .all(|member| member.state == MemberState::Late)
    );
}

#[tokio::test]
async fn a_file_that_is_damaged_or_of_another_journal_is_set_aside() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let (fleet, _) = open(&disk, "j");
    let _running = run(&fleet);
    let _member = fleet.register(registration(1)).unwrap();
    added(&fleet).await;

    let (other, lost) = open(&disk, "k");
    let lost = lost.expect("it is another journal's");
    assert_eq!(lost.reason, "it belongs to the journal j, and this is k");
    assert_eq!(lost.place, "fleet.damaged");
    assert!(other.members().is_empty());
    assert!(disk.open("fleet.damaged").is_ok() && disk.open("fleet.json").is_err());
    let (_, lost) = open(&disk, "k");
    assert!(lost.is_none(), "told once");
}

/// How many members the file has.
fn on_disk(disk: &Arc<dyn Disk>) -> usize {
    kept::read(&**disk, "j").unwrap().unwrap().len()
}

#[test]
fn a_balancer_without_a_fleet_gets_no_file_of_it() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let (fleet, _) = open(&disk, "j");
    fleet.configured(&[ServerSpec {
        address: "127.0.0.1:5001".to_owned(),
        weight: 1,
    }]);
    let up = Probed::Up {
        directory: Some(format!("{:032x}", 7).into()),
    };
    fleet.probed("127.0.0.1:5001", up);
    fleet.write().unwrap();
    fleet.close();
    assert_eq!(fleet.members().len(), 1);
    assert!(disk.open("fleet.json").is_err());
}

#[tokio::test]
async fn a_server_hears_how_it_is_seen() {
    let fleet = Fleet::default();
    let member = fleet.register(registration(1)).unwrap();
    let mut seen = member.seen();
    assert!(!seen.borrow_and_update().good);
    let address = member.registered().address.clone();
    let up = Probed::Up {
        directory: Some(registration(1).directory),
    };
    fleet.probed(&address, up);
    assert!(seen.borrow_and_update().good);
    fleet.in_doubt(&address, true);
    assert_eq!(*added(&fleet).await, *address);
    member.leave("it is stopped");
    while let Some(action) = fleet.take_action() {
        if matches!(action, Action::Drain { .. }) {
            fleet.in_doubt(&address, true);
        }
    }
    assert!(!seen.borrow_and_update().left, "something is in flight");
    fleet.in_doubt(&address, false);
    while let Some(action) = fleet.take_action() {
        if matches!(action, Action::Remove { .. }) {
            fleet.removed(&address);
        }
    }
    assert!(seen.borrow_and_update().left);
    assert!(fleet.registered().is_empty());
}

/// All members of an earlier run are forgotten: the file of that run would bring them back.
#[test]
fn members_that_are_forgotten_do_not_come_back() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let agent = Told {
        who: Identity::Agent("host-a".into()),
        name: None,
        source: Source::Token,
        trust: Trust::Proved,
        peer: None,
        every: Duration::from_secs(5),
        facts: Facts::default(),
    };
    let (fleet, _) = open(&disk, "j");
    fleet.told(agent.clone()).unwrap();
    fleet.close();
    assert_eq!(
        on_disk(&disk),
        1,
        "a balancer that stops keeps what it knows"
    );
    let (fleet, _) = open(&disk, "j");
    assert_eq!(fleet.members().len(), 1);
    let own = Lock::own();
    fleet.forget(&own, "host-a").unwrap();
    fleet.write().unwrap();
    assert_eq!(on_disk(&disk), 0);
}

/// What a copy of a server told went into the history of the server.
#[test]
fn the_history_of_a_server_takes_nothing_of_its_copy() {
    let fleet = Fleet::default();
    let first = fleet.register(registration(1)).unwrap();
    let address = first.registered().address.clone();
    let up = Probed::Up {
        directory: Some(registration(1).directory),
    };
    fleet.probed(&address, up);
    let copy = Registration {
        instance: Some("copy".into()),
        address: "10.0.9.9:5001".into(),
        facts: Facts::default(),
        ..registration(1)
    };
    let second = fleet.register(copy).unwrap();
    for _ in 0..10 {
        second.beat(facts_of(1.0)).unwrap();
        first.beat(facts_of(0.25)).unwrap();
    }
    let all = fleet.averages(Duration::from_mins(5));
    let cpu = all.first().unwrap().figures.get("cpu").unwrap();
    assert!((cpu.avg - 0.25).abs() < 1e-6, "{}", cpu.avg);
}

fn facts_of(cpu: f32) -> Facts {
    Facts {
        cpu: Some(cpu),
        ..Facts::default()
    }
}

/// A claim about a proved member went into that member's history.
#[test]
fn the_history_of_a_proved_member_takes_no_claims() {
    let fleet = Fleet::default();
    let tell = |trust, cpu| {
        let told = Told {
            who: Identity::Instance("web-1".into()),
            name: None,
            source: Source::Posted,
            trust,
            peer: None,
            every: Duration::from_secs(5),
            facts: Facts {
                cpu: Some(cpu),
                ..Facts::default()
            },
        };
        fleet.told(told).unwrap();
    };
    let average = || {
        let all = fleet.averages(Duration::from_mins(5));
        all.first().unwrap().figures.get("cpu").unwrap().avg
    };
    tell(Trust::Claimed, 0.25);
    assert!((average() - 0.25).abs() < 1e-6, "nothing better is known");
    tell(Trust::Proved, 0.25);
    for _ in 0..10 {
        tell(Trust::Claimed, 1.0);
    }
    assert!((average() - 0.25).abs() < 1e-6, "{}", average());
}

/// Ten thousand members that beat every five seconds, and whose probes tell as often. It takes half a
/// minute, and says what it cost:
///
/// ```text
/// cargo test --release --lib fleet::tests::the_cost -- --ignored --nocapture
/// ```
#[cfg(target_os = "linux")]
#[ignore = "it measures"]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_cost_of_ten_thousand_members() {
    const MEMBERS: usize = 10_000;
    const BEATS: u32 = 500;
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let before = resident();
    let (fleet, _) = open(&disk, "j");
    let _running = run(&fleet);
    let members: Vec<Membership> = (0..MEMBERS)
        .map(|n| fleet.register(registration(n)).unwrap())
        .collect();
    let mut driven = 0;
    while driven < MEMBERS {
        added(&fleet).await;
        driven += 1;
    }
    for member in &members {
        let found = Probed::Up { directory: None };
        fleet.probed(&member.registered().address, found);
    }
    let mut pace = tokio::time::interval(Duration::from_secs(5) / BEATS);
    let (mut cpu, mut begun) = (cpu(), std::time::Instant::now());
    for round in 0..6 {
        for beat in members.chunks(MEMBERS / BEATS as usize) {
            pace.tick().await;
            for member in beat {
                let registered = member.registered();
                member.beat(facts(round)).unwrap();
                let told = Told {
                    who: Identity::Address(registered.address.clone()),
                    name: None,
                    source: Source::Registered,
                    trust: Trust::Measured,
                    peer: None,
                    every: Duration::from_secs(5),
                    facts: facts(round),
                };
                fleet.told(told).unwrap();
            }
        }
        if round == 0 {
            (cpu, begun) = (self::cpu(), std::time::Instant::now());
        }
    }
    let (seconds, used) = (begun.elapsed().as_secs_f64(), self::cpu() - cpu);
    let memory = resident() - before;
    let begun = std::time::Instant::now();
    let reports = fleet.members();
    let listing = begun.elapsed();
    assert!(
        reports
            .iter()
            .all(|member| member.state == MemberState::Active)
    );
    println!(
        "{MEMBERS} members: {memory:.1} MiB, {:.2} % of a core; a list of all takes {listing:?}",
        used / seconds * 100.0
    );
    assert!(memory < 64.0, "{memory} MiB");
}

/// Resident memory of this process in MiB.
#[cfg(target_os = "linux")]
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / 1024.0 / 1024.0
}

/// Processor time of this process in seconds.
#[cfg(target_os = "linux")]
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |n: usize| -> f64 { fields.split(' ').nth(n).unwrap().parse().unwrap() };
    (ticks(12) + ticks(13)) / 100.0
}
