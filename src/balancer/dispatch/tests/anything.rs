//! Random steps: whatever happens, every file is delivered once.

use proptest::prelude::*;

use super::world::World;
use crate::balancer::dispatch::Window;
use crate::protocol::RefusalCode;

#[derive(Debug, Clone)]
enum Step {
    Accept(usize),
    Pass(u64),
    StoreAll(usize),
    StoreOne(usize),
    Refuse(usize, bool),
    Cut(usize),
    ProbeOk(usize, bool),
    ProbeFailed(usize),
    OpenLinks,
    Weight(usize, u32),
    Drain(usize, bool),
    Leave(usize, bool),
    Reserve,
    EndHeadStart(u64),
    AcceptAhead(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..20).prop_map(Step::Accept),
        3 => (0u64..2000).prop_map(Step::Pass),
        3 => (0usize..4).prop_map(Step::StoreAll),
        3 => (0usize..4).prop_map(Step::StoreOne),
        2 => (0usize..4, any::<bool>()).prop_map(|(server, wide)| Step::Refuse(server, wide)),
        2 => (0usize..4).prop_map(Step::Cut),
        4 => (0usize..4, prop::bool::weighted(0.2))
            .prop_map(|(server, byte)| Step::ProbeOk(server, byte)),
        2 => (0usize..4).prop_map(Step::ProbeFailed),
        3 => Just(Step::OpenLinks),
        2 => (0usize..4, 0u32..9).prop_map(|(server, weight)| Step::Weight(server, weight)),
        2 => (0usize..4, any::<bool>()).prop_map(|(server, drained)| Step::Drain(server, drained)),
        1 => (0usize..4, any::<bool>()).prop_map(|(server, leaves)| Step::Leave(server, leaves)),
        3 => Just(Step::Reserve),
        1 => (0u64..8).prop_map(Step::EndHeadStart),
        3 => (0u64..8).prop_map(Step::AcceptAhead),
    ]
}

proptest! {
    /// Whatever happens, every file is delivered once in the end, and only what can be sent is
    /// sent.
    #[test]
    fn every_file_is_delivered_once_whatever_happens(steps in proptest::collection::vec(step(), 1..120)) {
        let window = Window { files: 8, bytes: 50 };
        let (mut world, mut slots) = World::up(&[5, 2, 1, 1], window);
        world.subject.config.max_attempts = u32::MAX;
        let mut accepted = 0;
        let mut tickets = 0;
        for step in steps {
            match step {
                Step::Accept(files) => {
                    accepted += files;
                    world.accept(files);
                }
                Step::Reserve => {
                    tickets += 1;
                    world.reserve(tickets);
                }
                Step::EndHeadStart(back) => world.end_head_start(tickets.saturating_sub(back)),
                // The head start may be over, or have been refused.
                Step::AcceptAhead(back) => {
                    accepted += 1;
                    world.accept_ahead(tickets.saturating_sub(back));
                }
                Step::Pass(millis) => world.step(millis),
                Step::StoreAll(server) => world.store_all(slots[server]),
                Step::StoreOne(server) => {
                    if let Some(number) = world.sent(slots[server]).last() {
                        world.store(slots[server], *number);
                    }
                }
                Step::Refuse(server, wide) => {
                    let code = if wide { RefusalCode::Storage } else { RefusalCode::Checksum };
                    if let Some(number) = world.sent(slots[server]).first() {
                        world.refuse(slots[server], *number, code);
                    }
                }
                Step::Cut(server) => world.cut(slots[server]),
                Step::ProbeOk(server, byte) => world.answer_probe(slots[server], byte, None),
                Step::ProbeFailed(server) => {
                    world.fail_probe(slots[server]);
                    world.step(0);
                }
                Step::OpenLinks => world.open_links(),
                Step::Weight(server, weight) => {
                    world.order(|subject, now| subject.set_weight(slots[server], weight, now));
                }
                Step::Drain(server, drained) => {
                    world.order(|subject, now| subject.drain(slots[server], drained, now));
                }
                Step::Leave(server, leaves) => {
                    world.order(|subject, now| subject.leave(slots[server], leaves, now));
                }
            }
            for (old, new) in world.release() {
                slots.iter_mut().filter(|slot| **slot == old).for_each(|slot| *slot = new);
            }
        }
        for slot in &slots {
            world.order(|subject, now| subject.drain(*slot, false, now));
            world.order(|subject, now| subject.leave(*slot, false, now));
            world.order(|subject, now| subject.set_weight(*slot, 1, now));
        }
        // Once every server is well again, everything drains.
        for _ in 0..200 {
            for slot in &slots {
                world.answer_probe(*slot, false, None);
                world.open_links();
                world.store_all(*slot);
            }
            world.step(1000);
        }
        prop_assert!(world.subject.is_empty());
        let mut numbers: Vec<u64> = world.delivered.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        prop_assert!(numbers.into_iter().eq(1..=accepted as u64));
    }
}
