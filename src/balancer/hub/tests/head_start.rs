//! Large files that go to a server while they still come in.

use super::peers::{File, unnamed};
use super::world::World;
use crate::balancer::dispatch::LinkEvent;
use crate::balancer::head_start::{Ahead, HeadStart};
use crate::balancer::messages::{Arrived, Parcel, ToHub, ToServer};
use crate::queue::content;

const CONTENT: &[u8] = b"large";

impl World {
    /// One server that takes files ahead.
    fn taking_ahead() -> Self {
        let mut world = Self::up(&["a"]);
        world.report("a", LinkEvent::TakesAhead);
        world
    }

    /// An upload begins that is fast; the link has it if the hub wants it to go ahead.
    fn comes_in(&mut self, id: u64) -> (HeadStart, Option<Ahead>) {
        let file = self.hub.deps.disk.create(&content::name(id)).unwrap();
        let (head_start, ahead) = HeadStart::new(file, CONTENT.len() as u64, 1);
        self.step([ToHub::HeadStart(ahead)]);
        let inbox = &mut self.servers.get_mut("a").unwrap().inbox;
        let ahead = inbox.pop_front().map(|message| match message {
            ToServer::Ahead(ahead) => ahead,
            other => panic!("{other:?}"),
        });
        (head_start, ahead)
    }

    fn parcel(&self) -> &Parcel {
        match self.servers["a"].inbox.front() {
            Some(ToServer::Parcel(parcel)) => parcel,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_went_ahead_is_sent_with_its_ticket_once_it_is_accepted() {
    let mut world = World::taking_ahead();
    let client = world.client();
    let (head_start, ahead) = world.comes_in(1);
    let (ticket, ahead) = (head_start.ticket(), ahead.unwrap());
    assert_eq!(ahead.ticket, ticket);
    let content = (Arrived::Own(1), Some(head_start));
    world.send_with(client, 1, unnamed(CONTENT), content);
    assert_eq!(
        world.unanswered("a"),
        [0; 0],
        "nothing is sent before the commit"
    );
    world.commit();
    let parcel = world.parcel();
    assert_eq!((parcel.number, parcel.ahead), (1, Some(ticket)));
    assert!(ahead.written.has_changed().is_ok());
    world.settle();
    assert!(ahead.written.has_changed().is_err(), "it is over");
    assert_eq!(world.told(client), ["1: accepted 1", "1: delivered 1 by a"]);
}

#[test]
fn a_server_that_takes_nothing_ahead_is_sent_nothing_ahead() {
    let mut world = World::up(&["a"]);
    let (head_start, ahead) = world.comes_in(1);
    assert!(ahead.is_none());
    let client = world.client();
    let content = (Arrived::Own(1), Some(head_start));
    world.send_with(client, 1, unnamed(CONTENT), content);
    world.settle();
    assert_eq!(world.told(client), ["1: accepted 1", "1: delivered 1 by a"]);
}

/// Its content is not needed.
#[test]
fn a_file_that_came_before_ends_the_head_start_of_the_second() {
    let mut world = World::taking_ahead();
    let client = world.client();
    let file = || File {
        key: Some("k"),
        content: CONTENT,
    };
    world.send_as(client, 1, file(), Arrived::Own(1));
    world.settle();
    world.told(client);
    let (head_start, ahead) = world.comes_in(2);
    let content = (Arrived::Own(2), Some(head_start));
    world.send_with(client, 2, file(), content);
    assert!(ahead.unwrap().written.has_changed().is_err());
    world.settle();
    assert_eq!(world.told(client), ["2: accepted 1", "2: delivered 1 by a"]);
    assert_eq!(world.servers["a"].sent[&1], 1);
}
