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
#[path = "lane_tests.rs"]
mod tests;
