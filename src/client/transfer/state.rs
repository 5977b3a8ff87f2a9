//! The files that a transfer has under way, and what the balancer's answers ask for. Knows no
//! connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::tally::{Fate, Tally, place};
use crate::protocol::{Message, RefusalCode};

/// How many times a file that changes while it is read is read again.
const RETRIES: u32 = 5;

/// The time before the first of these. Each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// The balancer wants the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    /// The file's place.
    pub(super) file: usize,
    /// How many bytes of it the balancer has already.
    pub(super) offset: u64,
}

/// The files that are under way, by their places among the sources.
#[derive(Debug, Default)]
pub(super) struct TransferState {
    /// Large files of which a part was sent, on any connection.
    begun: BTreeSet<usize>,
    /// Files that were sent from the start again, because the balancer had another prefix.
    restarted: BTreeSet<usize>,
    /// Files that were offered on this connection, and whose answer has not come yet.
    offered: BTreeSet<usize>,
    /// Files that were sent from an offset on, on this connection.
    resumed: BTreeSet<usize>,
    /// Files that changed while they were read, and how many times.
    changed: BTreeMap<usize, u32>,
    /// Those of them that are to be read again, and the time.
    put_off: BTreeMap<usize, Instant>,
    /// Whether anything was heard on this connection.
    pub(super) has_heard: bool,
}

impl TransferState {
    /// A new connection: nothing is under way on it.
    pub(super) fn connected(&mut self) {
        self.offered.clear();
        self.resumed.clear();
        self.has_heard = false;
    }

    /// Whether a part of a large file was sent.
    pub(super) fn has_begun(&self, file: usize) -> bool {
        self.begun.contains(&file)
    }

    /// The file is being offered.
    pub(super) fn offer(&mut self, file: usize) {
        self.offered.insert(file);
    }

    /// A large file is being sent from an offset on.
    pub(super) fn begin(&mut self, file: usize, offset: u64) {
        self.begun.insert(file);
        if offset > 0 {
            self.resumed.insert(file);
        }
    }

    /// A file changed while it was read, and is read again later. An error with the number of
    /// changes if it changed once too often for that.
    pub(super) fn put_off(&mut self, file: usize, now: Instant) -> Result<(), u32> {
        let times = self.changed.entry(file).or_default();
        *times += 1;
        if *times > RETRIES {
            return Err(*times);
        }
        self.put_off.insert(file, now + PAUSE * (1 << (*times - 1)));
        Ok(())
    }

    /// Whether the file changed while it was read, at any time.
    pub(super) fn has_changed(&self, file: usize) -> bool {
        self.changed.contains_key(&file)
    }

    /// Whether the file is to be read again later.
    pub(super) fn is_put_off(&self, file: usize) -> bool {
        self.put_off.contains_key(&file)
    }

    /// The file that is to be read again next, and the time.
    pub(super) fn next_due(&self) -> Option<(usize, Instant)> {
        self.put_off
            .iter()
            .map(|(file, due)| (*file, *due))
            .min_by_key(|(_, due)| *due)
    }

    /// The file is read again now.
    pub(super) fn is_due(&mut self, file: usize) {
        self.put_off.remove(&file);
    }

    /// A message came. Gives the content that the balancer wants now, if any.
    pub(super) fn heard(&mut self, message: Message, tally: &mut Tally) -> Option<Grant> {
        self.has_heard = true;
        match message {
            Message::Wanted { id, offset } => self.wanted(place(id), offset, tally),
            Message::Refused { id, refusal }
                if refusal.code == RefusalCode::Checksum && self.starts_over(place(id)) =>
            {
                Some(Grant {
                    file: place(id),
                    offset: 0,
                })
            }
            message => {
                tally.heard(message);
                None
            }
        }
    }

    /// The balancer does not have the file. A file that it once accepted it may have delivered and
    /// forgotten, so that a resend could store it twice.
    fn wanted(&mut self, file: usize, offset: u64, tally: &mut Tally) -> Option<Grant> {
        if !self.offered.remove(&file) {
            return None;
        }
        if tally.fates.get(file) == Some(&Fate::Pending) {
            tally.not_there(file);
            return Some(Grant { file, offset });
        }
        tally.forgotten(file);
        None
    }

    /// Whether a refused file was sent from an offset on, and gets its one chance to be sent from
    /// the start.
    fn starts_over(&mut self, file: usize) -> bool {
        self.resumed.remove(&file) && self.restarted.insert(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    fn wanted(id: u64, offset: u64) -> Message {
        Message::Wanted { id, offset }
    }

    fn wrong(id: u64) -> Message {
        Message::Refused {
            id,
            refusal: Refusal::new(RefusalCode::Checksum, "another beginning"),
        }
    }

    #[test]
    fn only_what_was_offered_can_be_wanted_and_only_once() {
        let mut state = TransferState::default();
        let mut tally = Tally::new(2);
        assert_eq!(state.heard(wanted(0, 5), &mut tally), None);
        state.offer(0);
        assert_eq!(
            state.heard(wanted(0, 5), &mut tally),
            Some(Grant { file: 0, offset: 5 })
        );
        assert_eq!(state.heard(wanted(0, 5), &mut tally), None);
        assert_eq!(state.heard(wanted(u64::MAX, 5), &mut tally), None);
        state.offer(1);
        state.connected();
        assert_eq!(
            state.heard(wanted(1, 0), &mut tally),
            None,
            "offers end with their connection"
        );
    }

    #[test]
    fn an_accepted_file_that_is_wanted_again_is_forgotten() {
        let mut state = TransferState::default();
        let mut tally = Tally::new(1);
        state.heard(Message::Accepted { id: 0, number: 9 }, &mut tally);
        state.offer(0);
        assert_eq!(state.heard(wanted(0, 0), &mut tally), None);
        assert_eq!(tally.fates, [Fate::Forgotten { number: 9 }]);
    }

    #[test]
    fn a_resumed_file_starts_over_once_and_any_other_is_refused() {
        let mut state = TransferState::default();
        let mut tally = Tally::new(2);
        state.begin(0, 100);
        assert_eq!(
            state.heard(wrong(0), &mut tally),
            Some(Grant { file: 0, offset: 0 })
        );
        state.begin(0, 0);
        state.heard(wrong(0), &mut tally);
        assert_eq!(
            tally.refused, 1,
            "a file that was sent from the start has no other prefix"
        );
        state.begin(1, 0);
        assert_eq!(state.heard(wrong(1), &mut tally), None);
        assert_eq!(tally.refused, 2);
    }
}
