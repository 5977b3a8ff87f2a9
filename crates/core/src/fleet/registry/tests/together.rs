//! Many leases that end together.

use super::*;

fn seven(fleet: &mut Fleet) -> Vec<LeaseId> {
    let serve = |n: usize| fleet.serve(&format!("d{n}"), "1", &format!("a:{n}"));
    (0..7).map(serve).collect()
}

fn all_down(fleet: &mut Fleet, servers: std::ops::Range<usize>) {
    for n in servers {
        fleet.probed(&format!("a:{n}"), down());
    }
}

#[test]
fn when_most_leases_end_together_nobody_is_removed_until_three_quarters_are_back() {
    let mut fleet = Fleet::new();
    let leases = seven(&mut fleet);
    fleet.hub();
    all_down(&mut fleet, 3..7);
    fleet.pass(16, &leases[..3]);
    assert!(fleet.notices().contains(&"fleet_preserving"));
    fleet.pass(60 * 3_600, &leases[..3]);
    assert_eq!(fleet.hub(), [""; 0]);
    assert_eq!(fleet.registry.preserving(), Some((3, 7)));
    // 5 of 7 are not three quarters, 6 are.
    let mut back = leases[..3].to_vec();
    for n in 3..6 {
        assert!(fleet.registry.preserving().is_some());
        back.push(fleet.register(&format!("d{n}"), "2", &format!("a:{n}")));
        fleet.pass(5, &back);
    }
    assert_eq!(fleet.registry.preserving(), None);
    fleet.pass(120, &back);
    assert_eq!(fleet.hub(), ["drain a:6", "remove a:6"]);
}

#[test]
fn an_operator_says_who_is_gone_for_good() {
    let mut fleet = Fleet::new();
    let leases = seven(&mut fleet);
    all_down(&mut fleet, 3..7);
    fleet.pass(16, &leases[..3]);
    fleet.hub();
    for n in 3..6 {
        let id = Identity::Directory(format!("d{n}").into());
        fleet.registry.forget(&id, fleet.now).unwrap();
    }
    fleet.pass(2, &leases[..3]);
    assert_eq!(fleet.registry.preserving(), None, "3 of 4 are there");
    assert_eq!(fleet.registry.len(), 4);
    let id = Identity::Directory("d0".into());
    assert!(
        fleet.registry.forget(&id, fleet.now).is_err(),
        "it is there"
    );
}

/// Those that leave in order do not look like a network that failed.
#[test]
fn those_that_left_in_order_do_not_count() {
    let mut fleet = Fleet::new();
    let leases = seven(&mut fleet);
    for lease in &leases[3..] {
        fleet.registry.leave(*lease, "scaled in", fleet.now);
        fleet.carry_out();
        fleet.registry.connection_lost(*lease, fleet.now);
    }
    fleet.pass(120, &leases[..3]);
    assert!(!fleet.notices().contains(&"fleet_preserving"));
    assert_eq!(fleet.addresses().len(), 3);
}

#[test]
fn two_of_two_are_too_few_to_tell() {
    let mut fleet = Fleet::new();
    let leases = seven(&mut fleet);
    for lease in &leases[2..] {
        fleet.registry.leave(*lease, "stop", fleet.now);
        fleet.carry_out();
    }
    fleet.pass(120, &[]);
    assert_eq!(fleet.registry.preserving(), None);
}
