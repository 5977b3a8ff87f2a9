//! One connection without its socket: the bytes that go out, and what the bytes that come in mean.

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;

use super::plan::{Amount, Load, Plan};
use super::slots::{Flight, Slots};
use super::tally::Tally;
use crate::protocol::{Message, ProtocolError, Refusal, RefusalCode, frame};

/// No more files are encoded behind this many bytes that are not written yet.
const ENOUGH: usize = 128 * 1024;

/// Content up to this many bytes is copied behind its header; larger content is written from where
/// it lies.
const COPIED: usize = 16 * 1024;

/// What all connections of a run share.
pub struct Run {
    /// How many files were taken for sending.
    taken: u64,
    /// What became of them.
    pub tally: Tally,
}

impl Run {
    /// A run of this plan, before its first file.
    pub fn new(plan: &Plan) -> Self {
        Self {
            taken: 0,
            tally: Tally::new(plan.wait),
        }
    }

    /// Whether no other file is to be taken in the closed loop.
    fn is_over(&self, plan: &Plan, now: Duration) -> bool {
        match (plan.total(), plan.amount, self.tally.first()) {
            (Some(total), ..) => self.taken >= total,
            (None, Amount::Time(length), Some(first)) => now.saturating_sub(first) >= length,
            _ => false,
        }
    }
}

/// Whether there is another file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// This one, whose time begins then.
    File(u64, Duration),
    /// Not now.
    Later,
    /// Not any more.
    Never,
}

/// One connection without its socket.
pub struct Lane {
    plan: Rc<Plan>,
    /// Its place among the connections.
    place: u64,
    slots: Slots,
    /// How many files it took.
    taken: u64,
    /// Up to this one, of those that it takes, files waited for room among those under way.
    held_until: u64,
    /// The last `put`, kept for the memory of its title.
    put: Message,
    out: Out,
    /// What came in and is not understood yet.
    pub input: BytesMut,
    /// Why the balancer is going to close the connection.
    farewell: Option<String>,
}

impl Lane {
    /// The connection in this place of a plan, just greeted.
    pub fn new(plan: Rc<Plan>, place: u64, input: BytesMut) -> Self {
        Self {
            slots: Slots::new(plan.most_under_way(), plan.prepared()),
            put: Message::Put {
                id: 0,
                title: String::new(),
                key: None,
                resumed: None,
            },
            plan,
            place,
            taken: 0,
            held_until: 0,
            out: Out::default(),
            input,
            farewell: None,
        }
    }

    /// Encodes the files that are to be sent now.
    pub fn fill(&mut self, run: &mut Run, now: Duration) {
        while self.out.has_room() {
            let Next::File(file, start) = self.next(run, now) else {
                return;
            };
            if self.slots.is_full() {
                self.hold_back(now);
                return;
            }
            self.take(file, start, run, now);
        }
    }

    /// What can be written: bytes, and more bytes behind them.
    pub fn pending(&self) -> [&[u8]; 2] {
        let content = self
            .out
            .body
            .map(|(size, at)| self.plan.contents.of(size).0.get(at..).unwrap_or_default());
        [self.out.head(), content.unwrap_or_default()]
    }

    /// So many of these bytes are written.
    pub fn written(&mut self, count: usize) {
        let head = count.min(self.out.head().len());
        self.out.at += head;
        if let Some((size, at)) = &mut self.out.body {
            *at += count - head;
            let (content, crc) = self.plan.contents.of(*size);
            if *at >= content.len() {
                self.out.body = None;
                self.out.bytes.extend_from_slice(&frame::checksum(crc));
            }
        }
        if self.out.head().is_empty() {
            self.out.bytes.clear();
            self.out.at = 0;
        }
    }

    /// Understands what came in. An error is the balancer's breach of the protocol, or the reason
    /// why it closes.
    pub fn receive(
        &mut self,
        run: &mut Run,
        now: Duration,
    ) -> Result<(), Result<ProtocolError, Refusal>> {
        while let Some(frame) = frame::decode(&mut self.input).map_err(Ok)? {
            self.hear(frame.message, run, now)?;
        }
        Ok(())
    }

    /// Whether all that there was to send over it has come to its end.
    pub fn is_done(&self, run: &Run, now: Duration) -> bool {
        self.slots.len() == 0
            && self.pending() == [&[0; 0]; 2]
            && self.next(run, now) == Next::Never
    }

    /// Why the balancer is going to close it, if it said so.
    pub fn farewell(&self) -> Option<&str> {
        self.farewell.as_deref()
    }

    fn next(&self, run: &Run, now: Duration) -> Next {
        match self.plan.load {
            Load::Closed(_) if run.is_over(&self.plan, now) => Next::Never,
            Load::Closed(_) => Next::File(run.taken, now),
            Load::Open(rate) => {
                let file = self.place + self.taken * self.plan.connections;
                match rate.due(file) {
                    _ if self.plan.total().is_some_and(|total| file >= total) => Next::Never,
                    due if due > now => Next::Later,
                    due => Next::File(file, due),
                }
            }
        }
    }

    /// Marks all that is due by now as held back.
    fn hold_back(&mut self, now: Duration) {
        if let Load::Open(rate) = self.plan.load {
            let due = rate.due_by(now).min(self.plan.total().unwrap_or(u64::MAX));
            self.held_until = due
                .saturating_sub(self.place)
                .div_ceil(self.plan.connections.max(1));
        }
    }

    /// Encodes a file.
    fn take(&mut self, file: u64, start: Duration, run: &mut Run, now: Duration) {
        let size = self.plan.mix.pick(self.plan.seed, file);
        let (content, crc) = self.plan.contents.of(size);
        let flight = Flight {
            file,
            start,
            size: content.len() as u64,
            accepted: false,
        };
        let Some(slot) = self.slots.insert(flight) else {
            return;
        };
        if let Message::Put { id, title, key, .. } = &mut self.put {
            *id = slot;
            title.clear();
            let _ = write!(title, "{}{file}", self.plan.title_prefix);
            *key = self
                .plan
                .key_prefix
                .as_ref()
                .map(|prefix| format!("{prefix}{file}").into());
        }
        frame::encode(&self.put, content.len() as u64, &mut self.out.bytes);
        if content.len() > COPIED {
            self.out.body = Some((size, 0));
        } else if !content.is_empty() {
            self.out.bytes.extend_from_slice(content);
            self.out.bytes.extend_from_slice(&frame::checksum(crc));
        }
        run.taken += 1;
        run.tally.held_back += u64::from(self.taken < self.held_until);
        run.tally.send(start, now, self.plan.counts(file));
        self.taken += 1;
    }

    fn hear(
        &mut self,
        message: Message,
        run: &mut Run,
        now: Duration,
    ) -> Result<(), Result<ProtocolError, Refusal>> {
        match message {
            Message::Accepted { id, .. } => self.accepted(id, run, now),
            Message::Delivered { id, .. } => self.delivered(id, run, now),
            Message::Refused { id, refusal } => {
                self.failed(id, "refused", Some(refusal.code), &refusal.reason, run)
            }
            Message::Dead { id, reason, .. } => self.failed(id, "dead", None, &reason, run),
            Message::Waiting { .. } => {
                run.tally.queue_full += 1;
                Ok(())
            }
            Message::Resumed => Ok(()),
            // A balancer that is stopping still sends the receipts of what it has.
            Message::Bye(refusal) if refusal.code == RefusalCode::Stopping => {
                self.farewell = Some(refusal.reason);
                Ok(())
            }
            Message::Bye(refusal) => return Err(Err(refusal)),
            _ => Err(ProtocolError::Unexpected("a client gets receipts")),
        }
        .map_err(Ok)
    }

    fn accepted(&mut self, id: u64, run: &mut Run, now: Duration) -> Result<(), ProtocolError> {
        let Some(flight) = self.slots.get_mut(id) else {
            return self.known(id);
        };
        if !std::mem::replace(&mut flight.accepted, true)
            && run.tally.accept(flight, now, self.plan.counts(flight.file))
        {
            self.slots.remove(id);
        }
        Ok(())
    }

    fn delivered(&mut self, id: u64, run: &mut Run, now: Duration) -> Result<(), ProtocolError> {
        // The one receipt may count for both.
        self.accepted(id, run, now)?;
        if let Some(flight) = self.slots.remove(id) {
            run.tally
                .deliver(&flight, now, self.plan.counts(flight.file));
        }
        Ok(())
    }

    fn failed(
        &mut self,
        id: u64,
        state: &'static str,
        code: Option<RefusalCode>,
        reason: &str,
        run: &mut Run,
    ) -> Result<(), ProtocolError> {
        let Some(flight) = self.slots.remove(id) else {
            return self.known(id);
        };
        let title = format!("{}{}", self.plan.title_prefix, flight.file);
        run.tally.fail(state, code, &title, reason);
        Ok(())
    }

    /// Receipts that follow the one that was waited for are none of ours; those of files that were
    /// never sent are an error.
    fn known(&self, id: u64) -> Result<(), ProtocolError> {
        if self.slots.had(id) {
            Ok(())
        } else {
            Err(ProtocolError::Unexpected(
                "a receipt for a file that was not sent",
            ))
        }
    }
}

/// What goes out.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// How many of these are written.
    at: usize,
    /// Behind them, content of this size of the mix, of which so many bytes are written.
    body: Option<(usize, usize)>,
}

impl Out {
    fn head(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn has_room(&self) -> bool {
        self.body.is_none() && self.bytes.len() < ENOUGH
    }
}

#[cfg(test)]
mod tests {
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
        for step in [1, 13, 1000, 40_000, usize::MAX] {
            let mut world =
                World::new(plan(Load::Closed(40), 40, "0:20%,100:20%,20000:20%,100000"));
            let mut sizes: Vec<usize> = world
                .sends(step)
                .into_iter()
                .map(|(_, _, size)| size)
                .collect();
            assert_eq!(sizes.len(), 40);
            sizes.sort_unstable();
            sizes.dedup();
            assert_eq!(sizes, [0, 100, 20_000, 100_000]);
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
}
