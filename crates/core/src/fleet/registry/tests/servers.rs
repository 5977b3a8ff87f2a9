//! Servers that register, move, leave, are silent and come back.

use super::*;

#[test]
fn a_server_registers_is_found_leaves_and_is_gone() {
    let mut fleet = Fleet::new();
    let lease = fleet.register("d", "1", "a:1");
    assert_eq!(fleet.hub(), ["add a:1"]);
    assert_eq!(fleet.state("d"), MemberState::Joining);
    fleet.probed("a:1", up("d"));
    assert_eq!(fleet.state("d"), MemberState::Active);
    assert!(fleet.registry.take_seen().pop().unwrap().1.good);

    fleet.registry.leave(lease, "it is stopped", fleet.now);
    fleet.carry_out();
    assert_eq!(fleet.hub(), ["drain a:1", "remove a:1"]);
    assert_eq!(fleet.state("d"), MemberState::Gone);
    assert!(fleet.registry.take_seen().pop().unwrap().1.left);
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.pass(60, &[]);
    assert_eq!(fleet.state("d"), MemberState::Gone);

    let lease = fleet.register("d", "2", "a:1");
    assert_eq!(fleet.hub(), ["add a:1"]);
    fleet.probed("a:1", up("d"));
    fleet.pass(20, &[lease]);
    assert_eq!(fleet.state("d"), MemberState::Active);
    assert_eq!(fleet.registry.len(), 1);
}

#[test]
fn nothing_is_added_before_it_is_kept() {
    let mut registry = Registry::new(RegistryConfig::default());
    registry
        .register(&registration("d", "1", "a:1"), s(1))
        .unwrap();
    let before = registry.version();
    registry
        .register(&registration("e", "1", "b:1"), s(1))
        .unwrap();
    let hub = |registry: &mut Registry| -> Vec<Action> {
        std::iter::from_fn(|| registry.next_action())
            .filter(|action| !matches!(action, Action::Notice(_)))
            .collect()
    };
    assert_eq!(hub(&mut registry), []);
    registry.kept(before);
    assert!(
        matches!(&hub(&mut registry)[..], [Action::Add { address, .. }] if &**address == "a:1")
    );
    registry.kept(registry.version());
    assert!(
        matches!(&hub(&mut registry)[..], [Action::Add { address, .. }] if &**address == "b:1")
    );
}

#[test]
fn a_server_that_comes_back_from_another_address_is_the_same_moved() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    fleet.hub();
    fleet.registry.connection_lost(lease, fleet.now);
    assert_eq!(fleet.state("d"), MemberState::Late);
    fleet.probed("a:1", down());
    fleet.register("d", "2", "a:2");
    assert_eq!(fleet.hub(), ["drain a:1", "add a:2", "remove a:1"]);
    assert_eq!(fleet.addresses(), ["a:2".into()]);
    assert_eq!(fleet.registry.len(), 1);
    assert_eq!(fleet.directory("d").address.as_deref(), Some("a:2"));
}

/// The old address is kept as long as files may be there that nobody has settled.
#[test]
fn a_former_address_stays_while_something_is_in_doubt() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.probed("a:1", down());
    let now = fleet.now;
    let moved = registration("d", "2", "a:2");
    fleet.registry.register(&moved, now).unwrap();
    fleet.registry.kept(fleet.registry.version());
    while fleet.registry.next_action().is_some() {}
    // What was told before the drain does not count.
    fleet.pass(100, &[]);
    assert_eq!(fleet.addresses(), ["a:1".into(), "a:2".into()]);
    fleet.registry.in_doubt("a:1", true, fleet.now);
    fleet.pass(100, &[]);
    assert_eq!(fleet.addresses(), ["a:1".into(), "a:2".into()]);
    fleet.hub();
    fleet.registry.in_doubt("a:1", false, fleet.now);
    fleet.carry_out();
    assert_eq!(fleet.hub(), ["remove a:1"]);
    assert_eq!(fleet.addresses(), ["a:2".into()]);
}

#[test]
fn a_server_of_the_configuration_that_registers_is_one_member() {
    let mut fleet = Fleet::new();
    fleet
        .registry
        .configured([("a:1", 3), ("b:1", 1)], fleet.now);
    fleet.probed("a:1", up("d"));
    assert_eq!(fleet.state("d"), MemberState::Active);
    assert_eq!(fleet.registry.len(), 2);
    // It calls itself by another name of the same host.
    let lease = fleet.register("d", "1", "127.0.0.1:1");
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(fleet.directory("d").address.as_deref(), Some("a:1"));
    // The configuration has it no longer: it stays, since it registered.
    fleet.registry.configured([("b:1", 1)], fleet.now);
    fleet.carry_out();
    assert_eq!(fleet.hub(), ["add 127.0.0.1:1"]);
    fleet.pass(30, &[lease]);
    assert_eq!(fleet.registry.len(), 2);
}

#[test]
fn a_reload_leaves_registered_servers_and_drops_those_of_the_configuration() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("a:1", 1)], fleet.now);
    fleet.probed("a:1", down());
    let lease = fleet.serve("d", "1", "b:1");
    fleet.hub();
    fleet.registry.configured([], fleet.now);
    fleet.pass(60, &[lease]);
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(fleet.registry.len(), 1);
    assert_eq!(fleet.addresses(), ["b:1".into()]);
}

#[test]
fn a_silent_server_is_late_then_unknown_and_forgotten_when_it_is_surely_gone() {
    let mut fleet = Fleet::new();
    let stays = fleet.serve("e", "1", "b:1");
    fleet.serve("d", "1", "a:1");
    fleet.pass(8, &[stays]);
    assert_eq!(fleet.state("d"), MemberState::Late);
    fleet.pass(8, &[stays]);
    assert_eq!(fleet.state("d"), MemberState::Unknown);
    assert_eq!(
        fleet.directory("d").reason.as_deref(),
        Some("no word of it for 15 s")
    );
    fleet.hub();
    // It still answers probes: it is not gone.
    fleet.pass(25 * 3_600, &[stays]);
    assert_eq!(fleet.hub(), [""; 0]);
    fleet.probed("a:1", down());
    fleet.registry.in_doubt("a:1", true, fleet.now);
    fleet.pass(3_600, &[stays]);
    assert_eq!(fleet.hub(), [""; 0], "something is in doubt there");
    fleet.registry.in_doubt("a:1", false, fleet.now);
    fleet.pass(120, &[stays]);
    assert_eq!(fleet.hub(), ["drain a:1", "remove a:1"]);
    assert_eq!(fleet.registry.len(), 1);
}

#[test]
fn a_protected_member_stays() {
    let mut fleet = Fleet::new();
    let stays = fleet.serve("e", "1", "b:1");
    fleet.serve("d", "1", "a:1");
    let id = Identity::Directory("d".into());
    fleet.registry.protect(&id, true, fleet.now);
    fleet.probed("a:1", down());
    fleet.pass(50 * 3_600, &[stays]);
    assert_eq!(fleet.state("d"), MemberState::Unknown);
    assert!(fleet.registry.forget(&id, fleet.now).is_err());
    fleet.registry.protect(&id, false, fleet.now);
    fleet.pass(120, &[stays]);
    assert_eq!(fleet.registry.len(), 1);
}

/// A port was given to another server: who registers there is the one that is there.
#[test]
fn a_port_that_is_used_again_belongs_to_who_is_there() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    let other = registration("e", "1", "a:1");
    let error = fleet.registry.register(&other, fleet.now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a:1 is the address of a:1, which is there: each server needs its own"
    );
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.probed("a:1", down());
    fleet.register("e", "1", "a:1");
    fleet.probed("a:1", up("e"));
    assert_eq!(fleet.state("e"), MemberState::Active);
    assert_eq!(fleet.directory("e").address.as_deref(), Some("a:1"));
    fleet.register("d", "2", "a:2");
    assert_eq!(fleet.addresses(), ["a:1".into(), "a:2".into()]);
    assert_eq!(fleet.registry.len(), 2);
}

/// A registered server is away, and what took its port has not registered: it gets no files.
#[test]
fn another_directory_at_a_registered_address_gets_nothing() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.hub();
    fleet.probed("a:1", up("x"));
    assert_eq!(fleet.hub(), ["drain a:1"]);
    assert_eq!(fleet.state("d"), MemberState::Late);
    fleet.probed("a:1", up("d"));
    assert_eq!(fleet.hub(), ["undrain a:1"]);
    assert_eq!(fleet.state("d"), MemberState::Active);
}

#[test]
fn a_server_that_an_operator_removed_stays_away_until_it_is_ordered_back() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    fleet.registry.ordered_away("a:1", fleet.now);
    fleet.hub();
    fleet.pass(30, &[lease]);
    let lease = fleet.register("d", "2", "a:1");
    fleet.pass(30, &[lease]);
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(fleet.state("d"), MemberState::Gone);
    let seen = fleet.registry.take_seen().pop().unwrap().1;
    assert_eq!(
        seen.reason.as_deref(),
        Some("an operator removed it: `bilico servers add a:1` takes it back")
    );
    fleet.registry.ordered("a:1", 1, fleet.now);
    fleet.carry_out();
    assert_eq!(fleet.hub(), ["add a:1"]);
}

/// Anybody could have sent it: it is shown, and changes nothing.
#[test]
fn a_claim_changes_neither_state_nor_address_nor_servers() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    fleet.hub();
    for who in [
        Identity::Directory("d".into()),
        Identity::Address("a:1".into()),
        Identity::Directory("x".into()),
        Identity::Address("x:1".into()),
        Identity::Agent("x".into()),
        Identity::Source([10, 0, 0, 1].into()),
    ] {
        let mut claim = told(who, Trust::Claimed, Source::Announced);
        claim.peer = Some([6, 6, 6, 6].into());
        claim.name = Some("forged".into());
        fleet.registry.told(&claim, fleet.now).unwrap();
        fleet.carry_out();
    }
    let member = fleet.directory("d");
    assert_eq!(
        (&*member.name, member.host.as_deref()),
        ("a:1", Some("127.0.0.1"))
    );
    assert_eq!(member.facts.cpu, None, "what it proves hides the claim");
    assert_eq!(fleet.registry.len(), 5);
    // Claims do not keep a silent server alive.
    for _ in 0..20 {
        fleet.pass(1, &[]);
        let claim = told(
            Identity::Directory("d".into()),
            Trust::Claimed,
            Source::Announced,
        );
        fleet.registry.told(&claim, fleet.now).unwrap();
    }
    assert_eq!(fleet.state("d"), MemberState::Unknown);
    assert!(fleet.beat(lease));
    assert_eq!(fleet.state("d"), MemberState::Active);
    assert_eq!(fleet.hub(), [""; 0]);
}

/// An announced address is the server that turns out to be there.
#[test]
fn an_announcement_and_a_registration_of_one_address_are_one_member() {
    let mut fleet = Fleet::new();
    let announced = told(
        Identity::Address("a:1".into()),
        Trust::Claimed,
        Source::Announced,
    );
    fleet.registry.told(&announced, fleet.now).unwrap();
    fleet.register("d", "1", "a:1");
    assert_eq!(fleet.registry.len(), 1);
    fleet.registry.told(&announced, fleet.now).unwrap();
    assert_eq!(fleet.registry.len(), 1);
    assert_eq!(fleet.directory("d").source, Source::Registered);
}

#[test]
fn members_are_found_by_identity_address_name_and_a_part_of_it() {
    let mut fleet = Fleet::new();
    for (directory, name, address) in [("d", "rome", "a:1"), ("e", "milan", "b:1")] {
        let mut registration = registration(directory, "1", address);
        registration.name = Some(name.into());
        fleet.registry.register(&registration, fleet.now).unwrap();
    }
    let d = Ok(Identity::Directory("d".into()));
    for name in ["rome", "directory:d", "a:1", "address:a:1", "ro"] {
        assert_eq!(fleet.registry.find(name), d, "{name}");
        let exactly = if name == "ro" {
            Err(super::super::NotDone::Unknown)
        } else {
            d.clone()
        };
        assert_eq!(fleet.registry.find_exactly(name), exactly, "{name}");
    }
    assert!(
        matches!(fleet.registry.find("m"), Err(super::super::NotDone::Ambiguous(found))
        if found == ["milan", "rome"])
    );
    assert_eq!(
        fleet.registry.find("paris"),
        Err(super::super::NotDone::Unknown)
    );
}

fn directory_to_be_at(fleet: &mut Fleet, address: &str) -> Option<String> {
    let actions = std::mem::take(&mut fleet.actions).into_iter().rev();
    let of = |action| match action {
        Action::Add {
            address: added,
            directory,
            ..
        } if *added == *address => directory.map(|directory| directory.to_string()),
        _ => None,
    };
    { actions }.find_map(of)
}

/// Its disk was replaced, so its directory is another one: it is another server at the same address,
/// and is to be found there.
#[test]
fn a_server_with_a_new_directory_at_its_old_address_gets_files_again() {
    for is_found_before in [true, false] {
        let mut fleet = Fleet::new();
        let lease = fleet.serve("d", "1", "a:1");
        fleet.registry.connection_lost(lease, fleet.now);
        if is_found_before {
            fleet.probed("a:1", other("x"));
            assert!(fleet.hub().contains(&"drain a:1".to_owned()));
        } else {
            fleet.probed("a:1", down());
        }
        let lease = fleet.register("x", "2", "a:1");
        assert_eq!(
            directory_to_be_at(&mut fleet, "a:1").as_deref(),
            Some("x"),
            "the hub hears whom to expect"
        );
        fleet.probed("a:1", up("x"));
        fleet.pass(10, &[lease]);
        assert_eq!(fleet.state("x"), MemberState::Active);
        let drained = fleet.hub();
        assert!(!drained.contains(&"drain a:1".to_owned()), "{drained:?}");
    }
}

/// Who answers there names no directory.
#[test]
fn a_stranger_without_a_directory_at_a_registered_address_gets_nothing() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    fleet.hub();
    fleet.probed("a:1", Probed::Other { directory: None });
    assert_eq!(fleet.hub(), ["drain a:1"]);
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.register("x", "2", "a:1");
    assert_eq!(fleet.state("x"), MemberState::Joining);
}

/// Each move is told once, with where the server is by now, and no longer once it is over.
#[test]
fn moves_are_told_however_often_a_server_moves() {
    let mut fleet = Fleet::new();
    let goes = |fleet: &mut Fleet, from: &str, to: &str| {
        fleet.probed(from, down());
        fleet.registry.in_doubt(from, true, fleet.now);
        let moved = registration("d", to, to);
        fleet.registry.register(&moved, fleet.now).unwrap();
        fleet.registry.kept(fleet.registry.version());
        while let Some(action) = fleet.registry.next_action() {
            // Something stays in doubt wherever it was.
            fleet.actions.push(action);
        }
        fleet.moves()
    };
    fleet.serve("d", "x", "x:1");
    assert_eq!(goes(&mut fleet, "x:1", "y:1"), ["x:1 to y:1"]);
    assert_eq!(goes(&mut fleet, "y:1", "z:1"), ["x:1 to z:1", "y:1 to z:1"]);
    assert_eq!(goes(&mut fleet, "z:1", "x:1"), ["y:1 to x:1", "z:1 to x:1"]);
    for settled in ["y:1", "z:1"] {
        fleet.registry.in_doubt(settled, false, fleet.now);
    }
    fleet.carry_out();
    assert_eq!(fleet.addresses(), ["x:1".into()]);
    // Another server is at one of the former addresses: that is none of this one's business.
    fleet.serve("e", "1", "y:1");
    fleet.actions.clear();
    let mut heavier = registration("d", "x:1", "x:1");
    heavier.weight = 9;
    fleet.registry.register(&heavier, fleet.now).unwrap();
    fleet.carry_out();
    assert_eq!(fleet.moves(), [""; 0]);
}

/// The balancer has no room for it: it is shown as away, can be forgotten, and is tried again.
#[test]
fn a_server_that_could_not_be_added_is_tried_again_when_there_is_room() {
    let mut fleet = Fleet::new();
    let full = |fleet: &mut Fleet| {
        let reason = "there are too many servers".into();
        fleet.registry.not_added("a:1", reason, fleet.now);
        fleet.carry_out();
        fleet.hub()
    };
    let lease = fleet.register("d", "1", "a:1");
    assert_eq!(full(&mut fleet), ["add a:1"]);
    fleet.pass(5, &[lease]);
    assert_eq!(fleet.hub(), [""; 0], "no loop");
    let member = fleet.directory("d");
    assert_eq!(member.state, MemberState::Joining);
    assert!(member.reason.unwrap().contains("too many"));
    // One of the configuration is gone.
    fleet.registry.removed("b:1", fleet.now);
    fleet.carry_out();
    assert_eq!(full(&mut fleet), ["add a:1"]);
    let lease = fleet.register("d", "1", "a:1");
    assert_eq!(full(&mut fleet), ["add a:1"]);
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.pass(30, &[]);
    let id = Identity::Directory("d".into());
    fleet.registry.forget(&id, fleet.now).unwrap();
    fleet.carry_out();
    assert!(fleet.registry.is_empty());
}

/// A server of the configuration that registered leaves: what was told before the drain may be older
/// than the last file.
#[test]
fn a_configured_server_may_go_only_when_its_drain_is_done() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("a:1", 1)], fleet.now);
    let lease = fleet.serve("d", "1", "a:1");
    fleet.registry.take_seen();
    let has_left = |fleet: &mut Fleet| {
        let seen = fleet.registry.take_seen();
        seen.iter().any(|(of, seen)| *of == lease && seen.left)
    };
    fleet.registry.leave(lease, "stop", fleet.now);
    assert!(!has_left(&mut fleet), "the hub has not been told");
    while let Some(action) = fleet.registry.next_action() {
        fleet.actions.push(action);
    }
    assert_eq!(fleet.hub(), ["drain a:1"]);
    assert!(!has_left(&mut fleet), "a file may be in flight");
    fleet.registry.in_doubt("a:1", false, fleet.now);
    assert!(has_left(&mut fleet));
}
