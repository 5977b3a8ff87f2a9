//! How much anybody can make the registry keep.

use std::net::Ipv4Addr;

use super::super::{MAX_CLAIMED, MAX_MEMBERS, NotRegistered};
use super::*;

fn forged(n: u32) -> Told {
    let ip = Ipv4Addr::from_bits(n).into();
    let mut told = told(Identity::Source(ip), Trust::Claimed, Source::Datagram);
    told.peer = Some(ip);
    told
}

/// A hundred thousand forged senders: as many as may be are kept, and nobody has to go.
#[test]
fn forged_senders_push_nobody_out() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    let real = forged(0x0a00_0001);
    for _ in 0..4 {
        fleet.registry.told(&real, fleet.now).unwrap();
        fleet.pass(1, &[lease]);
    }
    let mut refused = 0;
    for n in 0..100_000 {
        if n % 10_000 == 0 {
            fleet.registry.told(&real, fleet.now).unwrap();
            fleet.pass(5, &[lease]);
        }
        let forged = forged(0x4000_0000 + n);
        refused += usize::from(fleet.registry.told(&forged, fleet.now).is_err());
        assert!(fleet.registry.len() <= MAX_CLAIMED + 1);
    }
    assert!(refused > 90_000, "{refused}");
    fleet.registry.check_invariants();
    let (address, real) = ("a:1", fleet.registry.report(&real.who, fleet.now).unwrap());
    assert_eq!(real.state, MemberState::Active);
    assert_eq!(fleet.directory("d").address.as_deref(), Some(address));
    let kept = fleet.registry.keep(fleet.now);
    assert_eq!(kept.len(), 2, "who spoke once is not worth keeping");
    // Once they are silent there is room again.
    fleet.pass(30, &[lease]);
    assert!(fleet.registry.len() <= 2, "{}", fleet.registry.len());
}

#[test]
fn claims_make_room_for_those_that_prove_themselves() {
    let mut fleet = Fleet::new();
    for n in 0..2_000 {
        let _ = fleet.registry.told(&forged(n), fleet.now);
    }
    for n in 0..MAX_MEMBERS {
        let registration = registration(&format!("{n}"), "1", &format!("a:{n}"));
        fleet.registry.register(&registration, fleet.now).unwrap();
    }
    assert_eq!(fleet.registry.len(), MAX_MEMBERS);
    let one_more = registration("x", "1", "x:1");
    assert_eq!(
        fleet.registry.register(&one_more, fleet.now),
        Err(NotRegistered::Full(MAX_MEMBERS))
    );
    assert!(fleet.registry.told(&forged(1), fleet.now).is_err());
    // The configuration always has room: its servers are bounded by themselves.
    fleet.registry.configured([("c:1", 1)], fleet.now);
    assert_eq!(fleet.registry.len(), MAX_MEMBERS + 1);
    fleet.registry.check_invariants();
    assert!(fleet.registry.keep(fleet.now).len() <= MAX_MEMBERS);
}

/// A server that flaps makes the driver no longer list of things to do.
#[test]
fn what_is_to_be_done_is_bounded_without_a_driver() {
    let mut registry = Registry::new(RegistryConfig::default());
    for n in 0..5_000 {
        let now = s(n);
        let flaps = registration("d", &format!("{n}"), &format!("a:{}", n % 3));
        if let Ok(registered) = registry.register(&flaps, now) {
            registry.connection_lost(registered.lease, now);
        }
        registry.kept(registry.version());
    }
    registry.check_invariants();
    let actions = std::iter::from_fn(|| registry.next_action()).count();
    assert!(actions < 1_100, "{actions}");
}

/// Whoever is made up and forgotten again costs neither a notice nor a writing of the file.
#[test]
fn forged_senders_are_forgotten_in_silence() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    fleet.notices();
    let version = fleet.registry.version();
    for n in 0..500 {
        fleet.registry.told(&forged(n), fleet.now).unwrap();
    }
    fleet.pass(60, &[lease]);
    assert_eq!(fleet.registry.len(), 1);
    assert_eq!(fleet.registry.version(), version);
    assert_eq!(fleet.notices(), [""; 0]);
}

/// The disk fails for long, while servers come and go.
#[test]
fn what_waits_for_the_disk_is_bounded() {
    let mut registry = Registry::new(RegistryConfig::default());
    for n in 0..1_000 {
        let now = s(20 * n);
        let flaps = registration("d", &format!("{n}"), &format!("a:{}", n % 3));
        if let Ok(registered) = registry.register(&flaps, now) {
            while registry.next_action().is_some() {}
            registry.leave(registered.lease, "stop", now);
            registry.connection_lost(registered.lease, now);
        }
        registry.check_invariants();
        assert!(registry.waiting.len() <= registry.services.len());
    }
}
