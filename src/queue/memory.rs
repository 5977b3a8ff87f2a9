//! The queue in memory: it survives nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Depth, Numbers, NumbersError, Queue, Queued};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Delayed(Duration),
    Taken,
}

/// A queue in memory. Files leave it in the order of their numbers, but for those that wait to be tried again.
#[derive(Debug)]
pub struct MemoryQueue<T> {
    numbers: Numbers,
    files: BTreeMap<u64, (Queued<T>, State)>,
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Duration, u64)>,
    bytes: u64,
}

impl<T> MemoryQueue<T> {
    /// An empty queue that takes its request numbers from `numbers`.
    pub fn new(numbers: Numbers) -> Self {
        Self { numbers, files: BTreeMap::new(), ready: BTreeSet::new(), delayed: BTreeSet::new(), bytes: 0 }
    }

    /// Moves a file to another state, if it is there.
    fn shift(&mut self, number: u64, to: State) {
        let Some((_, state)) = self.files.get_mut(&number) else { return };
        let from = std::mem::replace(state, to);
        self.unlist(number, from);
        match to {
            State::Ready => drop(self.ready.insert(number)),
            State::Delayed(until) => drop(self.delayed.insert((until, number))),
            State::Taken => {}
        }
    }

    fn unlist(&mut self, number: u64, state: State) {
        match state {
            State::Ready => drop(self.ready.remove(&number)),
            State::Delayed(until) => drop(self.delayed.remove(&(until, number))),
            State::Taken => {}
        }
    }

    /// Checks that each file is listed just where its state says. For tests.
    #[cfg(test)]
    fn check_invariants(&self) {
        let mut bytes = 0;
        for (number, (file, state)) in &self.files {
            assert_eq!(self.ready.contains(number), *state == State::Ready);
            let delayed = self.delayed.iter().filter(|(_, n)| n == number).count();
            assert_eq!(delayed, usize::from(matches!(state, State::Delayed(_))));
            bytes += file.content.len() as u64;
        }
        assert_eq!(self.bytes, bytes);
        let depth = self.depth();
        assert_eq!(depth.files(), self.files.len());
    }
}

impl<T> Queue<T> for MemoryQueue<T> {
    fn accept(&mut self, file: Queued<T>) -> Result<u64, NumbersError> {
        let number = self.numbers.take()?;
        self.bytes += file.content.len() as u64;
        self.files.insert(number, (file, State::Ready));
        self.ready.insert(number);
        Ok(number)
    }

    fn take(&mut self) -> Option<u64> {
        let number = self.ready.pop_first()?;
        self.shift(number, State::Taken);
        Some(number)
    }

    fn get(&self, number: u64) -> Option<&Queued<T>> {
        self.files.get(&number).map(|(file, _)| file)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Queued<T>> {
        self.files.get_mut(&number).map(|(file, _)| file)
    }

    fn put_back(&mut self, number: u64) {
        self.shift(number, State::Ready);
    }

    fn delay(&mut self, number: u64, until: Duration) {
        self.shift(number, State::Delayed(until));
    }

    fn wake(&mut self, now: Duration) {
        while let Some(&(until, number)) = self.delayed.first().filter(|(until, _)| *until <= now) {
            self.delayed.remove(&(until, number));
            self.shift(number, State::Ready);
        }
    }

    fn wake_all(&mut self) {
        self.wake(Duration::MAX);
    }

    fn next_wake(&self) -> Option<Duration> {
        self.delayed.first().map(|(until, _)| *until)
    }

    fn settle(&mut self, number: u64) -> Option<Queued<T>> {
        let (file, state) = self.files.remove(&number)?;
        self.unlist(number, state);
        self.bytes -= file.content.len() as u64;
        Some(file)
    }

    fn depth(&self) -> Depth {
        let (ready, delayed) = (self.ready.len(), self.delayed.len());
        Depth { ready, delayed, taken: self.files.len() - ready - delayed, bytes: self.bytes }
    }

    fn oldest(&self) -> Option<Duration> {
        self.files.first_key_value().map(|(_, (file, _))| file.accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(size: usize) -> Queued<()> {
        let content = vec![b'x'; size].into();
        Queued { title: "t".into(), content, attempts: 0, accepted: Duration::ZERO, tag: () }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn files_leave_in_order_and_return_to_their_place() {
        let mut queue = MemoryQueue::new(Numbers::in_memory());
        for _ in 0..4 {
            queue.accept(file(1)).unwrap();
        }
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(1), Some(2), Some(3)]);
        queue.put_back(2);
        queue.delay(1, seconds(5));
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(2), Some(4), None]);
        assert_eq!(queue.next_wake(), Some(seconds(5)));
        queue.wake(seconds(4));
        assert_eq!(queue.take(), None);
        queue.wake(seconds(5));
        assert_eq!(queue.take(), Some(1));
        assert_eq!(queue.depth(), Depth { ready: 0, delayed: 0, taken: 4, bytes: 4 });
        assert!(queue.settle(3).is_some() && queue.settle(3).is_none());
        assert_eq!(queue.depth().files(), 3);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Accept(usize),
        Take,
        PutBack(u64),
        Delay(u64, u64),
        Wake(u64),
        WakeAll,
        Settle(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..50).prop_map(Step::Accept),
            Just(Step::Take),
            (1u64..30).prop_map(Step::PutBack),
            (1u64..30, 0u64..20).prop_map(|(number, until)| Step::Delay(number, until)),
            (0u64..20).prop_map(Step::Wake),
            Just(Step::WakeAll),
            (1u64..30).prop_map(Step::Settle),
        ]
    }

    proptest! {
        #[test]
        fn no_file_is_lost_or_listed_twice(steps in proptest::collection::vec(step(), 1..80)) {
            let mut queue = MemoryQueue::new(Numbers::in_memory());
            let mut held = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Accept(size) => drop(held.insert(queue.accept(file(size)).unwrap())),
                    Step::Take => {
                        let oldest = queue.ready.first().copied();
                        prop_assert_eq!(queue.take(), oldest);
                    }
                    Step::PutBack(number) => queue.put_back(number),
                    Step::Delay(number, until) => queue.delay(number, seconds(until)),
                    Step::Wake(now) => queue.wake(seconds(now)),
                    Step::WakeAll => queue.wake_all(),
                    Step::Settle(number) => {
                        prop_assert_eq!(queue.settle(number).is_some(), held.remove(&number));
                    }
                }
                queue.check_invariants();
                prop_assert!(held.iter().eq(queue.files.keys()));
            }
        }
    }
}
