use super::*;
use crate::client::Wait;
use crate::load::sizes::Contents;
use crate::protocol::Frame;
use std::sync::Arc;

fn plan(load: Load, files: u64, size: &str) -> Plan {
    let mix = size.parse().unwrap();
    Plan {
        wait: Wait::Delivered,
        amount: Amount::Files(files),
        warm_up: 0,
        connections: 1,
        load,
        contents: Contents::prepare(&mix, 0),
        mix,
        title_prefix: "t".to_owned(),
        key_prefix: None,
        seed: 0,
    }
}

/// A lane, its run and the time.
struct World {
    lane: Lane,
    run: Run,
    now: Duration,
}

impl World {
    fn new(plan: Plan) -> Self {
        let (run, plan) = (Run::new(&plan), Rc::new(plan));
        Self {
            run,
            lane: Lane::new(plan, 0, BytesMut::new()),
            now: Duration::ZERO,
        }
    }

    /// What it sends now, written in pieces of this size: the ids, titles and sizes of the
    /// files.
    fn sends(&mut self, step: usize) -> Vec<(u64, String, usize)> {
        let mut wire = Vec::new();
        loop {
            self.lane.fill(&mut self.run, self.now);
            let both = self.lane.pending().concat();
            if both.is_empty() {
                return puts(BytesMut::from(&wire[..]));
            }
            let count = step.min(both.len());
            wire.extend_from_slice(&both[..count]);
            self.lane.written(count);
        }
    }

    fn hears(&mut self, message: &Message) -> Result<(), Result<ProtocolError, Refusal>> {
        let mut wire = Vec::new();
        frame::encode(message, 0, &mut wire);
        let (first, second) = wire.split_at(wire.len() / 2);
        for half in [first, second] {
            self.lane.input.extend_from_slice(half);
            self.lane.receive(&mut self.run, self.now)?;
        }
        Ok(())
    }

    fn delivers(&mut self, id: u64) {
        self.hears(&Message::Accepted { id, number: 1 }).unwrap();
        self.hears(&delivered(id)).unwrap();
    }

    fn is_done(&self) -> bool {
        self.lane.is_done(&self.run, self.now)
    }
}

fn delivered(id: u64) -> Message {
    Message::Delivered {
        id,
        number: 1,
        server: Arc::from("s"),
        confirmed: true,
    }
}

/// The files in these bytes, each with the right checksum.
fn puts(mut wire: BytesMut) -> Vec<(u64, String, usize)> {
    let mut files = Vec::new();
    while let Some(Frame {
        message,
        content_len,
    }) = frame::decode(&mut wire).unwrap()
    {
        let Message::Put {
            id,
            title,
            key: None,
            resumed: None,
        } = message
        else {
            panic!("{message:?}")
        };
        let content = wire.split_to(usize::try_from(content_len).unwrap());
        if content_len > 0 {
            assert_eq!(
                wire.split_to(4)[..],
                frame::checksum(crc32c::crc32c(&content))
            );
        }
        files.push((id, title, content.len()));
    }
    assert!(wire.is_empty(), "half a frame is left");
    files
}

#[test]
fn the_end_of_a_file_sends_the_next() {
    let mut world = World::new(plan(Load::Closed(2), 3, "5"));
    let sent = world.sends(usize::MAX);
    assert_eq!(
        sent.iter()
            .map(|(_, title, size)| (title.as_str(), *size))
            .collect::<Vec<_>>(),
        [("t0", 5), ("t1", 5)]
    );
    world.now = Duration::from_millis(7);
    world
        .hears(&Message::Accepted {
            id: sent[1].0,
            number: 1,
        })
        .unwrap();
    assert!(
        world.sends(9).is_empty(),
        "an accepted file is still under way"
    );
    world.hears(&delivered(sent[1].0)).unwrap();
    let last = world.sends(9);
    assert_eq!((last.len(), last[0].1.as_str()), (1, "t2"));
    world.delivers(sent[0].0);
    assert!(!world.is_done());
    world.delivers(last[0].0);
    assert!(world.is_done());
    let report = world.run.tally.report(false);
    assert_eq!((report.files, report.bytes, report.missing), (3, 15, 0));
    assert!((report.delivered_ms.unwrap().max - 7.0).abs() < 0.014);
}

#[test]
fn frames_are_whole_however_they_are_written() {
    for (step, large) in [
        (1, 10_000),
        (13, 10_000),
        (1000, 100_000),
        (40_000, 100_000),
        (usize::MAX, 100_000),
    ] {
        let medium = large / 5;
        let shares = format!("0:20%,100:20%,{medium}:20%,{large}");
        let mut world = World::new(plan(Load::Closed(40), 40, &shares));
        let mut sizes: Vec<usize> = world
            .sends(step)
            .into_iter()
            .map(|(_, _, size)| size)
            .collect();
        assert_eq!(sizes.len(), 40);
        sizes.sort_unstable();
        sizes.dedup();
        assert_eq!(sizes, [0, 100, medium, large]);
    }
}

#[test]
fn what_is_due_goes_out_and_its_time_runs_from_then() {
    let mut world = World::new(plan(Load::Open("1000".parse().unwrap()), 6, "1"));
    assert_eq!(world.sends(usize::MAX).len(), 1);
    world.now = Duration::from_micros(3900);
    let late = world.sends(usize::MAX);
    assert_eq!(late.len(), 3, "those of 1, 2 and 3 ms");
    world.now = Duration::from_millis(4);
    world.delivers(late[0].0);
    let report = world.run.tally.report(true);
    assert!((report.delivered_ms.unwrap().max - 3.0).abs() < 0.006);
    assert!((report.late_ms.unwrap().max - 2.9).abs() < 0.006);
    world.now = Duration::from_mins(1);
    assert_eq!((world.sends(usize::MAX).len(), world.is_done()), (2, false));
}

#[test]
fn too_many_under_way_hold_files_back_and_their_time_runs_on() {
    let open = Load::Open("1000".parse().unwrap());
    let connections = u64::from(crate::load::OPEN_LOOP_MOST);
    let mut world = World::new(Plan {
        connections,
        ..plan(open, connections * 3, "1")
    });
    let first = world.sends(usize::MAX);
    world.now = Duration::from_millis(2 * connections + 5);
    assert!(
        world.sends(usize::MAX).is_empty(),
        "one file a connection may be under way"
    );
    world.delivers(first[0].0);
    let second = world.sends(usize::MAX);
    assert_eq!((second.len(), world.run.tally.held_back), (1, 1));
    world.delivers(second[0].0);
    assert_eq!(
        (world.sends(usize::MAX).len(), world.run.tally.held_back),
        (1, 2)
    );
    let report = world.run.tally.report(true);
    let late = report.late_ms.unwrap().max / 1000.0;
    let waited = Duration::from_millis(connections + 5).as_secs_f64();
    assert!((late - waited).abs() < late / 1000.0, "{late}");
}

#[test]
fn a_run_for_a_time_sends_no_more_after_it() {
    let length = Duration::from_millis(10);
    let mut world = World::new(Plan {
        amount: Amount::Time(length),
        ..plan(Load::Closed(1), 0, "1")
    });
    let first = world.sends(usize::MAX);
    world.delivers(first[0].0);
    world.now = Duration::from_micros(9999);
    let second = world.sends(usize::MAX);
    world.now = length;
    world.delivers(second[0].0);
    assert_eq!((world.sends(usize::MAX).len(), world.is_done()), (0, true));
}

#[test]
fn with_accepted_later_receipts_are_nobodys() {
    let mut world = World::new(Plan {
        wait: Wait::Accepted,
        ..plan(Load::Closed(1), 2, "1")
    });
    for _ in 0..2 {
        let sent = world.sends(usize::MAX);
        world.delivers(sent[0].0);
        world
            .hears(&Message::Dead {
                id: sent[0].0,
                number: 1,
                reason: String::new(),
            })
            .unwrap();
    }
    let report = world.run.tally.report(false);
    assert_eq!(
        (
            report.files,
            report.dead,
            report.delivered_ms,
            world.is_done()
        ),
        (2, 0, None, true)
    );
}

#[test]
fn failed_files_are_named_and_make_room() {
    let mut world = World::new(plan(Load::Closed(1), 3, "1"));
    let refusal = Refusal::new(RefusalCode::TooLarge, "too much");
    let id = world.sends(usize::MAX)[0].0;
    world.hears(&Message::Refused { id, refusal }).unwrap();
    let id = world.sends(usize::MAX)[0].0;
    world.hears(&Message::Accepted { id, number: 1 }).unwrap();
    world
        .hears(&Message::Dead {
            id,
            number: 1,
            reason: "nobody".to_owned(),
        })
        .unwrap();
    let id = world.sends(usize::MAX)[0].0;
    world.hears(&delivered(id)).unwrap();
    let report = world.run.tally.report(false);
    assert_eq!(
        (report.files, report.refused, report.dead, report.missing),
        (1, 1, 1, 0)
    );
    let first: Vec<&str> = report
        .failures
        .iter()
        .map(|failed| failed.first.as_str())
        .collect();
    assert_eq!((first, world.is_done()), (vec!["t1", "t0"], true));
}

#[test]
fn nonsense_and_farewells() {
    let mut world = World::new(plan(Load::Closed(1), 1, "1"));
    let id = world.sends(usize::MAX)[0].0;
    assert!(matches!(
        world.hears(&Message::Accepted {
            id: id + 1,
            number: 1
        }),
        Err(Ok(ProtocolError::Unexpected(_)))
    ));
    assert!(matches!(
        world.hears(&Message::Stored { number: 1 }),
        Err(Ok(ProtocolError::Unexpected(_)))
    ));
    world
        .hears(&Message::Bye(Refusal::new(RefusalCode::Stopping, "bye")))
        .unwrap();
    assert_eq!(world.lane.farewell(), Some("bye"));
    world.delivers(id);
    assert!(world.is_done(), "a stopping balancer still sends receipts");
    assert!(matches!(
        world.hears(&Message::Bye(Refusal::new(RefusalCode::Malformed, "x"))),
        Err(Err(_))
    ));
}
