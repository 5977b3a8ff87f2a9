//! Servers that register without a proof: they are claims until a probe finds them.

use super::super::NotRegistered;
use super::super::member::MAX_UNPROVEN;
use super::*;

fn unproven(n: usize, peer: u8) -> Registration {
    let directory = format!("{peer}-{n}");
    let mut registration = registration(&directory, &directory, &format!("10.0.0.{peer}:{n}"));
    registration.is_proved = false;
    registration.peer = Some([10, 0, 0, peer].into());
    registration
}

fn try_to(fleet: &mut Fleet, n: usize, peer: u8) -> Result<LeaseId, NotRegistered> {
    let registered = fleet.registry.register(&unproven(n, peer), fleet.now);
    fleet.carry_out();
    registered.map(|registered| registered.lease)
}

fn not_found(fleet: &mut Fleet, n: usize, peer: u8) {
    let address = format!("10.0.0.{peer}:{n}");
    fleet.probed(&address, down());
    fleet.registry.in_doubt(&address, false, fleet.now);
    fleet.carry_out();
}

/// Whoever reaches the port can do it, as often as they like, from wherever they are.
#[test]
fn those_that_no_probe_finds_are_few_and_go_with_their_leases() {
    let mut fleet = Fleet::new();
    let stays = fleet.serve("d", "1", "a:1");
    fleet.notices();
    for n in 0..MAX_UNPROVEN {
        try_to(&mut fleet, n, 1).unwrap();
        not_found(&mut fleet, n, 1);
    }
    for n in 0..100 {
        let refused = try_to(&mut fleet, 100 + n, 1);
        assert_eq!(refused, Err(NotRegistered::Unproven(MAX_UNPROVEN)));
    }
    try_to(&mut fleet, 0, 1).expect("it is one of them");
    try_to(&mut fleet, 0, 2).expect("it is elsewhere");
    not_found(&mut fleet, 0, 2);
    let claims: Vec<_> = fleet.registry.identities();
    assert_eq!(claims.len(), 1 + MAX_UNPROVEN + 1);
    assert_eq!(fleet.directory("1-0").trust, Trust::Claimed);
    assert_eq!(fleet.directory("d").trust, Trust::Proved);
    fleet.hub();
    fleet.pass(20, &[stays]);
    assert_eq!(fleet.registry.preserving(), None);
    assert_eq!(fleet.registry.len(), 1);
    assert_eq!(fleet.addresses(), ["a:1".into()]);
    assert!(!fleet.notices().iter().any(|name| *name != "fleet_full"));
    try_to(&mut fleet, 0, 1).unwrap();
}

#[test]
fn from_everywhere_there_are_no_more_than_claims() {
    let mut fleet = Fleet::new();
    fleet.registry = Registry::new(RegistryConfig {
        claimed: 40,
        ..RegistryConfig::default()
    });
    let mut taken = 0;
    for peer in 0..10 {
        for n in 0..10 {
            taken += usize::from(try_to(&mut fleet, n, peer).is_ok());
        }
    }
    assert_eq!(taken, 40);
    // Who proves it has room.
    fleet.register("d", "1", "a:1");
}

/// It answers as it should: it is as good as any from then on, also after a restart.
#[test]
fn who_is_found_is_believed() {
    let mut fleet = Fleet::new();
    let mut leases = Vec::new();
    for n in 0..MAX_UNPROVEN + 5 {
        leases.push(try_to(&mut fleet, n, 1).unwrap());
        assert_eq!(fleet.notices(), [""; 0]);
        assert_eq!(fleet.registry.speaks_for(leases[n]), None);
        let before = fleet.registry.version();
        fleet.probed(&format!("10.0.0.1:{n}"), up(&format!("1-{n}")));
        assert!(fleet.registry.version() > before, "it is kept");
        assert_eq!(fleet.notices(), ["member_joined"]);
    }
    fleet.pass(5, &leases);
    let member = fleet.directory("1-0");
    assert_eq!(
        (member.state, member.trust),
        (MemberState::Active, Trust::Proved)
    );
    let kept = fleet.registry.keep(fleet.now);
    fleet.registry = Registry::restore(RegistryConfig::default(), kept, fleet.now).unwrap();
    fleet.carry_out();
    fleet.pass(3_600, &[]);
    assert_eq!(fleet.registry.len(), MAX_UNPROVEN + 5);
}

/// Nobody can rename a member that is known better by its directory, or have it forgotten.
#[test]
fn a_registration_without_a_proof_changes_no_name() {
    let mut fleet = Fleet::new();
    let mut known = registration("1-7", "1", "a:1");
    known.name = Some("rome".into());
    let lease = fleet.registry.register(&known, fleet.now).unwrap().lease;
    fleet.probed("a:1", up("1-7"));
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.probed("a:1", down());
    let mut forged = unproven(7, 1);
    forged.name = Some("forged".into());
    fleet.registry.register(&forged, fleet.now).unwrap();
    fleet.carry_out();
    not_found(&mut fleet, 7, 1);
    fleet.pass(3_600, &[]);
    let member = fleet.directory("1-7");
    assert_eq!(
        (&*member.name, member.host.as_deref()),
        ("rome", Some("127.0.0.1"))
    );
    // The real one comes back.
    fleet.serve("1-7", "2", "a:1");
    assert_eq!(fleet.state("1-7"), MemberState::Active);
    assert_eq!(fleet.addresses(), ["a:1".into()]);
}
