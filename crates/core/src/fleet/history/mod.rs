//! What members have told before: three rings for each member, and what is asked of them.
//!
//! | ring | a slot | slots | reaches back |
//! |---|---|---|---|
//! | short | 5 s: the average | 120 | 10 minutes |
//! | middle | 1 minute: average, least, most | 360 | 6 hours |
//! | long | 15 minutes: average, least, most | 672 | 7 days |
//!
//! Every word goes into all three. Only figures that a member tells take room, and rings grow as
//! they are filled. Gaps stay gaps: a slot without a word is not kept, and nothing is filled in.
//! An average is an `f32` that each word rounds: it is right to four digits.
//!
//! **Time** is the wall clock's, passed in. A clock that jumps loses nothing: slots lie in the order
//! in which they came, each with its time. A jump forward is a gap. After a jump backward, slots that
//! lie in the future are kept and not shown until their time has come; what is told of one time twice
//! is one average. What was told under a wrong clock stands at that time until it is written over.
//!
//! **Memory** of all members together is bounded. When it is used up, the longest rings of members at
//! which nobody has looked for longest are given up first, then middle ones, then short ones, until a
//! sixteenth is free. They are taken up again when somebody looks, or when a quarter is free.
//! Invariant: [`History::memory`] is what is allocated, and never more than the limit after a call.

mod cell;
mod member;
mod minute;
mod query;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use super::facts::{Facts, Figure};
use super::identity::Identity;
use super::report::Columns;
use cell::Cell;
use member::{GRAINS, Member};
use minute::{MINUTE, Open};
use ring::Ring;

pub use minute::Minute;
pub use query::{Known, LONGEST, MAX_ROWS};

/// The most members that have a history.
const MAX_MEMBERS: usize = 10_000;

/// Less memory than that is none: it would be the table of members alone.
const LEAST: usize = 4096;

/// The last second that is told apart from later ones, some centuries from now: a clock may say
/// anything.
const LAST: u64 = 1 << 34;

/// The history of all members.
#[derive(Debug)]
pub struct History {
    members: HashMap<Identity, Box<Member>>,
    /// The most bytes that it takes.
    limit: usize,
    /// Bytes of all members, without the table.
    used: usize,
    /// The most members for which the table ever had room: it does not shrink.
    table: usize,
    /// Rises with each look.
    looks: u64,
    /// Whether minutes are gathered for a disk.
    has_disk: bool,
    /// Minutes that came to an end before the one before them was taken.
    lost_minutes: u64,
    /// There is no room for another member, whatever is given up.
    is_full: bool,
}

/// Of how many members rings are given up, because the memory is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Members without the last seven days.
    pub long: usize,
    /// Members without the last six hours, too.
    pub middle: usize,
    /// Members without any history.
    pub short: usize,
}

impl History {
    /// An empty history that takes at most so many bytes; with 0, nothing is kept. `has_disk` says
    /// that somebody takes [`History::finished`] minutes.
    pub fn new(limit: usize, has_disk: bool) -> Self {
        Self {
            members: HashMap::new(),
            limit,
            used: 0,
            table: 0,
            looks: 0,
            has_disk,
            lost_minutes: 0,
            is_full: false,
        }
    }

    /// Takes what a member tells at this time, in seconds since 1970. `every` is the time from one
    /// such word to the next.
    pub fn told(&mut self, who: &Identity, every: Duration, facts: &Facts, now: u64) {
        let now = now.min(LAST);
        let told = Figure::ALL.into_iter().filter_map(|figure| {
            let value = facts.figure(figure).filter(|value| value.is_finite())?;
            Some((figure, Cell::of(value)))
        });
        let mut room = Figure::ALL.map(|figure| (figure, Cell::of(0.0)));
        let mut count = 0;
        for (place, told) in room.iter_mut().zip(told) {
            *place = told;
            count += 1;
        }
        let told = room.get(..count).unwrap_or_default();
        if told.is_empty() {
            return;
        }
        let has_disk = self.has_disk;
        self.change(who, |member, lost| {
            member.heard = now;
            member.tell(now, every, told, 0);
            if has_disk {
                let minute = now - now % MINUTE;
                if member.open.as_ref().is_none_or(|open| open.time != minute) {
                    *lost += member.end_minute();
                }
                let new = || Box::new(Open::new(minute));
                member.open.get_or_insert_with(new).tell(told);
            }
        });
    }

    /// Takes a minute that was read from disk. Says whether it was sound.
    pub fn restore(&mut self, minute: &Minute) -> bool {
        let Some(cells) = minute.cells() else {
            return false;
        };
        let time = minute.time.min(LAST);
        self.change(&minute.member, |member, _| {
            member.heard = member.heard.max(time);
            // A minute says nothing of its parts.
            member.tell(time, Duration::ZERO, &cells, 1);
        });
        true
    }

    /// A member is known by another identity from now on. What was told of both is one history.
    pub fn rename(&mut self, old: &Identity, new: &Identity) {
        if old == new {
            return;
        }
        let Some(mut member) = self.take(old) else {
            return;
        };
        // Its own room is free now.
        self.is_full = false;
        self.lost_minutes += member.end_minute();
        let minute = member.done.take();
        self.change(new, |known, lost| {
            if known.figures.is_empty() {
                let (open, done) = (known.open.take(), known.done.take());
                *known = Member {
                    open,
                    done,
                    ..*member
                };
            } else {
                known.merge(&member);
            }
            // What is not on disk yet goes there under the new name.
            if let Some(minute) = minute {
                if known.done.is_none() {
                    known.done = Some(minute);
                } else {
                    *lost += 1;
                }
            }
        });
    }

    /// Takes over another history, such as one that was read from disk.
    pub fn absorb(&mut self, mut other: Self) {
        let known: Vec<Identity> = other.members.keys().cloned().collect();
        for who in known {
            if let Some(member) = other.take(&who) {
                self.change(&who, |known, _| known.merge(&member));
            }
        }
    }

    /// Forgets a member.
    pub fn forget(&mut self, who: &Identity) {
        if self.take(who).is_some() {
            self.is_full = false;
        }
    }

    /// A member's figures over the stretch that ends now; all of them if none is named. Rows have at
    /// least the length of `step`; without one, they are as short as the member's words allow.
    /// `None` if nothing was told of it. This is a look at the member.
    pub fn columns(
        &mut self,
        who: &Identity,
        figures: &[Figure],
        over: Duration,
        step: Option<Duration>,
        now: u64,
    ) -> Option<Columns> {
        let member = self.members.get_mut(who)?;
        self.looks += 1;
        member.looked = self.looks;
        let columns = member.columns(figures, over, step, now.min(LAST));
        member.take_up();
        Some(columns)
    }

    /// What is known of a member over the stretch that ends now. The least and the most of the last
    /// ten minutes are those of averages over five seconds.
    pub fn averages(&self, who: &Identity, over: Duration, now: u64) -> Option<Known> {
        Some(self.members.get(who)?.averages(over, now.min(LAST)))
    }

    /// The members that have a history.
    pub fn members(&self) -> impl Iterator<Item = &Identity> {
        self.members.keys()
    }

    /// The minutes that have ended and were not taken yet; with `all`, the current one, too.
    pub fn finished(&mut self, now: u64, all: bool) -> Vec<Minute> {
        let now = now.min(LAST);
        let current = now - now % MINUTE;
        let mut minutes = Vec::new();
        for (who, member) in &mut self.members {
            let before = member.memory();
            let mut done = member.done.take();
            let open = member.open.as_ref();
            if done.is_none() && open.is_some_and(|open| all || open.time != current) {
                done = member.open.take();
            } else if all && let Some(open) = member.open.take() {
                minutes.push(open.finish(who.clone()));
            }
            if let Some(done) = done {
                minutes.push(done.finish(who.clone()));
            }
            self.used = (self.used + member.memory()).saturating_sub(before);
        }
        minutes.sort_by(|one, other| (one.time, &one.member).cmp(&(other.time, &other.member)));
        minutes
    }

    /// How many minutes were not taken in time since the last call, and are lost for the disk.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost_minutes)
    }

    /// Bytes that are allocated.
    pub fn memory(&self) -> usize {
        // The table has eight places for seven members, and a byte beside each.
        let places = match self.table {
            0 => 0,
            members => (members + 1).next_power_of_two(),
        };
        self.used + places * (size_of::<(Identity, Box<Member>)>() + 1)
    }

    /// What is not kept for want of memory.
    pub fn given_up(&self) -> GivenUp {
        let without = |place: usize| {
            let members = self.members.values();
            let rings = members.filter_map(|member| member.rings.get(place));
            rings.filter(|ring| ring.is_none()).count()
        };
        GivenUp {
            long: without(2),
            middle: without(1),
            short: without(0),
        }
    }

    /// Changes a member, which is made if it is new, and keeps account of memory.
    fn change(&mut self, who: &Identity, change: impl FnOnce(&mut Member, &mut u64)) {
        if !self.members.contains_key(who) {
            if self.limit < LEAST || self.is_full || self.members.len() >= MAX_MEMBERS {
                return;
            }
            self.members.insert(who.clone(), Box::new(Member::new()));
            self.table = self.table.max(self.members.capacity());
            self.used += entry(who);
        }
        let has_room = self.memory() < self.limit / 4 * 3;
        let Some(member) = self.members.get_mut(who) else {
            return;
        };
        if has_room {
            member.take_up();
        }
        let before = member.memory();
        change(member, &mut self.lost_minutes);
        let after = member.memory();
        self.used = (self.used + after).saturating_sub(before);
        if self.memory() > self.limit {
            self.make_room();
            if self.memory() > self.limit {
                self.is_full = true;
                self.take(who);
            }
        }
    }

    fn take(&mut self, who: &Identity) -> Option<Box<Member>> {
        let member = self.members.remove(who)?;
        self.used = self.used.saturating_sub(entry(who) + member.memory());
        Some(member)
    }

    /// Gives up rings until a sixteenth of the memory is free.
    fn make_room(&mut self) {
        let target = self.limit - self.limit / 16;
        let mut members: Vec<(u64, u64, &Identity)> = self
            .members
            .iter()
            .map(|(who, member)| (member.looked, member.heard, who))
            .collect();
        members.sort_unstable();
        let order: Vec<Identity> = members.into_iter().map(|(.., who)| who.clone()).collect();
        for place in (0..GRAINS.len()).rev() {
            for who in &order {
                if self.memory() <= target {
                    return;
                }
                let ring = self
                    .members
                    .get_mut(who)
                    .and_then(|member| member.rings.get_mut(place)?.take());
                self.used = self
                    .used
                    .saturating_sub(ring.as_ref().map_or(0, Ring::memory));
            }
        }
    }
}

impl Member {
    /// The open minute has ended. Gives how many minutes are lost by that.
    fn end_minute(&mut self) -> u64 {
        match self.open.take() {
            Some(open) => u64::from(self.done.replace(open).is_some()),
            None => 0,
        }
    }
}

/// Bytes of a member beside its rings: itself, and the text of its identity.
fn entry(who: &Identity) -> usize {
    let text = match who {
        Identity::Directory(text)
        | Identity::Agent(text)
        | Identity::Instance(text)
        | Identity::Address(text) => 2 * size_of::<usize>() + text.len(),
        Identity::Source(_) => 0,
    };
    size_of::<Member>() + text
}
