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
