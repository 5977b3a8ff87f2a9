//! One connection without its socket: encodes outgoing files and decodes incoming receipts.

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;

use super::plan::{Amount, Load, Plan};
use super::slots::{Flight, Slots};
use super::tally::Tally;
use crate::protocol::{Message, ProtocolError, Refusal, RefusalCode, frame};

/// No further files are encoded while this many bytes wait to be written.
const ENOUGH: usize = 128 * 1024;

/// Content up to this many bytes is copied after its header; larger content is written in place.
const COPIED: usize = 16 * 1024;

/// State that all connections of a run share.
pub struct Run {
    /// How many files were encoded for sending.
    taken: u64,
    /// Their counts and times.
    pub tally: Tally,
}

impl Run {
    /// A run in which no file was sent yet.
    pub fn new(plan: &Plan) -> Self {
        Self {
            taken: 0,
            tally: Tally::new(plan.wait),
        }
    }

    /// Whether the closed loop sends no further file.
    fn is_over(&self, plan: &Plan, now: Duration) -> bool {
        match (plan.total(), plan.amount, self.tally.first()) {
            (Some(total), ..) => self.taken >= total,
            (None, Amount::Time(length), Some(first)) => now.saturating_sub(first) >= length,
            _ => false,
        }
    }
}

/// The next file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The index of the file, and the time when its time begins.
    File(u64, Duration),
    /// No file is due now.
    Later,
    /// All files were sent.
    Never,
}

/// One connection without its socket.
pub struct Lane {
    plan: Rc<Plan>,
    /// Index of the connection.
    place: u64,
    slots: Slots,
    /// How many files it has encoded.
    taken: u64,
    /// Files of this connection before this one waited for a free slot.
    held_until: u64,
    /// The last `put`, kept to reuse the memory of its title.
    put: Message,
    out: Out,
    /// Received bytes that are not decoded yet.
    pub input: BytesMut,
    /// The reason of a `bye` from a stopping balancer.
    farewell: Option<String>,
}

impl Lane {
    /// The connection of this index, just greeted. `input` has the bytes after the greeting.
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

    /// Encodes the files that are due, as far as there is room.
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

    /// The bytes to write next, in two parts.
    pub fn pending(&self) -> [&[u8]; 2] {
        let content = self
            .out
            .body
            .map(|(size, at)| self.plan.contents.of(size).0.get(at..).unwrap_or_default());
        [self.out.head(), content.unwrap_or_default()]
    }

    /// `count` of the pending bytes were written.
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

    /// Decodes the input. The error is a breach of the protocol, or the reason why the balancer
    /// closes the connection.
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

    /// Whether all files of this connection have ended.
    pub fn is_done(&self, run: &Run, now: Duration) -> bool {
        self.slots.len() == 0
            && self.pending() == [&[0; 0]; 2]
            && self.next(run, now) == Next::Never
    }

    /// The reason of a `bye` from a stopping balancer.
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

    /// Marks all files due by now as held back.
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
            // A stopping balancer still sends the receipts of accepted files.
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
        // `delivered` may come without an `accepted` before it.
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

    /// A receipt after the awaited one is ignored; a receipt of a file that was never sent is an
    /// error.
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

/// Outgoing bytes.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// How many of `bytes` were written.
    at: usize,
    /// After `bytes`: content of the size of this index, and how many of its bytes were written.
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
