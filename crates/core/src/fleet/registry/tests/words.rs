//! What is told of the hosts of servers, and whose it is.

use super::*;

fn measure(fleet: &mut Fleet, address: &str, directory: Option<&str>) -> Option<Identity> {
    let who = Identity::Address(address.into());
    let told = told(who, Trust::Measured, Source::Configuration);
    let taken = fleet.registry.measured(&told, directory, fleet.now);
    fleet.carry_out();
    taken
}

/// Whoever answers at one server's address cannot speak for another one's host by naming its
/// directory, before or after the hub has looked at them.
#[test]
fn nobody_speaks_for_the_host_of_another_server() {
    let mut fleet = Fleet::new();
    let configured = [("b:1", 1), ("c:1", 1)];
    fleet.registry.configured(configured, fleet.now);
    fleet.serve("d", "1", "a:1");
    let d = Some(Identity::Directory("d".into()));
    assert_eq!(measure(&mut fleet, "a:1", Some("d")), d);
    // A copy, of which the hub has not told yet, and then that it gets no files.
    let address = Some(Identity::Address("b:1".into()));
    assert_eq!(measure(&mut fleet, "b:1", Some("d")), address);
    let reason = "its directory is a copy".into();
    let directory = Some("d".into());
    fleet.probed("b:1", Probed::Second { directory, reason });
    assert_eq!(measure(&mut fleet, "b:1", Some("d")), address);
    // A stranger where a server has registered.
    for directory in [Some("x"), None] {
        assert_eq!(measure(&mut fleet, "a:1", directory), None);
        fleet.probed("a:1", Probed::Other { directory: None });
        assert_eq!(measure(&mut fleet, "a:1", directory), None);
        fleet.probed("a:1", up("d"));
    }
    // The configured address has a directory that is known, then another one.
    fleet.probed("c:1", up("x"));
    let x = Some(Identity::Directory("x".into()));
    assert_eq!(measure(&mut fleet, "c:1", Some("x")), x);
    assert_eq!(measure(&mut fleet, "c:1", None), x, "it cannot say");
    assert_eq!(measure(&mut fleet, "c:1", Some("d")), None);
    fleet.probed("c:1", up("y"));
    let y = Some(Identity::Directory("y".into()));
    assert_eq!(measure(&mut fleet, "c:1", Some("y")), y);
}

/// It was removed by an order, and is probed until nothing is in flight to it.
#[test]
fn a_server_that_was_removed_is_no_member_again_by_its_figures() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("a:1", 1)], fleet.now);
    fleet.probed("a:1", up("d"));
    fleet.registry.ordered_away("a:1", fleet.now);
    assert_eq!(measure(&mut fleet, "a:1", Some("d")), None);
    assert!(fleet.registry.is_empty());
}

/// Both beat, and the history is of the first one alone.
#[test]
fn the_second_server_with_a_directory_speaks_for_nobody() {
    let mut fleet = Fleet::new();
    let first = fleet.serve("d", "1", "a:1");
    let second = fleet.register("d", "2", "b:1");
    let d = Identity::Directory("d".into());
    assert_eq!(fleet.registry.speaks_for(first), Some(&d));
    assert_eq!(fleet.registry.speaks_for(second), None);
    fleet.registry.connection_lost(first, fleet.now);
    fleet.probed("a:1", down());
    assert_eq!(fleet.registry.speaks_for(second), Some(&d));
}
