//! Whose fault a refusal is: the file's, or that of the server that cannot write at the moment.
//!
//! A server may say that it cannot store (`storage`, `busy`) when its disk is full, or when this
//! one file has a name or a size that its file system does not take. It cannot always tell the two
//! apart, so others are tried: another file at the server before the server is blamed, another
//! server for the file before the file is. A server is to blame that refused two files and stored
//! none in between, or one that another server then stored; it pauses, and is then tried with one
//! file. A file is to blame that was refused again where others were stored meanwhile, and hardly
//! any refused.

use crate::schedule::Slot;

/// How many of the files that a server refused are told apart.
const MAX_REFUSED: usize = 16;

/// A server that works stores more than this many files for each one that it refuses.
const WORKS: u64 = 8;

/// What a server has stored and refused.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// How many files the server has stored.
    stored: u64,
    /// How many times it refused files that nothing else speaks against.
    refused: u64,
    /// The last of them that it refused since it last stored a file.
    unexplained: Vec<u64>,
    /// Why it refused the last file.
    reason: Box<str>,
    /// The server gets one file at a time until it has stored one.
    is_on_trial: bool,
}

/// What a server had done when it refused a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) slot: Slot,
    stored: u64,
    refused: u64,
}

impl Standing {
    /// The server has stored a file.
    pub(super) fn stored(&mut self) {
        self.stored += 1;
        self.unexplained.clear();
        self.is_on_trial = false;
    }

    /// The server has refused a file that nothing else speaks against. True if the server is to
    /// blame.
    pub(super) fn refused(&mut self, number: u64) -> bool {
        self.refused += 1;
        if self.unexplained.contains(&number) {
            return false;
        }
        let is_to_blame = !self.unexplained.is_empty();
        if self.unexplained.len() >= MAX_REFUSED {
            self.unexplained.remove(0);
        }
        self.unexplained.push(number);
        is_to_blame
    }

    /// Notes why the server refused a file.
    pub(super) fn refused_because(&mut self, reason: &str) {
        self.reason = reason.into();
    }

    /// Why the server refused the last file.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// From now on the server gets one file at a time, until it has stored one.
    pub(super) fn put_on_trial(&mut self) {
        self.is_on_trial = true;
    }

    /// Whether the server gets one file at a time.
    pub(super) fn is_on_trial(&self) -> bool {
        self.is_on_trial
    }

    /// What the server has done by now.
    pub(super) fn mark(&self, slot: Slot) -> Mark {
        Mark {
            slot,
            stored: self.stored,
            refused: self.refused,
        }
    }

    /// Whether the server has stored others since then, and hardly refused any.
    fn works_since(&self, mark: &Mark) -> bool {
        let stored = self.stored - mark.stored;
        let refused = self.refused - mark.refused;
        stored > refused.saturating_mul(WORKS)
    }

    /// Whether the server has stored nothing since then.
    pub(super) fn fails_since(&self, mark: &Mark) -> bool {
        self.stored == mark.stored
    }
}

/// The refusals of a file.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The last refusal of each server.
    marks: Vec<Mark>,
    /// A server that works has refused the file again.
    is_suspect: bool,
    /// One of the servers that were tried since the file last waited may be to blame itself.
    is_excused: bool,
}

/// What a refusal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet: others must be tried.
    Open,
    /// The server cannot store.
    Server,
    /// The file was refused by a server that works.
    File,
}

impl Record {
    /// The server has refused the file.
    pub(super) fn refused(&mut self, slot: Slot, number: u64, server: &mut Standing) -> Verdict {
        let known = self.marks.iter_mut().find(|mark| mark.slot == slot);
        let is_files_fault = known.as_ref().is_some_and(|mark| server.works_since(mark));
        self.is_suspect |= is_files_fault;
        self.is_excused |= !is_files_fault;
        let is_servers_fault = !self.is_suspect && server.refused(number);
        let mark = server.mark(slot);
        match known {
            Some(known) => *known = mark,
            None => self.marks.push(mark),
        }
        match (is_files_fault, is_servers_fault) {
            (true, _) => Verdict::File,
            (false, true) => Verdict::Server,
            (false, false) => Verdict::Open,
        }
    }

    /// Whether every server works that refused the file since it last waited.
    pub(super) fn is_condemned(&self) -> bool {
        !self.is_excused
    }

    /// The file waits before it is tried again.
    pub(super) fn waits(&mut self) {
        self.is_excused = false;
    }

    /// The refusals so far.
    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The server is gone.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.marks.retain(|mark| mark.slot != slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Scheduler;

    fn slot() -> Slot {
        Scheduler::new().add(1)
    }

    #[test]
    fn one_file_that_is_refused_again_and_again_says_nothing_of_the_server() {
        let (mut server, mut file) = (Standing::default(), Record::default());
        for _ in 0..100 {
            assert_eq!(file.refused(slot(), 1, &mut server), Verdict::Open);
            assert!(!file.is_condemned());
            file.waits();
        }
    }

    #[test]
    fn two_files_with_none_stored_between_them_speak_against_the_server() {
        let (mut server, mut one, mut two) =
            (Standing::default(), Record::default(), Record::default());
        assert_eq!(one.refused(slot(), 1, &mut server), Verdict::Open);
        assert_eq!(two.refused(slot(), 2, &mut server), Verdict::Server);
        assert_eq!(
            one.refused(slot(), 1, &mut server),
            Verdict::Open,
            "the same file is no news"
        );
        assert_eq!(
            Record::default().refused(slot(), 3, &mut server),
            Verdict::Server
        );
        server.stored();
        assert_eq!(
            Record::default().refused(slot(), 4, &mut server),
            Verdict::Open,
            "it works again"
        );
    }

    #[test]
    fn a_file_that_is_refused_again_where_others_are_stored_is_at_fault_itself() {
        let (mut server, mut file) = (Standing::default(), Record::default());
        assert_eq!(file.refused(slot(), 1, &mut server), Verdict::Open);
        file.waits();
        server.stored();
        assert_eq!(file.refused(slot(), 1, &mut server), Verdict::File);
        assert!(file.is_condemned());
        // From now on it speaks against nobody, whatever it meets.
        file.waits();
        Record::default().refused(slot(), 2, &mut server);
        assert_eq!(file.refused(slot(), 1, &mut server), Verdict::Open);
        assert!(!file.is_condemned());
    }

    /// A disk that is full but for what its consumers take away stores a file now and then.
    #[test]
    fn a_server_that_stores_few_and_refuses_many_excuses_the_file() {
        let (mut server, mut file) = (Standing::default(), Record::default());
        for number in 0..1000 {
            assert_ne!(file.refused(slot(), 1_000_000, &mut server), Verdict::File);
            for other in 0..3 {
                Record::default().refused(slot(), number * 3 + other, &mut server);
            }
            server.stored();
            file.waits();
        }
    }

    #[test]
    fn what_is_kept_of_a_server_is_bounded() {
        let mut server = Standing::default();
        for number in 0..1000 {
            server.refused(number);
        }
        assert_eq!(server.unexplained.len(), MAX_REFUSED);
    }
}
