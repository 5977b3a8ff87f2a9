//! Weighted round robin: which of the eligible servers gets the next file.
//!
//! This module owns the order of picks. Why a server is eligible or not is the business of the
//! health state, and what a [`Slot`] stands for that of the caller. It does no I/O, reads no clock
//! and draws no random numbers: the same calls give the same picks.
//!
//! # The rule
//!
//! Earliest eligible virtual deadline first. Time is counted in units of which `SCALE` are one pick
//! of a server of weight 1, so the *stride* of a server, the time that one pick of it is worth, is
//! `SCALE / weight`. Each server has a start and a deadline one stride later, and the scheduler has
//! a virtual now, the weighted average of the starts. Among the servers that have started the one
//! with the smallest deadline is picked, the smaller slot among equals, and its deadline becomes
//! its next start. A heavy server thus has to wait for its next start while light ones go, which
//! plain earliest deadline first does not ask of it: that gives 500 picks in a row to one server of
//! weight 1000 among a thousand of weight 1.
//!
//! The *lag* of a server is the part of a pick that it is owed, `weight * (now - start) / SCALE`,
//! negative when it had more than its share. While no server comes, goes or changes its weight the
//! lags sum to zero and each stays between -1 and 1, so that over any number of picks a server gets
//! its share give or take less than 2.
//!
//! # Servers that come and go
//!
//! - One that leaves takes its lag along. The average of the others' starts is the new now.
//! - One that comes back is neither paid for its absence nor punished for it: the lag is as it was,
//!   but for a debt that virtual time passed meanwhile. Without the credit, which is at most one
//!   pick, a server that flips at each pick would start anew each time and never be served.
//! - A new weight keeps the lag: the distance to the start is rescaled.
//!
//! The virtual now never goes back, and each pick moves it on by at least half of that pick's
//! worth. The pure average would not do so: if light servers failed one after the other, each right
//! after its pick, now would stand still, and a heavy server wait for its start until the light
//! ones ran out. Nor does it move between two picks: changes that undo each other there leave no
//! trace. If many servers leave or return together, with lags that do not cancel out, a server may
//! find itself many picks late. It starts afresh then, for to make up for all of them would be a
//! burst.
//!
//! # Invariants
//!
//! - A server is in one of the two heaps if and only if it is eligible and its weight is not 0: in
//!   `ready`, by deadline, or in `waiting`, by start. Whatever is in `ready` has started.
//! - `lead` is exactly the sum of `weight * (now - start)` over these servers. When a pick begins
//!   it is made not negative, so that at least one server has started whenever there is one. It is
//!   below their total weight, which is to say that now is the average rounded up, unless servers
//!   came or went and now is still ahead.
//! - Nothing is rounded away: the remainder of each stride is carried to the next, and that of now
//!   in `lead`.

use super::heap::IndexedHeap;
use super::slots::{Slot, Slots};
use crate::config::MAX_WEIGHT;

/// Virtual time for one pick of a server of weight 1.
const SCALE: u64 = 1 << 40;

/// The first virtual now. Far above 0, so that a start may lie before now.
///
/// And far below the end of `u128`: no start is set further than about one stride, at most
/// [`SCALE`], after now, and now passes the last of them by no more than half a pick's worth. A
/// pick moves now on twice, by less than 2^42 together, so that the end is 2^85 picks away.
const ORIGIN: u128 = 1 << 96;

/// What the scheduler knows of one server.
#[derive(Debug, Clone)]
struct Candidate {
    /// 0 while drained.
    weight: u32,
    /// The last weight that was not 0. `start`, `deadline` and `credit` are in its strides.
    basis: u32,
    eligible: bool,
    /// Whole units of a stride.
    stride: u64,
    /// Units that `basis` strides fall short of [`SCALE`].
    rest: u32,
    /// What is carried of `rest`, below `basis`.
    carry: u32,
    start: u128,
    /// One stride after `start`, give or take the carried unit.
    deadline: u128,
    /// How far before now the start was when the server left the heaps; at most a stride.
    credit: u128,
}

impl Candidate {
    fn new(weight: u32, now: u128) -> Self {
        let mut server = Self {
            weight,
            basis: 1,
            eligible: false,
            stride: SCALE,
            rest: 0,
            carry: 0,
            start: now,
            deadline: now,
            credit: 0,
        };
        server.rebase(weight, now);
        server
    }

    fn is_active(&self) -> bool {
        self.eligible && self.weight > 0
    }

    /// The lag, in units of 1 / [`SCALE`] of a pick.
    fn lag(&self, now: u128) -> i128 {
        i128::from(self.weight) * now.wrapping_sub(self.start).cast_signed()
    }

    /// Sorts servers by whose turn it is: those that have started by deadline, then the others by
    /// start.
    fn turn(&self, now: u128) -> (bool, u128) {
        let early = self.start > now;
        (early, if early { self.start } else { self.deadline })
    }

    /// Begins a new stride at `start`.
    fn begin(&mut self, start: u128) {
        self.carry += self.rest;
        let whole = self.carry >= self.basis;
        if whole {
            self.carry -= self.basis;
        }
        self.start = start;
        self.deadline = start + u128::from(self.stride) + u128::from(whole);
    }

    /// Pays for a pick: the next stride begins at the deadline of this one.
    ///
    /// After servers came or went it may be so late that its next stride would be over, too: it
    /// starts afresh then, since making up for all of it would be a burst. After a pick out of turn
    /// not more than one pick is held against it. While nothing changes neither happens.
    fn charge(&mut self, now: u128) {
        let stride = u128::from(self.stride);
        let next = if self.deadline + stride < now {
            now
        } else {
            self.deadline.min(now + stride + 1)
        };
        self.begin(next);
    }

    fn leave(&mut self, now: u128) {
        self.credit = now.saturating_sub(self.start).min(u128::from(self.stride));
    }

    /// Takes up where [`leave`](Self::leave) left off; a debt that now has passed meanwhile is
    /// forgotten.
    fn rejoin(&mut self, now: u128) {
        let length = self.deadline - self.start;
        self.start = if self.credit > 0 {
            now - self.credit
        } else {
            self.start.clamp(now, now + u128::from(self.stride))
        };
        self.deadline = self.start + length;
    }

    /// Counts in strides of `weight` from here on, with the same lag. Weight 0 has no stride and
    /// keeps the last.
    fn rebase(&mut self, weight: u32, now: u128) {
        let Some(whole) = SCALE.checked_div(u64::from(weight)) else {
            return;
        };
        let (old, new) = (i128::from(self.basis), i128::from(weight));
        // The time that passed while it was away counts for nothing; `credit` has what it is owed.
        let start = if self.is_active() {
            self.start
        } else {
            self.start.max(now)
        };
        let distance = start.wrapping_sub(now).cast_signed();
        self.credit = self.credit * u128::from(self.basis) / u128::from(weight);
        self.stride = whole;
        // A remainder of a `u32` divisor fits; the fallback is never taken.
        self.rest = u32::try_from(SCALE % u64::from(weight)).unwrap_or(0);
        self.carry = 0;
        self.basis = weight;
        self.begin(now.saturating_add_signed(distance * old / new));
    }
}

/// A weighted round robin over the eligible servers, by earliest eligible virtual deadline.
///
/// Over any number of picks without a change in between a server gets its share give or take less
/// than 2. A pick, a flip of a state, a new weight, a server more or less: each takes O(log n), a
/// pick amortised, and a pick allocates nothing. A slot that does not exist is ignored.
#[derive(Debug, Clone)]
pub struct Scheduler {
    servers: Slots<Candidate>,
    /// Slots to use again.
    free: Vec<Slot>,
    /// Servers that have started, by deadline.
    ready: IndexedHeap,
    /// Servers whose start was ahead when they were put here, by start.
    waiting: IndexedHeap,
    now: u128,
    /// How far now is ahead of the average start, times `weight`. With 2^32 servers, each would
    /// have to be owed 2^55 picks for it to overflow.
    lead: i128,
    /// Sum of the weights in the heaps.
    weight: u64,
    /// Number of servers in the heaps.
    count: usize,
    /// The least that a pick moves now on: half its worth, `SCALE / weight / 2`.
    least_step: u64,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheduler {
    /// A scheduler without servers.
    pub fn new() -> Self {
        Self {
            servers: Slots::default(),
            free: Vec::new(),
            ready: IndexedHeap::default(),
            waiting: IndexedHeap::default(),
            now: ORIGIN,
            lead: 0,
            weight: 0,
            count: 0,
            least_step: 0,
        }
    }

    /// Adds a server, not yet eligible. A weight above [`MAX_WEIGHT`] is clamped to it; 0 is
    /// drained.
    #[must_use = "the slot is the only name of the server"]
    pub fn add(&mut self, weight: u32) -> Slot {
        let server = Candidate::new(weight.min(MAX_WEIGHT), self.now);
        let slot = self.free.pop().unwrap_or(self.servers.next_new());
        self.servers.insert(slot, server);
        slot
    }

    /// Forgets a server. A later [`add`](Self::add) may use the slot again.
    pub fn remove(&mut self, slot: Slot) {
        self.set_eligible(slot, false);
        if self.servers.remove(slot).is_some() {
            self.free.push(slot);
        }
    }

    /// Gives a server another weight, clamped to [`MAX_WEIGHT`]. 0 drains it: it stays, but is not
    /// picked.
    pub fn set_weight(&mut self, slot: Slot, weight: u32) {
        let weight = weight.min(MAX_WEIGHT);
        self.change(slot, |server, now| {
            server.rebase(weight, now);
            server.weight = weight;
        });
    }

    /// The weight of a server, 0 if it is drained.
    pub fn weight(&self, slot: Slot) -> Option<u32> {
        self.server(slot.0).map(|server| server.weight)
    }

    /// Says whether a server may be picked. Saying so twice changes nothing.
    pub fn set_eligible(&mut self, slot: Slot, eligible: bool) {
        if self
            .server(slot.0)
            .is_some_and(|server| server.eligible != eligible)
        {
            self.change(slot, |server, _| server.eligible = eligible);
        }
    }

    /// Whether a server may be picked: it was said to be eligible, and its weight is not 0.
    pub fn is_eligible(&self, slot: Slot) -> bool {
        self.server(slot.0).is_some_and(Candidate::is_active)
    }

    /// How many servers may be picked.
    pub fn eligible_count(&self) -> usize {
        self.count
    }

    /// The sum of the weights of the servers that may be picked.
    pub fn eligible_weight(&self) -> u64 {
        self.weight
    }

    /// Picks the server whose turn it is. `None` if no server may be picked.
    pub fn pick(&mut self) -> Option<Slot> {
        self.advance(0);
        self.admit_started();
        let (_, slot) = self.ready.peek()?;
        self.charge(slot);
        Some(Slot(slot))
    }

    /// The server whose turn it is; nothing is picked. O(n).
    pub fn whose_turn(&mut self) -> Option<Slot> {
        self.advance(0);
        let now = self.now;
        let turns = self.active().map(|(slot, server)| (server.turn(now), slot));
        turns.min().map(|(_, slot)| Slot(slot))
    }

    /// Picks the server whose turn it is among those that `admit` allows, for a file that some
    /// servers must not get. O(n).
    ///
    /// The order is that of [`pick`](Self::pick), and the server pays for the pick as it does
    /// there, but at most one pick is held against it, or a series of files that only it may have
    /// would cost it its share for a long time afterwards.
    pub fn pick_where(&mut self, mut admit: impl FnMut(Slot) -> bool) -> Option<Slot> {
        self.advance(0);
        let now = self.now;
        let (_, slot) = self
            .active()
            .filter(|&(slot, _)| admit(Slot(slot)))
            .map(|(slot, server)| (server.turn(now), slot))
            .min()?;
        self.charge(slot);
        Some(Slot(slot))
    }

    fn server(&self, slot: usize) -> Option<&Candidate> {
        self.servers.get(Slot(slot))
    }

    fn active(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.servers
            .iter()
            .filter(|(_, server)| server.is_active())
            .map(|(slot, server)| (slot.0, server))
    }

    /// Changes a server and brings the sums and the heaps in line with what it is afterwards.
    ///
    /// Now stays where it is until the next pick: changes that undo each other in between leave no
    /// trace.
    fn change(&mut self, slot: Slot, edit: impl FnOnce(&mut Candidate, u128)) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let before = server.clone();
        edit(server, now);
        match (before.is_active(), server.is_active()) {
            (true, false) => server.leave(now),
            (false, true) => server.rejoin(now),
            _ => {}
        }
        let after = server.clone();
        self.subtract(&before);
        self.sum_up(&after);
        self.place(slot.0);
    }

    fn subtract(&mut self, server: &Candidate) {
        if server.is_active() {
            self.weight -= u64::from(server.weight);
            self.lead -= server.lag(self.now);
            self.count -= 1;
        }
    }

    fn sum_up(&mut self, server: &Candidate) {
        if server.is_active() {
            self.weight += u64::from(server.weight);
            self.lead += server.lag(self.now);
            self.count += 1;
        }
        self.least_step = (SCALE / 2).checked_div(self.weight).unwrap_or(0);
    }

    /// Lets the server pay for a pick, moves now on, and puts the server where it belongs then.
    fn charge(&mut self, slot: usize) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(Slot(slot)) else {
            return;
        };
        let before = server.lag(now);
        server.charge(now);
        self.lead += server.lag(now) - before;
        self.advance(self.least_step);
        self.place(slot);
    }

    /// Moves now on to the average start, rounded up, but by `least` at any rate.
    fn advance(&mut self, least: u64) {
        let behind = u128::try_from(-self.lead).unwrap_or(0);
        let step = ceil_div(behind, self.weight).max(u128::from(least));
        self.now += step;
        self.lead += (step * u128::from(self.weight)).cast_signed();
    }

    /// Puts a server into the heap that it belongs in, or into none.
    fn place(&mut self, slot: usize) {
        let active = self.server(slot).filter(|server| server.is_active());
        let place = active.map(|server| (server.start, server.deadline));
        match place {
            Some((start, deadline)) if start <= self.now => {
                self.waiting.remove(slot);
                self.ready.set(slot, deadline);
            }
            Some((start, _)) => {
                self.ready.remove(slot);
                self.waiting.set(slot, start);
            }
            None => {
                self.ready.remove(slot);
                self.waiting.remove(slot);
            }
        }
    }

    /// Moves those that have started by now from `waiting` to `ready`. Each got there by a pick or
    /// a change, so that the moves are O(1) a pick in the long run.
    fn admit_started(&mut self) {
        while let Some((_, slot)) = self.waiting.pop_up_to(self.now) {
            if let Some(server) = self.server(slot) {
                self.ready.set(slot, server.deadline);
            }
        }
    }

    /// Checks what the module says is invariant. O(n).
    ///
    /// # Panics
    ///
    /// If an invariant does not hold.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.ready.check_invariants();
        self.waiting.check_invariants();
        let (mut count, mut weight, mut lead) = (0, 0, 0);
        for (slot, server) in self.active() {
            self.check_place(slot, server);
            count += 1;
            weight += u64::from(server.weight);
            lead += server.lag(self.now);
        }
        assert_eq!((count, weight), (self.count, self.weight), "sums");
        assert_eq!(count, self.ready.len() + self.waiting.len(), "stale entry");
        assert_eq!(lead, self.lead, "sum of the lags");
        let free = self.servers.next_new().0 - self.servers.iter().count();
        assert_eq!(free, self.free.len(), "free slots");
    }

    #[cfg(any(test, debug_assertions))]
    fn check_place(&self, slot: usize, server: &Candidate) {
        let length = server.deadline - server.start - u128::from(server.stride);
        assert!(length <= 1 && server.carry < server.basis, "stride");
        assert_eq!(server.basis, server.weight, "strides of another weight");
        match (self.ready.key(slot), self.waiting.key(slot)) {
            (Some(key), None) => {
                assert_eq!(key, server.deadline, "key in ready");
                assert!(server.start <= self.now, "ready before its start");
            }
            (None, key) => assert_eq!(key, Some(server.start), "key in waiting"),
            (Some(_), Some(_)) => unreachable!("slot {slot} is in both heaps"),
        }
    }
}

/// Division rounded up. Nearly every dividend fits 64 bits, where the processor divides at once.
fn ceil_div(dividend: u128, divisor: u64) -> u128 {
    match u64::try_from(dividend) {
        // Also with nobody there, when the divisor is 0.
        Ok(0) => 0,
        Ok(small) => u128::from(small.div_ceil(divisor)),
        Err(_) => dividend.div_ceil(u128::from(divisor)),
    }
}

#[cfg(test)]
#[path = "wrr_tests.rs"]
mod tests;
