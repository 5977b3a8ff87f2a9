//! The core: which files have settled, which are being handed over, and what is next for each.
//!
//! It knows no clock, no file system and no connection: it is told what was found, when, and what
//! became of a file, and gives answers.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::{Entry, Stage};
use super::file::{Fingerprint, Found, Ident};

/// Files larger than this are handed over alone.
pub(super) const LARGE: u64 = 16 * 1024 * 1024;

/// A close that was told ends the wait for a file to settle after this part of it: programs may
/// open a file again at once.
const CLOSED: u32 = 10;

/// A file that could not be read is tried again after this long even if nothing touched it.
const TROUBLED: Duration = Duration::from_mins(10);

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It was there.
    There,
    /// A program that had written to it has closed it.
    Closed,
    /// It was renamed into place, or its marker is there: it is whole.
    Whole,
}

/// What is next for a file that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, or not yet.
    Nothing,
    /// This entry, which is settled with the balancer, has its file here.
    Act(u64),
}

/// The files to hand over together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lot {
    /// Whether a server must have them, or the balancer.
    pub(super) is_delivered: bool,
    /// Whether they are large.
    pub(super) is_large: bool,
}

/// A file that is not handed over yet.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) found: Found,
    pub(super) rule: usize,
    pub(super) lot: Lot,
    due: Instant,
    pub(super) is_ready: bool,
    /// Whether it changed while it was waited for.
    has_changed: bool,
}

/// A file that could not be read.
#[derive(Debug)]
struct Troubled {
    ident: Ident,
    touched: (i64, i64),
    until: Instant,
}

/// All that is known of the files of a folder.
#[derive(Debug)]
pub(super) struct Folder {
    settle: Duration,
    pub(super) fresh: HashMap<Arc<Path>, Fresh>,
    due: BinaryHeap<Reverse<(Instant, Arc<Path>)>>,
    pub(super) ready: HashMap<Lot, VecDeque<Arc<Path>>>,
    pub(super) open: HashMap<u64, Entry>,
    pub(super) by_file: HashMap<Ident, u64>,
    pub(super) again: BTreeSet<u64>,
    kept: HashMap<Fingerprint, u64>,
    troubled: HashMap<Arc<Path>, Troubled>,
    /// The number of the present or last look at the whole folder.
    pub(super) scan: u64,
    pub(super) next: u64,
}

impl Folder {
    /// With what is known from before: entries, and files that stay. Numbers go on from `next`.
    pub(super) fn new(
        settle: Duration,
        entries: impl IntoIterator<Item = Entry>,
        kept: impl IntoIterator<Item = Fingerprint>,
        next: u64,
    ) -> Self {
        let open: HashMap<u64, Entry> = entries.into_iter().map(|entry| (entry.n, entry)).collect();
        Self {
            settle,
            fresh: HashMap::new(),
            due: BinaryHeap::new(),
            ready: HashMap::new(),
            by_file: open.values().map(|e| (e.found.ident, e.n)).collect(),
            open,
            again: BTreeSet::new(),
            kept: kept.into_iter().map(|file| (file, 0)).collect(),
            troubled: HashMap::new(),
            scan: 0,
            next,
        }
    }

    /// A file was found; it has the rule in this place.
    pub(super) fn look(
        &mut self,
        found: Found,
        (rule, is_delivered): (usize, bool),
        how: How,
        now: Instant,
    ) -> Next {
        if let Some(n) = self.by_file.get(&found.ident).copied() {
            return self.look_at_open(n, found, (rule, is_delivered));
        }
        if !self.kept.is_empty()
            && let Some(seen) = self.kept.get_mut(&found.ident.fingerprint())
        {
            *seen = self.scan;
            return Next::Nothing;
        }
        if let Some(troubled) = self.troubled.get(&found.path) {
            let is_same = troubled.ident == found.ident && troubled.touched == found.touched;
            if is_same && now < troubled.until {
                return Next::Nothing;
            }
            self.troubled.remove(&found.path);
        }
        let wait = match how {
            How::There => self.settle,
            How::Closed => self.settle / CLOSED,
            How::Whole => Duration::ZERO,
        };
        let path = Arc::clone(&found.path);
        let lot = Lot {
            is_delivered,
            is_large: found.ident.size > LARGE,
        };
        let known = self
            .fresh
            .get_mut(&path)
            .filter(|fresh| fresh.found.ident == found.ident);
        let Some(fresh) = known else {
            let has_changed = self.fresh.contains_key(&path);
            let due = now + wait;
            let fresh = Fresh {
                found,
                rule,
                lot,
                due,
                is_ready: wait.is_zero(),
                has_changed,
            };
            self.fresh.insert(Arc::clone(&path), fresh);
            self.wait_for(path, lot, due, wait.is_zero());
            return Next::Nothing;
        };
        if fresh.is_ready {
            return Next::Nothing;
        }
        (fresh.found, fresh.rule, fresh.lot) = (found, rule, lot);
        let sooner = now + wait < fresh.due;
        fresh.due = fresh.due.min(now + wait);
        fresh.is_ready = fresh.due <= now;
        let (due, is_ready) = (fresh.due, fresh.is_ready);
        if sooner || is_ready {
            self.wait_for(path, lot, due, is_ready);
        }
        Next::Nothing
    }

    fn wait_for(&mut self, path: Arc<Path>, lot: Lot, due: Instant, is_ready: bool) {
        if is_ready {
            self.ready.entry(lot).or_default().push_back(path);
        } else {
            self.due.push(Reverse((due, path)));
        }
    }

    /// The file of an entry was found, perhaps under another name.
    fn look_at_open(&mut self, n: u64, found: Found, (rule, is_delivered): (usize, bool)) -> Next {
        let scan = self.scan;
        let Some(entry) = self.open.get_mut(&n) else {
            return Next::Nothing;
        };
        entry.scan = scan;
        if entry.is_here {
            if entry.place != found.path {
                entry.other = Some(found.path);
            }
            return Next::Nothing;
        }
        entry.is_here = true;
        entry.place = Arc::clone(&found.path);
        entry.found = Found {
            path: Arc::clone(&entry.found.path),
            ..found
        };
        (entry.rule, entry.is_delivered) = (rule, is_delivered);
        match entry.stage {
            Stage::Done { .. } | Stage::Failed { .. } => Next::Act(n),
            Stage::Queued => {
                self.again.insert(n);
                Next::Nothing
            }
            Stage::Sending => Next::Nothing,
        }
    }

    /// There is no file of this path.
    pub(super) fn gone(&mut self, path: &Path) {
        self.fresh.remove(path);
        self.troubled.remove(path);
    }

    /// When files are to be looked at again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Files that may have settled: they are to be looked at again now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Arc<Path>> {
        let mut paths = Vec::new();
        while let Some(Reverse((due, _))) = self.due.peek() {
            if *due > now {
                break;
            }
            let Some(Reverse((due, path))) = self.due.pop() else {
                break;
            };
            let is_current = |fresh: &&Fresh| fresh.due == due && !fresh.is_ready;
            if self.fresh.get(&path).as_ref().is_some_and(is_current) {
                paths.push(path);
            }
        }
        paths
    }

    /// How many files wait to settle or for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.fresh.len()
    }

    /// The same without those that changed while they were waited for, and may go on for ever.
    pub(super) fn settling(&self) -> usize {
        let stays = |fresh: &&Fresh| fresh.is_ready || !fresh.has_changed;
        self.fresh.values().filter(stays).count()
    }

    /// An entry.
    pub(super) fn entry(&self, n: u64) -> Option<&Entry> {
        self.open.get(&n)
    }

    /// An entry, to change it.
    pub(super) fn entry_mut(&mut self, n: u64) -> Option<&mut Entry> {
        self.open.get_mut(&n)
    }

    /// All entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.open.values()
    }

    /// The highest number of an entry so far.
    pub(super) fn last(&self) -> u64 {
        self.next
    }

    /// How many entries there are.
    pub(super) fn under_way(&self) -> usize {
        self.open.len()
    }

    /// Nothing more happens to an entry.
    pub(super) fn close(&mut self, n: u64) -> Option<Entry> {
        let entry = self.open.remove(&n)?;
        self.again.remove(&n);
        if self.by_file.get(&entry.found.ident) == Some(&n) {
            self.by_file.remove(&entry.found.ident);
        }
        Some(entry)
    }

    /// Nothing more happens to an entry, whose file stays.
    pub(super) fn keep(&mut self, n: u64) -> Option<(Entry, Fingerprint)> {
        let entry = self.close(n)?;
        let file = entry.found.ident.fingerprint();
        self.kept.insert(file, self.scan);
        Some((entry, file))
    }

    /// An entry's file could not be read: it is left alone until something touches it.
    pub(super) fn trouble(&mut self, n: u64, now: Instant) {
        if let Some(entry) = self.close(n) {
            let troubled = Troubled {
                ident: entry.found.ident,
                touched: entry.found.touched,
                until: now + TROUBLED,
            };
            self.troubled.insert(entry.place, troubled);
        }
    }

    /// The files that stay.
    pub(super) fn kept(&self) -> impl Iterator<Item = Fingerprint> {
        self.kept.keys().copied()
    }

    /// A look at the whole folder begins.
    pub(super) fn begin_scan(&mut self) {
        self.scan += 1;
    }

    /// A look at the whole folder has ended. What two of them in a row did not find is gone: one
    /// alone may miss a file that is renamed meanwhile.
    pub(super) fn end_scan(&mut self, exists: impl Fn(&Path) -> bool) -> Missing {
        let scan = self.scan;
        let mut missing = Missing::default();
        self.kept.retain(|file, seen| {
            let is_there = *seen + 1 >= scan;
            if !is_there {
                missing.kept.push(*file);
            }
            is_there
        });
        let lost = |entry: &&Entry| !entry.is_here && entry.scan + 1 < scan;
        missing.entries = self
            .open
            .values()
            .filter(lost)
            .map(|entry| entry.n)
            .collect();
        self.troubled.retain(|path, _| exists(path));
        missing
    }
}

/// What a look at the whole folder did not find.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Files that had stayed.
    pub(super) kept: Vec<Fingerprint>,
    /// Entries.
    pub(super) entries: Vec<u64>,
}
