//! The files that were sent over a native link and are not acknowledged yet, and since when the
//! server owes an answer.
//!
//! The oldest file decides. Its time begins when its last byte was written, or when the last file
//! before it was answered for, whichever was later. A server that works through what it has is
//! slow; one that answers for nothing, or for all files but one, is stuck, however much it is sent
//! meanwhile. No answer is owed for a file that is still being written; the writer watches whether
//! its bytes get on.
//!
//! A server answers once for each file and each order to remove a copy. One that answers for
//! anything else breaks the protocol: its answers could come without end.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The files that are not acknowledged.
#[derive(Debug)]
pub(super) struct Outstanding(Mutex<Files>);

#[derive(Debug)]
struct Files {
    /// The places of the files in the order in which they were sent.
    order: BTreeSet<u64>,
    places: HashMap<u64, u64>,
    /// Answers that are owed beside those for `places`: for files that were sent once more before
    /// the first answer.
    repeated: HashMap<u64, u32>,
    /// Numbers of the copies that the server is to remove, and how often it was told so.
    removals: HashMap<u64, u32>,
    next: u64,
    /// Files with places below this are written.
    written: u64,
    /// Since when the server owes an answer for the first of them, once that is written.
    since: Instant,
}

impl Outstanding {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Files {
            order: BTreeSet::new(),
            places: HashMap::new(),
            repeated: HashMap::new(),
            removals: HashMap::new(),
            next: 0,
            written: 0,
            since: Instant::now(),
        }))
    }

    /// A file is about to be written; gives its place.
    pub(super) fn begin(&self, number: u64) -> u64 {
        let mut files = self.lock();
        let place = files.next;
        files.next += 1;
        if let Some(before) = files.places.insert(number, place) {
            files.order.remove(&before);
            *files.repeated.entry(number).or_default() += 1;
        }
        files.order.insert(place);
        place
    }

    /// The server is told to remove the copy of a file.
    pub(super) fn ordered(&self, number: u64) {
        *self.lock().removals.entry(number).or_default() += 1;
    }

    /// The server has removed a copy; false if it was not told to.
    pub(super) fn removed(&self, number: u64) -> bool {
        take_one(&mut self.lock().removals, number)
    }

    /// All files before this place are written.
    pub(super) fn written_before(&self, place: u64) {
        let mut files = self.lock();
        // The answer for the first one is owed from now on.
        let is_first = files
            .order
            .first()
            .is_some_and(|first| (files.written..place).contains(first));
        files.written = place;
        if is_first {
            files.since = Instant::now();
        }
    }

    /// All files that were begun are written.
    pub(super) fn written(&self) {
        let next = self.lock().next;
        self.written_before(next);
    }

    /// The server has answered for these files. The first one that was not sent to it, or for which
    /// it has answered before, is the error.
    pub(super) fn answered(&self, numbers: &[u64]) -> Result<(), u64> {
        let mut files = self.lock();
        let first = files.order.first().copied();
        let mut unknown = None;
        for number in numbers {
            if let Some(place) = files.places.remove(number) {
                files.order.remove(&place);
            } else if !take_one(&mut files.repeated, *number) {
                unknown = unknown.or(Some(*number));
            }
        }
        if files.order.first().copied() != first {
            files.since = Instant::now();
        }
        unknown.map_or(Ok(()), Err)
    }

    /// Since when an answer is owed, if one is.
    fn owed_since(&self) -> Option<Instant> {
        let files = self.lock();
        files
            .order
            .first()
            .filter(|first| **first < files.written)
            .map(|_| files.since)
    }

    /// Returns once an answer has been owed for this long.
    pub(super) async fn is_stuck(&self, stall: Duration) {
        loop {
            // An answer that is owed from now on is late no sooner than that.
            let now = Instant::now();
            let late = self.owed_since().unwrap_or(now).checked_add(stall);
            match late {
                Some(late) if late > now => sleep_until(late).await,
                Some(_) => return,
                None => std::future::pending().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one off the count of a number; false if it is not counted.
fn take_one(counts: &mut HashMap<u64, u32>, number: u64) -> bool {
    let Entry::Occupied(mut count) = counts.entry(number) else {
        return false;
    };
    *count.get_mut() -= 1;
    if *count.get() == 0 {
        count.remove();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const STALL: Duration = Duration::from_secs(10);

    /// Whether the server is found stuck when this time has passed.
    async fn is_stuck_in(files: &Outstanding, seconds: u64) -> bool {
        timeout(Duration::from_secs(seconds), files.is_stuck(STALL))
            .await
            .is_ok()
    }

    fn send(files: &Outstanding, number: u64) {
        files.begin(number);
        files.written();
    }

    /// Each file that was sent, and each answer, began the time anew for all of them.
    #[tokio::test(start_paused = true)]
    async fn the_oldest_file_decides_whatever_else_is_sent_and_answered() {
        let files = Outstanding::new();
        send(&files, 1);
        for number in 2..6 {
            assert!(!is_stuck_in(&files, 2).await);
            send(&files, number);
            files.answered(&[number]).unwrap();
        }
        assert!(is_stuck_in(&files, 3).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_in_order_is_slow_and_not_stuck() {
        let files = Outstanding::new();
        (1..=20).for_each(|number| send(&files, number));
        for number in 1..=20 {
            assert!(!is_stuck_in(&files, 8).await);
            files.answered(&[number]).unwrap();
        }
        assert!(!is_stuck_in(&files, 100).await, "it owes nothing");
        send(&files, 21);
        assert!(!is_stuck_in(&files, 9).await && is_stuck_in(&files, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_owes_nothing_and_hides_nothing_before_it() {
        let files = Outstanding::new();
        files.begin(1);
        assert!(!is_stuck_in(&files, 100).await, "it is still being written");
        files.written();
        assert!(
            !is_stuck_in(&files, 9).await,
            "its time begins with its last byte"
        );
        files.answered(&[1]).unwrap();

        files.begin(2);
        let large = files.begin(3);
        files.written_before(large);
        assert!(
            is_stuck_in(&files, 11).await,
            "the one before the large one has been written long ago"
        );
        files.answered(&[2]).unwrap();
        assert!(
            !is_stuck_in(&files, 100).await,
            "the large one is still being written"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_comes_again_has_a_new_place_and_is_answered_for_twice() {
        let files = Outstanding::new();
        send(&files, 1);
        advance(Duration::from_secs(9)).await;
        send(&files, 2);
        send(&files, 1);
        assert!(!is_stuck_in(&files, 0).await);
        files.answered(&[1]).unwrap();
        files.answered(&[1]).unwrap();
        assert_eq!(files.lock().order.len(), 1);
        assert_eq!(files.lock().places.len(), 1);
        assert!(files.lock().repeated.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nothing_asked_for_are_errors_and_count_for_nothing() {
        let files = Outstanding::new();
        send(&files, 1);
        advance(Duration::from_secs(9)).await;
        assert_eq!(files.answered(&[7, 1, 8]), Err(7));
        assert_eq!(files.answered(&[1]), Err(1), "it was answered for");
        files.ordered(3);
        files.ordered(3);
        assert!(files.removed(3) && files.removed(3));
        assert!(!files.removed(3) && !files.removed(4));
        assert!(files.lock().removals.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_no_clock_can_show_is_never() {
        let files = Outstanding::new();
        send(&files, 1);
        assert!(
            timeout(Duration::from_hours(1), files.is_stuck(Duration::MAX))
                .await
                .is_err()
        );
    }
}
