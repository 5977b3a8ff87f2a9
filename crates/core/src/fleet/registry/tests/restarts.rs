//! What outlives the balancer.

use super::super::{BadKept, KeptMember};
use super::*;

fn restart(fleet: &mut Fleet) {
    let kept = fleet.registry.keep(fleet.now);
    let text = serde_json::to_string(&kept).unwrap();
    let kept: Vec<KeptMember> = serde_json::from_str(&text).unwrap();
    // A clock that begins anew.
    fleet.now = s(3);
    fleet.registry = Registry::restore(RegistryConfig::default(), kept, fleet.now).unwrap();
    fleet.actions.clear();
}

#[test]
fn registered_servers_outlive_the_balancer_and_their_files_are_in_doubt() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.serve("e", "1", "b:1");
    restart(&mut fleet);
    assert_eq!(fleet.addresses(), ["a:1".into(), "b:1".into()]);
    assert_eq!(fleet.state("d"), MemberState::Late);
    assert_eq!(
        fleet.directory("d").reason.as_deref(),
        Some("not heard of since the balancer started")
    );
    fleet.carry_out();
    assert_eq!(fleet.hub(), ["add a:1", "add b:1"]);
    fleet.pass(16, &[]);
    assert_eq!(fleet.state("d"), MemberState::Unknown);
    fleet.serve("d", "2", "a:1");
    assert_eq!(fleet.state("d"), MemberState::Active);
}

/// What the hub was asked to do, moves included.
fn hub_and_moves(fleet: &mut Fleet) -> Vec<String> {
    let actions = std::mem::take(&mut fleet.actions);
    let mut short = Vec::new();
    for action in actions {
        fleet.actions.push(action.clone());
        let moves = fleet.moves();
        fleet.actions.push(action);
        short.extend(moves.into_iter().chain(fleet.hub()));
    }
    short
}

#[test]
fn a_move_and_a_leave_that_were_not_settled_go_on_after_a_restart() {
    let mut fleet = Fleet::new();
    let lease = fleet.serve("d", "1", "a:1");
    let leaves = fleet.serve("e", "1", "b:1");
    fleet.registry.connection_lost(lease, fleet.now);
    fleet.probed("a:1", down());
    fleet.registry.in_doubt("a:1", true, fleet.now);
    let moved = registration("d", "2", "a:2");
    fleet.registry.register(&moved, fleet.now).unwrap();
    fleet.registry.leave(leaves, "stop", fleet.now);
    restart(&mut fleet);
    let all = ["a:1", "a:2", "b:1"].map(Arc::from);
    assert_eq!(fleet.addresses(), all, "all are asked for their files");
    fleet.carry_out();
    assert_eq!(
        hub_and_moves(&mut fleet),
        [
            "add a:1",
            "drain a:1",
            "a:1 to a:2",
            "add a:2",
            "remove a:1",
            "add b:1",
            "drain b:1",
            "remove b:1"
        ]
    );
    assert_eq!(fleet.addresses(), ["a:2".into()]);
    assert_eq!(fleet.state("e"), MemberState::Gone);
}

/// A balancer that is started anew each day forgets members all the same.
#[test]
fn silence_is_counted_over_restarts() {
    let mut fleet = Fleet::new();
    let stays = fleet.serve("e", "1", "b:1");
    fleet.serve("d", "1", "a:1");
    fleet.pass(13 * 3_600, &[stays]);
    restart(&mut fleet);
    fleet.carry_out();
    let stays = fleet.serve("e", "1", "b:1");
    fleet.probed("a:1", down());
    fleet.registry.in_doubt("a:1", false, fleet.now);
    fleet.pass(12 * 3_600, &[stays]);
    assert_eq!(fleet.registry.len(), 1);
}

#[test]
fn agents_protection_and_what_an_operator_removed_outlive_the_balancer() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.registry.ordered_away("a:1", fleet.now);
    let mut agent = told(
        Identity::Agent("host-a".into()),
        Trust::Proved,
        Source::Token,
    );
    agent.name = Some("host-a".into());
    fleet.registry.told(&agent, fleet.now).unwrap();
    fleet.registry.protect(&agent.who, true, fleet.now);
    restart(&mut fleet);
    let member = fleet.registry.report(&agent.who, fleet.now).unwrap();
    assert!(member.protected && member.state == MemberState::Unknown);
    assert_eq!(&*member.name, "host-a");
    fleet.register("d", "2", "a:1");
    assert_eq!(fleet.hub(), [""; 0]);
}

#[test]
fn kept_members_that_contradict_each_other_are_refused() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    let kept = fleet.registry.keep(fleet.now);
    let config = RegistryConfig::default();
    let twice = [kept.clone(), kept.clone()].concat();
    assert!(matches!(
        Registry::restore(config, twice, s(1)),
        Err(BadKept::Twice(_))
    ));
    let many = vec![kept[0].clone(); 10_001];
    assert!(matches!(
        Registry::restore(config, many, s(1)),
        Err(BadKept::TooMany(10_001))
    ));
}

/// What anybody could have said made a proved member active, after the balancer had started again.
#[test]
fn a_claim_decides_nothing_about_a_member_that_was_known_better_before_a_restart() {
    let mut fleet = Fleet::new();
    let who = Identity::Agent("host-a".into());
    let proved = told(who.clone(), Trust::Proved, Source::Token);
    fleet.registry.told(&proved, fleet.now).unwrap();
    restart(&mut fleet);
    let mut claim = told(who.clone(), Trust::Claimed, Source::Announced);
    claim.name = Some("forged".into());
    for _ in 0..10 {
        fleet.pass(5, &[]);
        assert_eq!(fleet.registry.told(&claim, fleet.now), Ok(None));
    }
    let member = fleet.registry.report(&who, fleet.now).unwrap();
    assert_eq!(
        (member.state, &*member.name),
        (MemberState::Unknown, "host-a")
    );
    assert_eq!(member.heard_s, None);
    // It is proved after the next restart, too.
    restart(&mut fleet);
    assert_eq!(fleet.registry.told(&claim, fleet.now), Ok(None));
    fleet.registry.told(&proved, fleet.now).unwrap();
    let member = fleet.registry.report(&who, fleet.now).unwrap();
    assert_eq!(member.state, MemberState::Active);
}

/// They were forgotten at the first look, for they had said nothing yet.
#[test]
fn claims_that_were_kept_are_members_after_a_restart() {
    let mut fleet = Fleet::new();
    let who = Identity::Address("a:1".into());
    let claim = told(who.clone(), Trust::Claimed, Source::Announced);
    for _ in 0..3 {
        fleet.registry.told(&claim, fleet.now).unwrap();
        fleet.pass(5, &[]);
    }
    restart(&mut fleet);
    fleet.pass(3_600, &[]);
    let member = fleet.registry.report(&who, fleet.now).unwrap();
    assert_eq!(member.state, MemberState::Unknown);
    fleet.pass(24 * 3_600, &[]);
    assert!(fleet.registry.is_empty());
    assert_eq!(fleet.notices(), [""; 0], "anybody can make members up");
}

/// The balancer is started again and again, each time before anything is known of the member.
#[test]
fn silence_goes_on_while_a_member_is_late_after_a_restart() {
    let mut fleet = Fleet::new();
    let stays = fleet.serve("e", "1", "b:1");
    fleet.serve("d", "1", "a:1");
    fleet.pass(23 * 3_600, &[stays]);
    for _ in 0..3 {
        restart(&mut fleet);
        assert_eq!(fleet.state("d"), MemberState::Late);
        fleet.pass(5, &[]);
    }
    fleet.carry_out();
    let stays = fleet.serve("e", "1", "b:1");
    fleet.probed("a:1", down());
    fleet.registry.in_doubt("a:1", false, fleet.now);
    fleet.pass(2 * 3_600, &[stays]);
    assert_eq!(fleet.registry.len(), 1);
}

#[test]
fn impossible_times_in_the_file_break_nothing() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.pass(60, &[]);
    let kept = fleet.registry.keep(fleet.now);
    let text = serde_json::to_string(&kept).unwrap();
    let most = u64::MAX;
    let text = text
        .replace("\"lasts_ms\":15000", &format!("\"lasts_ms\":{most}"))
        .replace("\"silent_s\":", "\"silent_s\":1844674407370955");
    assert!(text.contains(&most.to_string()));
    let kept: Vec<KeptMember> = serde_json::from_str(&text).unwrap();
    let config = RegistryConfig {
        forget_after: Some(Duration::MAX),
        ..RegistryConfig::default()
    };
    fleet.registry = Registry::restore(config, kept, fleet.now).unwrap();
    fleet.pass(2 * 3_600, &[]);
    assert_eq!(fleet.state("d"), MemberState::Unknown);
    fleet.registry.keep(fleet.now);
}

/// A reload comes between the registration and its disk: the balancer has dropped the server.
#[test]
fn a_server_that_a_reload_dropped_too_soon_is_added() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("a:0", 1)], fleet.now);
    fleet.probed("a:0", up("d"));
    let registration = registration("d", "1", "a:0");
    fleet
        .registry
        .register(&registration, fleet.now)
        .expect("it may");
    fleet.registry.configured([], fleet.now);
    assert_eq!(fleet.addresses(), [""; 0].map(Arc::from));
    fleet.registry.dropped("a:0", fleet.now);
    fleet.carry_out();
    assert_eq!(fleet.hub(), ["add a:0"]);
    fleet.probed("a:0", up("d"));
    assert_eq!(fleet.state("d"), MemberState::Active);
}

/// The balancer does not have it: of a move it can be told only when it has.
#[test]
fn no_move_is_told_of_a_server_that_a_reload_dropped() {
    let mut fleet = Fleet::new();
    fleet.registry.configured([("b:9", 1)], fleet.now);
    fleet.probed("b:9", up("d"));
    let first = registration("d", "1", "b:9");
    let lease = fleet.registry.register(&first, fleet.now).unwrap().lease;
    fleet.registry.configured([], fleet.now);
    fleet.registry.dropped("b:9", fleet.now);
    fleet.registry.leave(lease, "stop", fleet.now);
    fleet.actions.clear();
    fleet.register("d", "2", "a:5");
    let is_about = |action: &Action| match action {
        Action::Add { address, .. } => **address == *"b:9",
        Action::Moved { from, .. } => **from == *"b:9",
        _ => false,
    };
    let first = fleet.actions.iter().find(|action| is_about(action));
    assert!(!matches!(first, Some(Action::Moved { .. })), "{first:?}");
}

/// The driver expects this directory already, and has told how it is found: it is to tell again.
#[test]
fn an_address_that_was_anothers_for_a_moment_is_probed_again() {
    let mut fleet = Fleet::new();
    fleet.serve("d", "1", "a:1");
    fleet.probed("a:1", down());
    fleet.hub();
    let other = registration("e", "2", "a:1");
    let other = fleet.registry.register(&other, fleet.now).unwrap().lease;
    fleet.registry.leave(other, "stop", fleet.now);
    fleet.registry.connection_lost(other, fleet.now);
    fleet.register("d", "3", "a:1");
    assert_eq!(fleet.hub(), ["add a:1"]);
}
