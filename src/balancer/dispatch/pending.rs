//! The files that wait to be delivered, in memory. Their durable record is in the journal.
//!
//! Invariant: every file is in exactly one state, and files that are ready leave in the order of
//! their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::file::{History, Meta};

/// A file that waits.
#[derive(Debug, Clone)]
pub struct Queued<T> {
    /// Title, size, checksum and origin.
    pub meta: Arc<Meta>,
    /// The attempts that failed.
    pub history: History,
    /// What the owner of the queue keeps beside it.
    pub tag: T,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Files that can go to a server now.
    pub ready: usize,
    /// Files that wait for a time to try again, or for a server to come back.
    pub delayed: usize,
    /// Files that are with a server, not acknowledged yet.
    pub taken: usize,
    /// Content bytes of all of them.
    pub bytes: u64,
}

impl Depth {
    /// All files that are accepted and not settled.
    pub fn files(&self) -> usize {
        self.ready + self.delayed + self.taken
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Delayed(Duration),
    Parked,
    Taken,
}

/// The files that wait. Times are on the clock of their owner.
#[derive(Debug)]
pub struct Pending<T> {
    files: BTreeMap<u64, (Queued<T>, State)>,
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Duration, u64)>,
    taken: usize,
    bytes: u64,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            taken: 0,
            bytes: 0,
        }
    }
}

impl<T> Pending<T> {
    /// Moves a file to another state, if it is there.
    fn shift(&mut self, number: u64, to: State) {
        let Some((_, state)) = self.files.get_mut(&number) else {
            return;
        };
        let from = std::mem::replace(state, to);
        self.unlist(number, from);
        match to {
            State::Ready => drop(self.ready.insert(number)),
            State::Delayed(until) => drop(self.delayed.insert((until, number))),
            State::Parked => {}
            State::Taken => self.taken += 1,
        }
    }

    fn unlist(&mut self, number: u64, state: State) {
        match state {
            State::Ready => drop(self.ready.remove(&number)),
            State::Delayed(until) => drop(self.delayed.remove(&(until, number))),
            State::Parked => {}
            State::Taken => self.taken -= 1,
        }
    }

    /// Takes a file in, ready to be sent.
    pub fn insert(&mut self, number: u64, file: Queued<T>) {
        self.bytes += file.meta.size;
        self.files.insert(number, (file, State::Ready));
        self.ready.insert(number);
    }

    /// Takes the oldest file that is ready, if its number is below this.
    pub fn take_below(&mut self, end: u64) -> Option<u64> {
        let number = self.ready.first().copied().filter(|number| *number < end)?;
        self.shift(number, State::Taken);
        Some(number)
    }

    /// The file with this number, whatever its state.
    pub fn get(&self, number: u64) -> Option<&Queued<T>> {
        self.files.get(&number).map(|(file, _)| file)
    }

    /// The file with this number, to be changed.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Queued<T>> {
        self.files.get_mut(&number).map(|(file, _)| file)
    }

    /// Changes what their owner keeps beside the files.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(&mut Queued<T>)) {
        self.files.values_mut().for_each(|(file, _)| change(file));
    }

    /// How many files are ready, and the first of them.
    pub fn ready(&self) -> (usize, Option<u64>) {
        (self.ready.len(), self.ready.first().copied())
    }

    /// Whether the file is with a server.
    pub fn is_taken(&self, number: u64) -> bool {
        self.files
            .get(&number)
            .is_some_and(|(_, state)| *state == State::Taken)
    }

    /// Whether the file waits to be put back.
    pub fn is_parked(&self, number: u64) -> bool {
        self.files
            .get(&number)
            .is_some_and(|(_, state)| *state == State::Parked)
    }

    /// The files with higher numbers than `after`, in order.
    pub fn after(&self, after: u64) -> impl Iterator<Item = (u64, &Queued<T>)> {
        let above = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.files
            .range(above)
            .map(|(number, (file, _))| (*number, file))
    }

    /// The files with lower numbers than `before`, from the highest number to the lowest.
    pub fn before(&self, before: u64) -> impl Iterator<Item = (u64, &Queued<T>)> {
        let below = self.files.range(..before).rev();
        below.map(|(number, (file, _))| (*number, file))
    }

    /// Makes a file ready, in its old place.
    pub fn put_back(&mut self, number: u64) {
        self.shift(number, State::Ready);
    }

    /// Makes a file wait until `until`.
    pub fn delay(&mut self, number: u64, until: Duration) {
        self.shift(number, State::Delayed(until));
    }

    /// Makes a file wait until it is put back.
    pub fn park(&mut self, number: u64) {
        self.shift(number, State::Parked);
    }

    /// Makes the files ready whose wait has ended.
    pub fn wake(&mut self, now: Duration) {
        while let Some(&(until, number)) = self.delayed.first().filter(|(until, _)| *until <= now) {
            self.delayed.remove(&(until, number));
            self.shift(number, State::Ready);
        }
    }

    /// Makes all files ready that wait for a time to try again.
    pub fn wake_all(&mut self) {
        self.wake(Duration::MAX);
    }

    /// When the next delayed file becomes ready.
    pub fn next_wake(&self) -> Option<Duration> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// Removes a file that waits no longer, and gives it back.
    pub fn settle(&mut self, number: u64) -> Option<Queued<T>> {
        let (file, state) = self.files.remove(&number)?;
        self.unlist(number, state);
        self.bytes -= file.meta.size;
        Some(file)
    }

    /// How much waits.
    pub fn depth(&self) -> Depth {
        let ready = self.ready.len();
        Depth {
            ready,
            delayed: self.files.len() - ready - self.taken,
            taken: self.taken,
            bytes: self.bytes,
        }
    }

    /// When the oldest file was accepted, in milliseconds since the beginning of 1970, UTC.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.files
            .first_key_value()
            .map(|(_, (file, _))| file.meta.accepted_ms)
    }

    /// Checks that each file is listed just where its state says. For tests.
    #[cfg(test)]
    fn check_invariants(&self) {
        let mut bytes = 0;
        for (number, (file, state)) in &self.files {
            assert_eq!(self.ready.contains(number), *state == State::Ready);
            let delayed = self.delayed.iter().filter(|(_, n)| n == number).count();
            assert_eq!(delayed, usize::from(matches!(state, State::Delayed(_))));
            bytes += file.meta.size;
        }
        assert_eq!(self.bytes, bytes);
        assert_eq!(
            self.taken,
            self.files
                .values()
                .filter(|(_, state)| *state == State::Taken)
                .count()
        );
        let depth = self.depth();
        assert_eq!(depth.files(), self.files.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(size: u64) -> Queued<()> {
        let meta = Meta {
            title: "t".into(),
            key: None,
            from: "f".into(),
            size,
            crc32c: 0,
            accepted_ms: 0,
        };
        Queued {
            meta: Arc::new(meta),
            history: History::default(),
            tag: (),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn files_leave_in_order_and_return_to_their_place() {
        let mut queue = Pending::default();
        for number in 1..=4 {
            queue.insert(number, file(1));
        }
        assert_eq!(
            [
                queue.take_below(u64::MAX),
                queue.take_below(u64::MAX),
                queue.take_below(u64::MAX)
            ],
            [Some(1), Some(2), Some(3)]
        );
        queue.put_back(2);
        queue.delay(1, seconds(5));
        assert_eq!(
            [
                queue.take_below(u64::MAX),
                queue.take_below(u64::MAX),
                queue.take_below(u64::MAX)
            ],
            [Some(2), Some(4), None]
        );
        assert_eq!(queue.next_wake(), Some(seconds(5)));
        queue.wake(seconds(4));
        assert_eq!(queue.take_below(u64::MAX), None);
        queue.wake(seconds(5));
        assert_eq!(queue.take_below(u64::MAX), Some(1));
        assert_eq!(
            queue.depth(),
            Depth {
                ready: 0,
                delayed: 0,
                taken: 4,
                bytes: 4
            }
        );
        assert!(queue.settle(3).is_some() && queue.settle(3).is_none());
        assert_eq!(queue.depth().files(), 3);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Accept(u64),
        Take,
        PutBack(u64),
        Delay(u64, u64),
        Park(u64),
        Wake(u64),
        WakeAll,
        Settle(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..50).prop_map(Step::Accept),
            Just(Step::Take),
            (1u64..30).prop_map(Step::PutBack),
            (1u64..30, 0u64..20).prop_map(|(number, until)| Step::Delay(number, until)),
            (1u64..30).prop_map(Step::Park),
            (0u64..20).prop_map(Step::Wake),
            Just(Step::WakeAll),
            (1u64..30).prop_map(Step::Settle),
        ]
    }

    proptest! {
        #[test]
        fn no_file_is_lost_or_listed_twice(steps in proptest::collection::vec(step(), 1..80)) {
            let mut queue = Pending::default();
            let mut known = BTreeSet::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Accept(size) => {
                        queue.insert(next, file(size));
                        known.insert(next);
                        next += 1;
                    }
                    Step::Take => {
                        let oldest = queue.ready.first().copied();
                        prop_assert_eq!(queue.take_below(u64::MAX), oldest);
                    }
                    Step::PutBack(number) => queue.put_back(number),
                    Step::Delay(number, until) => queue.delay(number, seconds(until)),
                    Step::Park(number) => queue.park(number),
                    Step::Wake(now) => queue.wake(seconds(now)),
                    Step::WakeAll => queue.wake_all(),
                    Step::Settle(number) => {
                        prop_assert_eq!(queue.settle(number).is_some(), known.remove(&number));
                    }
                }
                queue.check_invariants();
                prop_assert!(known.iter().eq(queue.files.keys()));
            }
        }
    }
}
