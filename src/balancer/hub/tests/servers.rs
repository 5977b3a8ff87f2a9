//! Servers at the other ends of the hub's links.

use std::time::Duration;

use super::world::World;
use crate::balancer::BalancerError;
use crate::balancer::dispatch::{LinkEvent, LinkId};
use crate::balancer::dispatch::{Probed, Speaker, Who};
use crate::balancer::messages::{ToHub, ToServer};
use crate::protocol::lists::StoredFile;
use crate::protocol::status::Dialect;
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::FileBody;
use crate::schedule::Slot;

impl World {
    pub(super) fn slot(&self, name: &str) -> Slot {
        self.hub.files.dispatcher.slot_of(name).unwrap()
    }

    /// The server's present link, as its reports name it.
    pub(super) fn epoch(&self, name: &str) -> u64 {
        let slot = self.slot(name);
        self.beside.links.lock().unwrap()[&slot].epoch
    }

    pub(super) fn answer_probe(&mut self, name: &str) {
        let slot = self.slot(name);
        let generation = self.beside.generations.lock().unwrap()[&slot];
        let who = Who {
            speaker: self.speaker(name),
            ..Who::default()
        };
        let probed = Probed::Answered {
            overloaded: false,
            dialect: Dialect::Native,
            memory: None,
            who,
        };
        let took = Duration::from_millis(1);
        self.step([ToHub::Probed {
            slot,
            generation,
            probed,
            took,
        }]);
    }

    pub(super) fn fail_probes(&mut self, name: &str) {
        let slot = self.slot(name);
        let generation = self.beside.generations.lock().unwrap()[&slot];
        for _ in 0..5 {
            let probed = Probed::Failed("refused".to_owned());
            self.step([ToHub::Probed {
                slot,
                generation,
                probed,
                took: Duration::ZERO,
            }]);
        }
    }

    fn speaker(&self, name: &str) -> Speaker {
        let identity = &self.servers[name].identity;
        Speaker {
            identity: Some(identity.as_str().into()),
            instance: Some(format!("process of {name}").into()),
        }
    }

    /// The server answers a probe, and its link opens with the list of what it holds.
    pub(super) fn bring_up(&mut self, name: &str) {
        // A link that was closed is not opened again at once.
        self.now += Duration::from_secs(10);
        self.answer_probe(name);
        let server = &self.servers[name];
        let holding = server.unconfirmed.iter();
        let holding = holding.map(|number| server.copies[number]).collect();
        let seen = server.seen;
        self.try_open_link(name, holding, seen).unwrap();
    }

    /// The server's link opens with this list.
    pub(super) fn try_open_link(
        &mut self,
        name: &str,
        holding: Vec<StoredFile>,
        seen: u64,
    ) -> Result<(), BalancerError> {
        let opened = LinkEvent::Opened {
            speaker: self.speaker(name),
            holding: Some(holding),
            seen: Some(seen),
        };
        let message = self.link_message(name, opened);
        self.try_step([message])
    }

    fn link_message(&self, name: &str, event: LinkEvent) -> ToHub {
        ToHub::Link {
            link: LinkId {
                slot: self.slot(name),
                epoch: self.epoch(name),
            },
            event,
        }
    }

    /// The server's link reports something.
    pub(super) fn report(&mut self, name: &str, event: LinkEvent) {
        let message = self.link_message(name, event);
        self.step([message]);
    }

    pub(super) fn cut_link(&mut self, name: &str) {
        self.report(name, LinkEvent::Closed("cut".to_owned()));
    }

    /// The numbers of the files that the server was sent and has not answered.
    pub(super) fn unanswered(&self, name: &str) -> Vec<u64> {
        let number = |message: &ToServer| match message {
            ToServer::Parcel(parcel) => Some(parcel.number),
            ToServer::Ahead(_) | ToServer::Confirm(_) | ToServer::Drop(..) => None,
        };
        self.servers[name].inbox.iter().filter_map(number).collect()
    }

    /// The server does what it was told: stores files, forgets and removes them. It acknowledges
    /// files only if `acknowledges`. Gives what it was told, in short words.
    pub(super) fn serve_as(&mut self, name: &str, acknowledges: bool) -> Vec<String> {
        let mut did = Vec::new();
        while let Some(message) = self.servers.get_mut(name).unwrap().inbox.pop_front() {
            let server = self.servers.get_mut(name).unwrap();
            match message {
                ToServer::Parcel(parcel) => {
                    let number = parcel.number;
                    let content = match parcel.content {
                        FileBody::Memory(bytes, _) => bytes,
                        FileBody::Journal(location) => location.read(parcel.meta.crc32c).unwrap(),
                        FileBody::Own(_) => self.contents[&*parcel.meta.title].clone().into(),
                    };
                    assert_eq!(content, self.contents[&*parcel.meta.title], "{number}");
                    let held = StoredFile(number, parcel.meta.size, parcel.meta.crc32c);
                    server.copies.insert(number, held);
                    server.unconfirmed.insert(number);
                    server.seen = server.seen.max(number);
                    *server.sent.entry(number).or_default() += 1;
                    did.push(format!("store {number}"));
                    if acknowledges {
                        let stored = LinkEvent::Stored {
                            numbers: vec![number],
                            confirmed: true,
                        };
                        self.report(name, stored);
                    }
                }
                ToServer::Ahead(_) => did.push("take ahead".to_owned()),
                ToServer::Confirm(numbers) => {
                    server
                        .unconfirmed
                        .retain(|number| !numbers.contains(number));
                    did.push(format!("confirm {numbers:?}"));
                }
                ToServer::Drop(number, expected) => {
                    let StoredFile(_, size, crc32c) = server.copies[&number];
                    assert_eq!((expected.size, expected.crc32c), (size, crc32c));
                    server.copies.remove(&number);
                    server.unconfirmed.remove(&number);
                    did.push(format!("remove {number}"));
                    self.report(name, LinkEvent::Dropped { number });
                }
            }
        }
        did
    }

    pub(super) fn serve(&mut self, name: &str) -> Vec<String> {
        self.serve_as(name, true)
    }

    /// The server refuses the file for good.
    pub(super) fn reject(&mut self, name: &str, number: u64) {
        let server = self.servers.get_mut(name).unwrap();
        server.inbox.retain(
            |message| !matches!(message, ToServer::Parcel(parcel) if parcel.number == number),
        );
        let refusal = Refusal::new(RefusalCode::TooLarge, "too large here");
        self.report(name, LinkEvent::NotStored { number, refusal });
    }
}
