//! Two servers with one identity, and one server with two addresses.

use super::*;

#[test]
fn two_live_servers_with_one_directory_are_told_apart_and_the_first_one_counts() {
    let mut fleet = Fleet::new();
    let first = fleet.serve("d", "1", "a:1");
    fleet.hub();
    let second = fleet.register("d", "2", "b:1");
    assert_eq!(fleet.directory("d").notes.len(), 1);
    for _ in 0..20 {
        fleet.pass(5, &[second, first]);
    }
    assert_eq!(fleet.addresses(), ["a:1".into()], "nothing flips");
    assert_eq!(
        fleet.directory("d").notes,
        [
            "b:1 has the same directory, and is there, too: one is a copy. b:1 gets no files. Stop one \
          of them"
        ]
    );
    assert_eq!(fleet.notices(), ["member_copied"], "told once");
    let seen = fleet.registry.take_seen();
    let told = seen.iter().rfind(|(lease, _)| *lease == second).unwrap();
    assert!(!told.1.good && told.1.reason.as_ref().unwrap().contains("is a copy"));

    // Trouble with registrations takes no server away: probes find it.
    fleet.registry.connection_lost(first, fleet.now);
    fleet.pass(60, &[second]);
    let third = fleet.register("d", "3", "c:1");
    fleet.pass(60, &[third]);
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(fleet.addresses(), ["a:1".into()]);
    let second = fleet.register("d", "2", "b:1");
    // It ends: the other is all there is.
    fleet.probed("a:1", down());
    assert_eq!(fleet.hub(), ["drain a:1", "add b:1", "remove a:1"]);
    fleet.probed("b:1", up("d"));
    fleet.pass(10, &[second]);
    assert_eq!(fleet.state("d"), MemberState::Active);
    assert_eq!(fleet.directory("d").notes, [""; 0]);
}

/// The host of the first one lost its power: its connection is never closed, and the balancer was
/// started again, so that no probe has said anything yet.
#[test]
fn a_moved_server_whose_old_connection_hangs_takes_over_when_the_lease_ends() {
    let mut fleet = Fleet::new();
    fleet.register("d", "1", "a:1");
    fleet.hub();
    let second = fleet.register("d", "2", "b:1");
    assert_eq!(fleet.hub(), [""; 0]);
    fleet.pass(16, &[second]);
    assert_eq!(fleet.hub(), ["drain a:1", "add b:1", "remove a:1"]);
    assert_eq!(fleet.registry.len(), 1);
}

/// The same, and probes know it before the lease ends.
#[test]
fn a_moved_server_takes_over_as_soon_as_probes_lose_the_old_one() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.hub();
    let second = fleet.register("d", "2", "b:1");
    fleet.pass(30, &[second]);
    assert_eq!(fleet.hub(), [""; 0], "it is found there");
    fleet.probed("a:1", down());
    assert_eq!(fleet.hub(), ["drain a:1", "add b:1", "remove a:1"]);
    assert_eq!(fleet.registry.len(), 1);
}

/// Probes know it before it registers.
#[test]
fn a_moved_server_takes_over_at_once_when_probes_do_not_find_the_old_one() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.probed("a:1", down());
    fleet.hub();
    fleet.register("d", "2", "b:1");
    assert_eq!(fleet.hub(), ["drain a:1", "add b:1", "remove a:1"]);
}

#[test]
fn one_process_with_two_addresses_stays_at_the_first_while_it_is_found_there() {
    let mut fleet = Fleet::new();
    let first = fleet.serve("d", "1", "a:1");
    fleet.hub();
    let second = fleet.register("d", "1", "b:1");
    assert!(
        !fleet.beat(first),
        "the connection that came later is its connection"
    );
    fleet.pass(30, &[second]);
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(
        fleet.directory("d").notes,
        ["it has registered as b:1, too, from the same process"]
    );
    fleet.probed("a:1", down());
    assert_eq!(fleet.hub(), ["drain a:1", "add b:1", "remove a:1"]);
    fleet.probed("b:1", up("d"));
    assert_eq!(fleet.state("d"), MemberState::Active);
}

/// A copy of another directory answers at the configured address of a server that has moved.
#[test]
fn a_copy_at_its_configured_address_keeps_no_server_away() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("a:0", 1)], fleet.now);
    fleet.probed("a:0", up("d"));
    fleet.serve("e", "1", "a:1");
    fleet.hub();
    fleet.probed(
        "a:0",
        Probed::Second {
            directory: Some("e".into()),
            reason: "a:1 speaks for its directory".into(),
        },
    );
    fleet.serve("d", "2", "a:2");
    assert_eq!(fleet.hub(), ["add a:2"]);
    let member = fleet.directory("d");
    assert_eq!(
        (member.address.as_deref(), member.state),
        (Some("a:2"), MemberState::Active)
    );
    // Its own server is there again: the configuration's address counts.
    fleet.probed("a:2", down());
    fleet.probed("a:0", up("d"));
    assert_eq!(fleet.hub(), ["drain a:2", "remove a:2"]);
    assert_eq!(fleet.directory("d").address.as_deref(), Some("a:0"));
}

/// It is known of, whatever keeps it from getting files.
#[test]
fn an_overloaded_server_is_known_by_its_directory() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("a:0", 1)], fleet.now);
    fleet.probed(
        "a:0",
        Probed::Unfit {
            directory: Some("d".into()),
            reason: "it is overloaded".into(),
        },
    );
    fleet.serve("d", "1", "a:1");
    assert_eq!(fleet.hub(), [""; 0], "it is configured as a:0");
    assert_eq!(fleet.registry.len(), 1);
}

/// It died unseen while the first one was there, and another server has its address by now.
#[test]
fn a_second_server_takes_no_address_that_another_has() {
    let mut fleet = Fleet::new();
    let first = fleet.serve("d", "1", "a:1");
    let second = fleet.register("d", "2", "b:1");
    let third = fleet.serve("e", "3", "b:1");
    fleet.hub();
    fleet.registry.leave(first, "stop", fleet.now);
    fleet.probed("a:1", down());
    fleet.pass(3, &[second, third]);
    assert_eq!(fleet.hub(), ["drain a:1", "remove a:1"]);
    assert_eq!(fleet.directory("e").address.as_deref(), Some("b:1"));
    assert!(!fleet.beat(second), "it hears when it registers again");
}

/// A third one takes the place of the second one in the queue, not that of the first.
#[test]
fn however_many_register_with_one_directory_one_has_it() {
    let mut fleet = Fleet::new();
    let first = fleet.serve("d", "1", "a:1");
    fleet.hub();
    for copy in 2..50 {
        fleet.register("d", &format!("{copy}"), &format!("b:{copy}"));
    }
    fleet.pass(60, &[first]);
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(fleet.registry.len(), 1);
    assert_eq!(fleet.directory("d").notes, [""; 0]);
}
