//! Probes, and links that open, close and fall silent.

use super::world::{World, at, stored};
use crate::balancer::dispatch::{LinkEvent, Speaker, Who, Window};
use crate::protocol::status::{Dialect, ServerState};

#[test]
fn a_cut_link_sends_its_files_elsewhere_at_once_and_asks_for_a_probe() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(10);
    world.store(slots[0], 1);
    world.cut(slots[0]);
    assert_eq!(world.sent(slots[1]).len(), 9);
    assert_eq!(world.probes, 1);
    assert!(!world.subject.status(at(0), world.now).servers[0].eligible);

    world.answer_probe(slots[0], false, Some(Dialect::Native));
    assert!(
        world.opening.is_empty(),
        "a link that has just failed is not opened again at once"
    );
    world.step(100);
    world.open_links();
    world.accept(10);
    assert_eq!(world.sent(slots[0]).len(), 5);
}

#[test]
fn acks_of_an_older_link_count_for_nothing() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(1);
    let (epoch, _) = world.links[&slots[0]];
    world.cut(slots[0]);
    world.tell(slots[0], epoch, stored(1));
    world.step(0);
    assert!(world.delivered.is_empty());
    assert_eq!(world.subject.undelivered(), 1);
}

#[test]
fn an_ack_for_a_file_that_was_never_sent_counts_for_nothing() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    let (epoch, _) = world.links[&slots[1]];
    world.tell(slots[1], epoch, stored(world.sent(slots[0])[0]));
    world.tell(slots[1], epoch, stored(99));
    world.step(0);
    assert!(world.delivered.is_empty());
}

/// It was sent a whole window of files again as soon as it had answered a probe.
#[test]
fn a_silent_server_is_left_alone_for_longer_each_time_and_tried_with_one_file() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    let mut waits = Vec::new();
    for round in 0..6 {
        world.accept(20);
        assert_eq!(world.sent(slots[0]).len(), if round == 0 { 10 } else { 1 });
        let (epoch, _) = world.links[&slots[0]];
        world.tell(
            slots[0],
            epoch,
            LinkEvent::Silent("acknowledged nothing".to_owned()),
        );
        world.step(0);
        world.store_all(slots[1]);
        world.answer_probe(slots[0], false, None);
        assert!(world.is_paused(0));
        let before = world.now;
        while world.opening.is_empty() {
            world.step(1000);
        }
        waits.push(world.now.saturating_sub(before).as_secs());
        world.open_links();
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    world.accept(2);
    world.store_all(slots[0]);
    world.accept(20);
    assert!(world.sent(slots[0]).len() > 5, "it works again");
}

/// Who answers at this port, from a directory and a process of these names.
fn who(identity: &str, instance: &str, port: u16) -> Who {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let (identity, instance) = (Some(identity.into()), Some(instance.into()));
    Who {
        speaker: Speaker { identity, instance },
        address: Some(address),
        named: vec![address],
    }
}

/// Each link of the two ended the other, for ever.
#[test]
fn a_second_name_of_a_server_gets_no_link_and_says_why_until_it_is_the_only_one() {
    let mut world = World::new(Window::default());
    let (one, two) = (world.add(1), world.add(1));
    world.bring_up(one, Dialect::Native);
    for _ in 0..10 {
        world.subject.identified(
            two,
            Err("it is one under another name".to_owned()),
            world.now,
        );
        world.answer_probe(two, false, Some(Dialect::Native));
        world.answer_probe(one, false, None);
        world.open_links();
        world.accept(1);
    }
    assert_eq!((world.sent(one).len(), world.links.len()), (10, 1));
    let report = world.subject.status(at(0), world.now).servers[1].clone();
    assert_eq!(report.state, ServerState::Paused);
    assert!(
        report
            .reason
            .as_deref()
            .unwrap()
            .contains("under another name"),
        "{report:?}"
    );
    // When the first name leads nowhere any more, the second is as good.
    world.cut(one);
    world.subject.identified(two, Ok(()), world.now);
    world.answer_probe(two, false, None);
    world.open_links();
    assert_eq!(world.sent(two).len(), 10);
}

/// The link stayed with the old address for ever, while probes looked at the new one.
#[test]
fn a_link_follows_its_name_once_nothing_is_in_flight() {
    for (identity, reason) in [
        ("d", "the server has moved"),
        ("e", "the name leads to another server now"),
    ] {
        let mut world = World::new(Window::default());
        let slot = world.add(1);
        world.who.insert(slot, who("d", "i", 1));
        world.bring_up(slot, Dialect::Native);
        world.accept(1);
        let first = world.links[&slot].0;
        world.who.insert(slot, who(identity, "j", 2));
        world.answer_probe(slot, false, None);
        world.accept(1);
        assert_eq!(world.sent(slot), [1], "it gets nothing new");
        let report = world.subject.status(at(0), world.now).servers[0].clone();
        let said = report.reason.unwrap();
        assert!(
            said.contains(reason) && said.contains("127.0.0.1:1 to 127.0.0.1:2"),
            "{said}"
        );
        world.store(slot, 1);
        world.answer_probe(slot, false, None);
        world.open_links();
        assert_eq!(
            (world.sent(slot), world.links[&slot].0 > first),
            (vec![2], true)
        );
        assert_eq!(
            world.subject.status(at(0), world.now).servers[0].returned,
            0
        );

        // A name that led elsewhere for a moment changes nothing.
        world.who.insert(slot, who("f", "k", 3));
        world.answer_probe(slot, false, None);
        world.who.insert(slot, who(identity, "j", 2));
        world.answer_probe(slot, false, None);
        world.accept(1);
        assert_eq!(world.sent(slot), [2, 3]);
    }
}

#[test]
fn a_server_that_speaks_another_language_now_gets_a_new_link() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(2);
    let (first, _) = world.links[&slots[0]];
    world.bring_up(slots[0], Dialect::OldStyle);
    assert_ne!(world.links[&slots[0]].0, first);
    assert_eq!(world.sent(slots[0]), [1, 2]);
}

#[test]
fn two_failed_probes_bring_a_server_down_with_its_link() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    for _ in 0..2 {
        world.fail_probe(slots[0]);
        world.step(1000);
    }
    assert_eq!(world.sent(slots[1]).len(), 2);
    let report = world.subject.status(at(0), world.now);
    assert_eq!(
        report.servers[0].reason.as_deref(),
        Some("connection: no answer")
    );
    assert_eq!(
        (report.servers[0].returned, report.servers[1].in_flight),
        (1, 2)
    );
}
