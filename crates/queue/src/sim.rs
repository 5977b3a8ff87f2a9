//! A disk in memory that knows what was synced, for tests of what a crash leaves behind.
//!
//! [`SimDisk`] counts the operations that change it. One of them can fail, or be the one at which
//! the process dies; [`SimDisk::crash`] then gives a disk as it may be found afterwards, one for
//! each [`Shape`]. [`at_every_operation`] goes through all of them.
//!
//! How it decides, which is the worst that POSIX and Linux allow:
//! - A write, a change of length or of a name is *unsynced* until its file, or the directory, is
//!   synced. Each can be lost without the others. Syncing a file does not sync its name, nor the
//!   other way round.
//! - Changes of one name stay in order: what needs a lost one is lost with it, so a rename leaves
//!   the old name or the new one, and each name has one file's content or another's, never a mix.
//! - After a failed sync, what it should have written is *in doubt*: still read back, perhaps on
//!   the disk and perhaps not, and no later sync changes that. Only writing it again does.
//! - The operation at which the process dies may have happened or not, a sync excepted: died after
//!   a sync is died at the next operation.
//!
//! Not modelled: reads that fail, a failed operation (other than a sync) that happened all the
//! same, a sector that is itself garbled by the power cut, old content of other files in blocks
//! that were never written, allocation apart from length (a file takes its length in space, holes
//! or not), and removed files that take space while open.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that uses the disk wrongly has to fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{DirEntry, Disk, DiskFile, FileId, Space};

/// How an operation fails without a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. Nothing happens, but what a sync should have written is in doubt from then on.
    Eio,
    /// No space left; like [`Fault::Eio`] otherwise.
    Enospc,
    /// A write takes half of its bytes. Nothing for other operations, nor for less than two bytes.
    Short,
    /// A write takes half of its bytes, and the next one finds no space. Like [`Fault::Enospc`] for
    /// other operations, and for less than two bytes.
    ShortThenEnospc,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eio, Self::Enospc, Self::Short, Self::ShortThenEnospc];

    /// What an operation that is no write says.
    fn outcome(self) -> io::Result<()> {
        match self {
            Self::Eio => Err(io::Error::from_raw_os_error(libc::EIO)),
            Self::Enospc | Self::ShortThenEnospc => Err(no_space()),
            Self::Short => Ok(()),
        }
    }
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

/// Which of the unsynced operations a crash leaves on the disk. They are counted from 0, oldest
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All of them, and they stay unsynced or in doubt: only the process died, and a power cut can
    /// follow.
    All,
    /// None.
    None,
    /// The first so many.
    Prefix(usize),
    /// All but this one.
    Drop(usize),
    /// All, but of this one, if it is a write, only the length it gave its file: new bytes read as
    /// zeros.
    Zeros(usize),
    /// All names and lengths, no bytes: they read as zeros, or as what they were.
    Lengths,
    /// Each with probability 1/2; some of the lost writes leave their length or some sectors.
    Random(u64),
    /// All before `op` and none after it; if it is a write, each of its sectors with probability
    /// 1/2.
    Torn {
        /// Which operation.
        op: usize,
        /// The size of a sector in bytes; sectors are aligned in the file.
        sector: usize,
        /// Says which sectors.
        seed: u64,
    },
}

impl Shape {
    /// What becomes of the unsynced operation `index`.
    fn fate(self, index: usize, rng: &mut Rng) -> Fate {
        let kept_if = |kept| if kept { Fate::Kept } else { Fate::Lost };
        match self {
            Self::None => Fate::Lost,
            Self::Prefix(count) => kept_if(index < count),
            Self::Drop(op) => kept_if(index != op),
            Self::Zeros(op) if index == op => Fate::Length,
            Self::All | Self::Zeros(_) => Fate::Kept,
            Self::Lengths => Fate::Length,
            Self::Random(_) => match rng.below(8) {
                0..4 => Fate::Kept,
                4 | 5 => Fate::Lost,
                6 => Fate::Length,
                _ => Fate::Torn {
                    sector: if rng.coin() { 512 } else { 4096 },
                    seed: rng.next(),
                },
            },
            Self::Torn { op, sector, seed } if index == op => Fate::Torn { sector, seed },
            Self::Torn { op, .. } => kept_if(index < op),
        }
    }

    fn seed(self) -> u64 {
        match self {
            Self::Random(seed) => seed,
            _ => 0,
        }
    }
}

/// What a crash does to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    /// Of a write only the file's length; anything else is kept.
    Length,
    /// Of a write only some sectors; anything else is lost.
    Torn {
        sector: usize,
        seed: u64,
    },
}

/// `SplitMix64`: small, and the same everywhere and for ever, so that a printed seed stays good.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator that says the same for the same `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        index(self.next() % bound as u64)
    }

    /// Yes or no.
    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("more than memory can hold")
}

/// A change of one file's content.
#[derive(Debug, Clone)]
enum Edit {
    Write {
        at: usize,
        bytes: Arc<[u8]>,
    },
    SetLen(usize),
    /// Decay, not an operation: never lost.
    Flip(usize),
}

impl Edit {
    fn apply(&self, content: &mut Arc<Vec<u8>>) {
        match self {
            Self::Write { at, bytes } => {
                let content = Arc::make_mut(content);
                grow(content, at + bytes.len());
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::SetLen(len) => Arc::make_mut(content).resize(*len, 0),
            Self::Flip(bit) => {
                if let Some(byte) = Arc::make_mut(content).get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    fn apply_with(&self, fate: Fate, content: &mut Arc<Vec<u8>>) {
        match (fate, self) {
            (Fate::Lost, _) | (Fate::Torn { .. }, Self::SetLen(_)) => {}
            (Fate::Length, Self::Write { at, bytes }) => {
                grow(Arc::make_mut(content), at + bytes.len());
            }
            (Fate::Torn { sector, seed }, Self::Write { at, bytes }) => {
                tear(
                    Arc::make_mut(content),
                    *at,
                    bytes,
                    sector,
                    &mut Rng::new(seed),
                );
            }
            _ => self.apply(content),
        }
    }

    fn spans_sectors(&self, sector: usize) -> bool {
        matches!(self, Self::Write { at, bytes } if at / sector != (at + bytes.len() - 1) / sector)
    }
}

fn grow(content: &mut Vec<u8>, len: usize) {
    if content.len() < len {
        content.resize(len, 0);
    }
}

/// Writes some of the sectors of `bytes`. The length may get ahead of them.
fn tear(content: &mut Vec<u8>, at: usize, bytes: &[u8], sector: usize, rng: &mut Rng) {
    let end = at + bytes.len();
    let mut start = at;
    while start < end {
        let stop = end.min((start / sector + 1) * sector);
        if rng.coin() {
            grow(content, stop);
            content[start..stop].copy_from_slice(&bytes[start - at..stop - at]);
        }
        start = stop;
    }
    if rng.coin() {
        grow(content, end);
    }
}

/// What a name stood for, and what it stands for now: the number of a file.
#[derive(Debug, Clone)]
struct Naming {
    name: String,
    before: Option<usize>,
    after: Option<usize>,
}

type Names = BTreeMap<String, usize>;

/// Changes names together, or not at all if one is not what it was: then an earlier change of it
/// was lost.
fn apply_namings(namings: &[Naming], names: &mut Names) {
    if namings
        .iter()
        .all(|naming| names.get(&naming.name).copied() == naming.before)
    {
        for naming in namings {
            match naming.after {
                Some(node) => names.insert(naming.name.clone(), node),
                None => names.remove(&naming.name),
            };
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Content { node: usize, edit: Edit },
    Names(Vec<Naming>),
}

impl Change {
    fn is_of(&self, part: Part) -> bool {
        match self {
            Self::Content { node, .. } => part == Part::File(*node),
            Self::Names(_) => part == Part::Directory,
        }
    }
}

/// What is synced as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    File(usize),
    Directory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// The next sync writes it.
    Dirty,
    /// A sync failed to write it, and none will try again.
    InDoubt,
    /// Synced, but listed still, as it comes after something that is in doubt.
    Lasting,
}

#[derive(Debug, Clone)]
struct Pending {
    mark: Mark,
    change: Change,
}

/// A file's content, whatever its name.
#[derive(Debug, Clone)]
struct Node {
    /// The last name it had, for the log.
    name: Arc<str>,
    /// What a reader sees.
    live: Arc<Vec<u8>>,
    /// What is on the disk for sure, before the pending changes.
    synced: Arc<Vec<u8>>,
}

impl Node {
    fn synced(name: Arc<str>, content: Arc<Vec<u8>>) -> Self {
        Self {
            name,
            live: Arc::clone(&content),
            synced: content,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Crash,
    Fault(Fault),
}

/// What happens instead to an operation that is no write and no sync. The one that dies is carried
/// out, unsynced.
fn refuse(trouble: Option<Trouble>) -> io::Result<()> {
    match trouble {
        Some(Trouble::Fault(fault)) => fault.outcome(),
        Some(Trouble::Crash) | None => Ok(()),
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Never shrinks, so that a handle's number stays good when its file is removed.
    nodes: Vec<Node>,
    names: Names,
    synced_names: Names,
    /// Oldest first.
    pending: Vec<Pending>,
    log: Vec<String>,
    faults: BTreeMap<usize, Fault>,
    /// The second half of a [`Fault::ShortThenEnospc`].
    next_write_is_full: bool,
    crash_at: Option<usize>,
    crashed: bool,
    capacity: Option<u64>,
    moved_at: Option<usize>,
}

impl State {
    fn node(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn edit(&mut self, node: usize, edit: Edit) {
        edit.apply(&mut self.nodes[node].live);
        self.pending.push(Pending {
            mark: Mark::Dirty,
            change: Change::Content { node, edit },
        });
    }

    fn name(&mut self, namings: Vec<Naming>) {
        apply_namings(&namings, &mut self.names);
        self.pending.push(Pending {
            mark: Mark::Dirty,
            change: Change::Names(namings),
        });
    }

    fn sync(&mut self, part: Part, trouble: Option<Trouble>) -> io::Result<()> {
        match trouble {
            Some(Trouble::Crash) => Ok(()),
            Some(Trouble::Fault(fault)) if fault != Fault::Short => {
                for pending in self
                    .pending
                    .iter_mut()
                    .filter(|pending| pending.change.is_of(part))
                {
                    if pending.mark == Mark::Dirty {
                        pending.mark = Mark::InDoubt;
                    }
                }
                fault.outcome()
            }
            _ => {
                self.settle(part);
                Ok(())
            }
        }
    }

    /// Makes lasting what is dirty, and forgets it unless it comes after something in doubt.
    fn settle(&mut self, part: Part) {
        if part == Part::Directory {
            self.take_back_doubts();
        }
        let mut in_doubt = false;
        for mut pending in std::mem::take(&mut self.pending) {
            if pending.change.is_of(part) {
                if pending.mark == Mark::InDoubt {
                    in_doubt = true;
                } else {
                    pending.mark = Mark::Lasting;
                }
                if !in_doubt {
                    self.apply_synced(&pending.change);
                    continue;
                }
            }
            self.pending.push(pending);
        }
    }

    fn apply_synced(&mut self, change: &Change) {
        match change {
            Change::Content { node, edit } => edit.apply(&mut self.nodes[*node].synced),
            Change::Names(namings) => apply_namings(namings, &mut self.synced_names),
        }
    }

    /// A name that is written again takes along what was in doubt about it: it is one record on the
    /// disk.
    fn take_back_doubts(&mut self) {
        let mut written = BTreeSet::new();
        for pending in self.pending.iter_mut().rev() {
            if let Change::Names(namings) = &pending.change {
                let again = namings.iter().any(|naming| written.contains(&naming.name));
                if pending.mark == Mark::InDoubt && again {
                    pending.mark = Mark::Dirty;
                }
                if pending.mark != Mark::InDoubt {
                    written.extend(namings.iter().map(|naming| naming.name.clone()));
                }
            }
        }
    }

    fn write(
        &mut self,
        node: usize,
        bytes: &[u8],
        offset: u64,
        trouble: Option<Trouble>,
    ) -> io::Result<usize> {
        let half = bytes.len() / 2;
        let mut len = bytes.len();
        match trouble {
            _ if std::mem::take(&mut self.next_write_is_full) => return Err(no_space()),
            Some(Trouble::Fault(Fault::Short)) if half > 0 => len = half,
            Some(Trouble::Fault(Fault::ShortThenEnospc)) if half > 0 => {
                len = half;
                self.next_write_is_full = true;
            }
            trouble => refuse(trouble)?,
        }
        let room = (self.nodes[node].live.len() as u64)
            .saturating_add(self.available())
            .saturating_sub(offset);
        len = len.min(usize::try_from(room).unwrap_or(usize::MAX));
        if len > 0 {
            self.edit(
                node,
                Edit::Write {
                    at: index(offset),
                    bytes: bytes[..len].into(),
                },
            );
        } else if !bytes.is_empty() {
            return Err(no_space());
        }
        Ok(len)
    }

    fn set_len(&mut self, node: usize, len: u64) -> io::Result<()> {
        let now = self.nodes[node].live.len() as u64;
        if len.saturating_sub(now) > self.available() {
            return Err(no_space());
        }
        self.edit(node, Edit::SetLen(index(len)));
        Ok(())
    }

    fn available(&self) -> u64 {
        let used: usize = self
            .names
            .values()
            .map(|node| self.nodes[*node].live.len())
            .sum();
        self.capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(used as u64))
    }

    /// What the crash decides about, oldest first.
    fn unsynced(&self) -> impl Iterator<Item = &Pending> {
        self.pending
            .iter()
            .filter(|pending| pending.mark != Mark::Lasting)
    }

    /// What is left after a power cut.
    fn image(&self, shape: Shape) -> Self {
        let mut rng = Rng::new(shape.seed());
        let mut unsynced = 0;
        let mut contents: Vec<_> = self
            .nodes
            .iter()
            .map(|node| Arc::clone(&node.synced))
            .collect();
        let mut names = self.synced_names.clone();
        for pending in &self.pending {
            let fate = if pending.mark == Mark::Lasting {
                Fate::Kept
            } else {
                unsynced += 1;
                shape.fate(unsynced - 1, &mut rng)
            };
            match &pending.change {
                Change::Content { node, edit } => edit.apply_with(fate, &mut contents[*node]),
                Change::Names(namings) if matches!(fate, Fate::Kept | Fate::Length) => {
                    apply_namings(namings, &mut names);
                }
                Change::Names(_) => {}
            }
        }
        let nodes = self.nodes.iter().zip(contents);
        let nodes = nodes
            .map(|(node, content)| Node::synced(Arc::clone(&node.name), content))
            .collect();
        Self {
            nodes,
            synced_names: names.clone(),
            names,
            capacity: self.capacity,
            ..Self::default()
        }
    }

    /// What is left when only the process died.
    fn killed(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            names: self.names.clone(),
            synced_names: self.synced_names.clone(),
            pending: self.pending.clone(),
            capacity: self.capacity,
            ..Self::default()
        }
    }
}

/// A disk in memory that can fail and crash. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    fn of(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Another disk that is like this one in all, faults and log included.
    #[must_use]
    pub fn clone_deep(&self) -> Self {
        Self::of(self.lock().clone())
    }

    /// How many operations that change something there were, those that failed included.
    pub fn operations(&self) -> usize {
        self.lock().log.len()
    }

    /// The operations and what came of them, to be shown when a test fails.
    pub fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// Makes operation `index` fail.
    pub fn fail_at(&self, index: usize, fault: Fault) {
        self.lock().faults.insert(index, fault);
    }

    /// The process dies in operation `index`: it and all that follow fail, reads too.
    pub fn crash_at(&self, index: usize) {
        self.lock().crash_at = Some(index);
    }

    /// Someone moves the directory right before operation `index`. Who has it open goes on in it.
    pub fn move_at(&self, index: usize) {
        self.lock().moved_at = Some(index);
    }

    /// Whether the directory is where it was.
    pub fn is_here(&self) -> bool {
        let state = self.lock();
        state.moved_at.is_none_or(|at| state.log.len() < at)
    }

    /// Someone removes a file, lastingly. Not an operation.
    pub fn take_away(&self, name: &str) {
        let mut state = self.lock();
        let node = state.node(name).expect("no such file");
        state.name(vec![Naming {
            name: name.to_owned(),
            before: Some(node),
            after: None,
        }]);
        state.settle(Part::Directory);
    }

    /// Whether the operation was reached at which the process dies.
    pub fn is_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Limits the sum of the files' lengths; none is cut. `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// How many operations a crash decides about.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced().count()
    }

    /// The disk as it may be found after a crash now, without faults and with an empty log. This
    /// one stays as it is.
    #[must_use]
    pub fn crash(&self, shape: Shape) -> Self {
        let state = self.lock();
        Self::of(if shape == Shape::All {
            state.killed()
        } else {
            state.image(shape)
        })
    }

    /// The shapes worth trying for a crash now: all that are few, and a sample of the others.
    pub fn shapes(&self, seed: u64) -> Vec<Shape> {
        let state = self.lock();
        let count = state.unsynced().count();
        if count == 0 {
            return vec![Shape::All];
        }
        let mut rng = Rng::new(seed);
        let mut shapes = vec![Shape::All, Shape::None, Shape::Lengths];
        shapes.extend(sample(1..count + 1, 24, &mut rng).map(Shape::Prefix));
        // Without the last one it is a prefix.
        shapes.extend(sample(0..count - 1, 24, &mut rng).map(Shape::Drop));
        shapes.extend(if count > 1 { 0..8 } else { 0..2 }.map(|_| Shape::Random(rng.next())));
        shapes.extend(last_write_shapes(&state, &mut rng));
        shapes
    }

    /// Flips a bit of a file, synced or not, as if the medium had decayed.
    pub fn flip_bit(&self, name: &str, bit: usize) {
        let mut state = self.lock();
        let node = state.node(name).expect("no such file");
        let edit = Edit::Flip(bit);
        edit.apply(&mut state.nodes[node].live);
        let change = Change::Content { node, edit };
        if state
            .pending
            .iter()
            .any(|pending| pending.change.is_of(Part::File(node)))
        {
            state.pending.push(Pending {
                mark: Mark::Lasting,
                change,
            });
        } else {
            state.apply_synced(&change);
        }
    }

    /// What a reader sees in a file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        let node = state.node(name).expect("no such file");
        state.nodes[node].live.to_vec()
    }

    /// Makes or replaces a file, its bytes synced and the directory, too. Not an operation.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let node = state.nodes.len();
        state
            .nodes
            .push(Node::synced(name.into(), Arc::new(bytes.to_vec())));
        let before = state.names.get(name).copied();
        state.name(vec![Naming {
            name: name.to_owned(),
            before,
            after: Some(node),
        }]);
        state.settle(Part::Directory);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test thread that panicked leaves nothing half done in here.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is no operation, but cannot be done by a dead process.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.crashed {
            Err(crashed())
        } else {
            Ok(state)
        }
    }

    /// Counts and logs an operation, and says to it what goes wrong.
    fn operate<T>(
        &self,
        what: fmt::Arguments<'_>,
        operation: impl FnOnce(&mut State, Option<Trouble>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.alive()?;
        let index = state.log.len();
        let crash = state.crash_at.is_some_and(|at| at <= index);
        let fault = state.faults.remove(&index).map(Trouble::Fault);
        let mut result = operation(&mut state, if crash { Some(Trouble::Crash) } else { fault });
        if crash {
            state.crashed = true;
            result = Err(crashed());
        }
        let line = match (&result, fault) {
            (Err(error), _) => format!("{index} {what}: {error}"),
            (Ok(_), Some(fault)) => format!("{index} {what}: {fault:?}"),
            (Ok(_), None) => format!("{index} {what}"),
        };
        state.log.push(line);
        result
    }

    fn handle(&self, node: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            node,
        })
    }
}

/// All of `range` if it is not longer than `most`, otherwise the last ones and some of the others.
fn sample(range: Range<usize>, most: usize, rng: &mut Rng) -> impl Iterator<Item = usize> + use<> {
    let chosen: BTreeSet<usize> = if range.len() <= most {
        range.collect()
    } else {
        let last = range.end - most / 3..range.end;
        let others = range.start..last.start;
        (0..most - last.len())
            .map(|_| others.start + rng.below(others.len()))
            .chain(last)
            .collect()
    };
    chosen.into_iter()
}

/// The last writes torn, and without their bytes.
fn last_write_shapes(state: &State, rng: &mut Rng) -> Vec<Shape> {
    let unsynced: Vec<_> = state.unsynced().enumerate().collect();
    let writes = unsynced
        .iter()
        .rev()
        .filter_map(|(op, pending)| match &pending.change {
            Change::Content {
                edit: edit @ Edit::Write { .. },
                ..
            } => Some((*op, edit)),
            _ => None,
        });
    let mut shapes = Vec::new();
    for (op, edit) in writes.take(4) {
        shapes.push(Shape::Zeros(op));
        for sector in [512, 4096] {
            // A write inside one sector is there or is not, as in other shapes.
            if edit.spans_sectors(sector) {
                shapes.extend([(); 3].map(|()| Shape::Torn {
                    op,
                    sector,
                    seed: rng.next(),
                }));
            }
        }
    }
    shapes
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let state = self.alive()?;
        let entry = |(name, node): (&String, &usize)| DirEntry {
            name: name.clone(),
            len: state.nodes[*node].live.len() as u64,
            is_file: true,
        };
        Ok(state.names.iter().map(entry).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.operate(format_args!("create {name}"), |state, trouble| {
            refuse(trouble)?;
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let node = state.nodes.len();
            state.nodes.push(Node::synced(name.into(), Arc::default()));
            state.name(vec![Naming {
                name: name.to_owned(),
                before: None,
                after: Some(node),
            }]);
            Ok(node)
        })?;
        Ok(self.handle(node))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.alive()?;
        let node = state.node(name)?;
        // The crash that it was found after can have undone a renaming.
        state.nodes[node].name = name.into();
        Ok(self.handle(node))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(format_args!("rename {from} {to}"), |state, trouble| {
            refuse(trouble)?;
            let node = state.node(from)?;
            if from != to {
                let before = state.names.get(to).copied();
                let old = Naming {
                    name: from.to_owned(),
                    before: Some(node),
                    after: None,
                };
                let new = Naming {
                    name: to.to_owned(),
                    before,
                    after: Some(node),
                };
                state.name(vec![old, new]);
                state.nodes[node].name = to.into();
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(format_args!("remove {name}"), |state, trouble| {
            refuse(trouble)?;
            let node = state.node(name)?;
            state.name(vec![Naming {
                name: name.to_owned(),
                before: Some(node),
                after: None,
            }]);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.operate(format_args!("sync directory"), |state, trouble| {
            state.sync(Part::Directory, trouble)
        })
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.alive()?;
        Ok(Space {
            total: state.capacity.unwrap_or(u64::MAX),
            available: state.available(),
        })
    }

    fn is_in_place(&self) -> io::Result<bool> {
        drop(self.alive()?);
        Ok(self.is_here())
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        let found = self.alive()?.names.get(name).copied().map(file_id);
        Ok(found.filter(|_| self.is_here()))
    }
}

fn file_id(node: usize) -> FileId {
    FileId {
        device: 0,
        inode: node as u64,
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    node: usize,
}

impl SimFile {
    fn name(&self) -> Arc<str> {
        Arc::clone(&self.disk.lock().nodes[self.node].name)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let name = self.name();
        self.disk.operate(
            format_args!("write {name} {offset}+{}", bytes.len()),
            |state, trouble| state.write(self.node, bytes, offset, trouble),
        )
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.alive()?;
        let rest = state.nodes[self.node]
            .live
            .get(index(offset)..)
            .unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let part = Part::File(self.node);
        self.disk
            .operate(format_args!("sync {}", self.name()), |state, trouble| {
                state.sync(part, trouble)
            })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.operate(
            format_args!("set length of {} to {len}", self.name()),
            |state, trouble| {
                refuse(trouble)?;
                state.set_len(self.node, len)
            },
        )
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.nodes[self.node].live.len() as u64)
    }

    fn id(&self) -> io::Result<FileId> {
        drop(self.disk.alive()?);
        Ok(file_id(self.node))
    }
}

/// Runs a workload once for each of its operations, on a copy of `start` on which `arm` has put
/// something in the way of that operation, and once more undisturbed; shows `check` each disk that
/// a crash at the run's end could leave, with what the run gave back. Says how many disks it
/// checked, or what led to the first that failed.
#[cfg(test)]
pub(crate) fn at_every_operation<T>(
    start: &SimDisk,
    seed: u64,
    arm: impl Fn(&SimDisk, usize),
    run: impl Fn(&SimDisk) -> T,
    check: impl Fn(&SimDisk, &T) -> Result<(), String>,
) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    let mut checked = 0;
    let mut operation = start.operations();
    loop {
        let disk = start.clone_deep();
        arm(&disk, operation);
        let told = run(&disk);
        for shape in disk.shapes(rng.next()) {
            let image = disk.crash(shape);
            checked += 1;
            check(&image, &told).map_err(|error| {
                let (before, after) = (disk.log().join("\n"), image.log().join("\n"));
                format!("{error}\nseed {seed}, operation {operation}, {shape:?}, after\n{before}\nthen\n{after}")
            })?;
        }
        if disk.operations() <= operation {
            return Ok(checked);
        }
        operation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_full_at, write_all_at};

    const SEED: u64 = 7;
    /// More than a sector, so that a record can be torn.
    const RECORD: usize = 700;
    const RECORDS: u32 = 6;
    const DAMAGED: u32 = u32::MAX;

    /// What the toy journal does wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Bug {
        None,
        AckBeforeSync,
        NamesNotSynced,
        RenameBeforeSync,
        SyncAgain,
        RemoveOldFirst,
        TrustTheLength,
        RecoveredNotSynced,
    }

    /// A journal of numbers in `log.0`; a new generation is written to `tmp` and renamed to
    /// `log.1`, and so on.
    struct Toy {
        disk: SimDisk,
        bug: Bug,
        generation: u32,
        file: Option<Arc<dyn DiskFile>>,
        records: Vec<u32>,
    }

    fn record(number: u32) -> Vec<u8> {
        let mut bytes = number.to_le_bytes().repeat(RECORD / 4 - 1);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    impl Toy {
        fn open(disk: &SimDisk, bug: Bug) -> io::Result<Self> {
            let names = disk.list()?.into_iter().map(|entry| entry.name);
            let generations = names.filter_map(|name| name.strip_prefix("log.")?.parse().ok());
            let newest = generations.max();
            let mut toy = Self {
                disk: disk.clone(),
                bug,
                generation: newest.unwrap_or(0),
                file: None,
                records: vec![],
            };
            if let Some(generation) = newest {
                let file = disk.open(&format!("log.{generation}"))?;
                toy.read(&*file)?;
                toy.file = Some(file);
            }
            if newest.is_none() || bug != Bug::RecoveredNotSynced {
                toy.rotate()?;
            }
            Ok(toy)
        }

        fn read(&mut self, file: &dyn DiskFile) -> io::Result<()> {
            let mut buffer = vec![0; RECORD];
            while read_full_at(file, &mut buffer, (self.records.len() * RECORD) as u64)? == RECORD {
                let number = u32::from_le_bytes(buffer[..4].try_into().unwrap());
                match (buffer == record(number), self.bug) {
                    (true, _) => self.records.push(number),
                    (false, Bug::TrustTheLength) => self.records.push(DAMAGED),
                    (false, _) => break,
                }
            }
            Ok(())
        }

        /// Writes all that is known to a new generation, so that nothing depends on what was found.
        fn rotate(&mut self) -> io::Result<()> {
            if self.disk.open("tmp").is_ok() {
                self.disk.remove("tmp")?;
            }
            let file = self.disk.create("tmp")?;
            let bytes: Vec<_> = self
                .records
                .iter()
                .flat_map(|number| record(*number))
                .collect();
            write_all_at(&*file, &bytes, 0)?;
            self.generation += 1;
            if self.bug == Bug::RemoveOldFirst {
                self.remove_others()?;
            }
            if self.bug != Bug::RenameBeforeSync {
                file.sync()?;
            }
            self.disk.rename("tmp", &self.name())?;
            if self.bug == Bug::RenameBeforeSync {
                file.sync()?;
            }
            if self.bug != Bug::NamesNotSynced {
                self.disk.sync_dir()?;
            }
            self.file = Some(file);
            self.remove_others()
        }

        fn name(&self) -> String {
            format!("log.{}", self.generation)
        }

        fn remove_others(&self) -> io::Result<()> {
            let name = self.name();
            let others = self
                .disk
                .list()?
                .into_iter()
                .filter(|entry| entry.name != name && entry.name != "tmp");
            others
                .map(|entry| entry.name)
                .try_for_each(|name| self.disk.remove(&name))
        }

        fn append(&mut self, number: u32, acked: &mut Vec<u32>) -> io::Result<()> {
            let file = self.file.clone().unwrap();
            write_all_at(
                &*file,
                &record(number),
                (self.records.len() * RECORD) as u64,
            )?;
            if self.bug == Bug::AckBeforeSync {
                acked.push(number);
            }
            match file.sync() {
                Err(_) if self.bug == Bug::SyncAgain => file.sync()?,
                result => result?,
            }
            self.records.push(number);
            if self.bug != Bug::AckBeforeSync {
                acked.push(number);
            }
            Ok(())
        }
    }

    /// Appends all records, starts over after an error, and gives back what was acknowledged.
    fn run(disk: &SimDisk, bug: Bug) -> Vec<u32> {
        let mut acked = Vec::new();
        let mut toy = None;
        for number in 0..RECORDS {
            let mut step = || -> io::Result<()> {
                let mut open = match toy.take() {
                    Some(open) => open,
                    None => Toy::open(disk, bug)?,
                };
                open.append(number, &mut acked)?;
                if number == 2 {
                    open.rotate()?;
                }
                toy = Some(open);
                Ok(())
            };
            if step().is_err() && disk.is_crashed() {
                break;
            }
        }
        acked
    }

    fn recovered(disk: &SimDisk, bug: Bug) -> Result<Vec<u32>, String> {
        Toy::open(disk, bug)
            .map(|toy| toy.records)
            .map_err(|error| error.to_string())
    }

    /// What was acknowledged is there, once and in order, nothing else than what was appended, and
    /// it stays.
    fn check(image: &SimDisk, acked: &[u32], bug: Bug) -> Result<(), String> {
        let found = recovered(image, bug)?;
        let lost = acked.iter().any(|number| !found.contains(number));
        if lost || !found.is_sorted_by(|a, b| a < b) || found.contains(&DAMAGED) {
            return Err(format!("{acked:?} became {found:?}"));
        }
        let again = recovered(&image.crash(Shape::None), bug)?;
        if again == found {
            Ok(())
        } else {
            Err(format!("recovered {found:?} became {again:?}"))
        }
    }

    fn after_crashes(bug: Bug) -> Result<usize, String> {
        let run = |disk: &SimDisk| run(disk, bug);
        at_every_operation(
            &SimDisk::new(),
            SEED,
            SimDisk::crash_at,
            run,
            |image, acked| check(image, acked, bug),
        )
    }

    fn after_faults(bug: Bug, fault: Fault) -> Result<usize, String> {
        let run = |disk: &SimDisk| run(disk, bug);
        let arm = |disk: &SimDisk, operation| disk.fail_at(operation, fault);
        at_every_operation(&SimDisk::new(), SEED, arm, run, |image, acked| {
            check(image, acked, bug)
        })
    }

    #[test]
    fn a_correct_journal_survives_every_crash() {
        let checked = after_crashes(Bug::None).unwrap();
        assert!(checked > 200, "only {checked}");
    }

    #[test]
    fn a_correct_journal_survives_every_fault() {
        for fault in Fault::ALL {
            after_faults(Bug::None, fault).unwrap();
        }
    }

    /// What was found after the first crash has to be there after one during, and after, recovery.
    #[test]
    fn a_correct_journal_survives_a_second_crash() {
        let again = |image: &SimDisk, acked: &Vec<u32>| {
            let open = |disk: &SimDisk| drop(Toy::open(disk, Bug::None));
            let arm = SimDisk::crash_at;
            at_every_operation(image, SEED, arm, open, |image, ()| {
                check(image, acked, Bug::None)
            })
            .map(drop)
        };
        let run = |disk: &SimDisk| run(disk, Bug::None);
        at_every_operation(&SimDisk::new(), SEED, SimDisk::crash_at, run, again).unwrap();
    }

    #[test]
    fn every_classic_bug_is_caught_by_a_crash() {
        let bugs = [
            Bug::AckBeforeSync,
            Bug::NamesNotSynced,
            Bug::RenameBeforeSync,
            Bug::RemoveOldFirst,
            Bug::TrustTheLength,
            Bug::RecoveredNotSynced,
        ];
        for bug in bugs {
            let error = after_crashes(bug).expect_err(&format!("{bug:?} was not caught"));
            assert!(error.contains("became"), "{error}");
        }
    }

    #[test]
    fn a_sync_tried_again_is_caught_by_a_fault() {
        after_crashes(Bug::SyncAgain).unwrap();
        let error = after_faults(Bug::SyncAgain, Fault::Eio).unwrap_err();
        // It tells how to get there again: the seed, and the operations, of which one failed.
        assert!(error.contains("seed 7, operation"), "{error}");
        assert!(error.contains("sync log.2: Input/output error"), "{error}");
        assert!(after_faults(Bug::SyncAgain, Fault::Enospc).is_err());
    }

    fn filled(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.create(name).unwrap();
        write_all_at(&*file, bytes, 0).unwrap();
        file
    }

    fn names(disk: &SimDisk) -> Vec<String> {
        disk.list()
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }

    #[test]
    fn only_what_was_synced_is_sure() {
        let disk = SimDisk::new();
        let file = filled(&disk, "a", b"synced");
        file.sync().unwrap();
        assert!(names(&disk.crash(Shape::None)).is_empty());
        disk.sync_dir().unwrap();
        file.write_at(b" not", 6).unwrap();
        assert_eq!(disk.unsynced(), 1);
        assert_eq!(disk.crash(Shape::None).contents("a"), b"synced");
        assert_eq!(disk.crash(Shape::Lengths).contents("a"), b"synced\0\0\0\0");
        assert_eq!(disk.crash(Shape::All).contents("a"), b"synced not");
        // A killed process syncs nothing, a power cut leaves nothing to sync.
        assert_eq!(
            disk.crash(Shape::All).crash(Shape::None).contents("a"),
            b"synced"
        );
        assert_eq!(
            disk.crash(Shape::Prefix(1))
                .crash(Shape::None)
                .contents("a"),
            b"synced not"
        );
    }

    #[test]
    fn a_lost_write_below_a_kept_one_reads_as_zeros() {
        let disk = SimDisk::new();
        disk.put("a", b"");
        let file = disk.open("a").unwrap();
        file.write_at(b"one", 0).unwrap();
        file.write_at(b"two", 3).unwrap();
        assert_eq!(disk.crash(Shape::Drop(0)).contents("a"), b"\0\0\0two");
        assert_eq!(disk.crash(Shape::Zeros(1)).contents("a"), b"one\0\0\0");
        file.set_len(1).unwrap();
        assert_eq!(disk.crash(Shape::Drop(2)).contents("a"), b"onetwo");
        assert_eq!(disk.crash(Shape::All).contents("a"), b"o");
    }

    /// Whatever a crash keeps of two renames and a new file under the old name, each file has one
    /// name, and none is gone.
    #[test]
    fn a_renamed_file_has_its_old_name_or_its_new_one() {
        let disk = SimDisk::new();
        disk.put("a", b"first");
        disk.rename("a", "b").unwrap();
        disk.rename("b", "c").unwrap();
        filled(&disk, "a", b"second").sync().unwrap();
        for shape in disk.shapes(SEED) {
            let image = disk.crash(shape);
            let contents: Vec<_> = names(&image)
                .iter()
                .map(|name| image.contents(name))
                .collect();
            assert_eq!(
                contents
                    .iter()
                    .filter(|content| *content == b"first")
                    .count(),
                1,
                "{shape:?}"
            );
            assert!(contents.len() <= 2, "{shape:?}");
        }
        assert_eq!(names(&disk.crash(Shape::Prefix(1))), ["b"]);
        assert_eq!(names(&disk.crash(Shape::Drop(0))), ["a"]);
    }

    #[test]
    fn a_replaced_file_has_one_content_or_the_other() {
        let disk = SimDisk::new();
        disk.put("a", b"old");
        filled(&disk, "tmp", b"new").sync().unwrap();
        disk.rename("tmp", "a").unwrap();
        let contents: BTreeSet<_> = disk
            .shapes(SEED)
            .into_iter()
            .map(|shape| disk.crash(shape).contents("a"))
            .collect();
        assert_eq!(contents, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
    }

    #[test]
    fn a_removed_file_is_read_on_and_can_come_back() {
        let disk = SimDisk::new();
        disk.put("a", b"kept");
        let file = disk.open("a").unwrap();
        disk.remove("a").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read_full_at(&*file, &mut buffer, 1).unwrap(), 3);
        assert_eq!(file.len().unwrap(), 4);
        assert_eq!(disk.crash(Shape::None).contents("a"), b"kept");
        disk.sync_dir().unwrap();
        assert!(names(&disk.crash(Shape::None)).is_empty());
    }

    #[test]
    fn a_failed_sync_leaves_doubt_until_it_is_written_again() {
        let disk = SimDisk::new();
        disk.put("a", b"..");
        let file = disk.open("a").unwrap();
        file.write_at(b"x", 0).unwrap();
        disk.fail_at(1, Fault::Eio);
        assert!(file.sync().is_err());
        file.write_at(b"y", 1).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.contents("a"), b"xy");
        assert_eq!(disk.crash(Shape::None).contents("a"), b".y");
        assert_eq!(disk.crash(Shape::All).contents("a"), b"xy");
        file.write_at(b"z", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.crash(Shape::None).contents("a"), b"zy");
        assert_eq!(disk.crash(Shape::Prefix(1)).contents("a"), b"zy");
    }

    #[test]
    fn a_failed_sync_of_names_leaves_doubt_until_they_change_again() {
        let disk = SimDisk::new();
        filled(&disk, "a", b"a");
        filled(&disk, "b", b"b");
        disk.fail_at(disk.operations(), Fault::Eio);
        assert!(disk.sync_dir().is_err());
        disk.sync_dir().unwrap();
        assert!(names(&disk.crash(Shape::None)).is_empty());
        disk.rename("a", "c").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(names(&disk.crash(Shape::None)), ["c"]);
    }

    #[test]
    fn sectors_are_torn_where_the_file_has_them() {
        let disk = SimDisk::new();
        disk.put("a", &[1; 700]);
        disk.open("a").unwrap().write_at(&[2; 1500], 100).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let image = disk.crash(Shape::Torn {
                op: 0,
                sector: 512,
                seed,
            });
            let mut content = image.contents("a");
            assert!(content.len() >= 700);
            content.resize(1600, 0);
            assert!(content[..100].iter().all(|byte| *byte == 1));
            let sectors = [100..512, 512..700, 700..1024, 1024..1536, 1536..1600].map(|range| {
                assert!(
                    content[range.clone()]
                        .iter()
                        .all(|byte| *byte == content[range.start]),
                    "{seed}"
                );
                content[range.start] == 2
            });
            assert_eq!(sectors[1], sectors[2], "{seed}");
            seen.insert(sectors);
        }
        assert_eq!(seen.len(), 16);
    }

    #[test]
    fn writes_stop_where_the_disk_is_full() {
        let disk = SimDisk::new();
        disk.set_capacity(Some(10));
        let file = filled(&disk, "a", b"12345678");
        assert_eq!(
            disk.space().unwrap(),
            Space {
                total: 10,
                available: 2
            }
        );
        assert_eq!(file.write_at(b"9abc", 8).unwrap(), 2);
        for refused in [file.write_at(b"b", 10).map(drop), file.set_len(11)] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(file.write_at(b"over", 0).unwrap(), 4);
        disk.set_capacity(None);
        assert_eq!(file.write_at(b"bc", 10).unwrap(), 2);
        assert_eq!(disk.contents("a"), b"over56789abc");
    }

    #[test]
    fn writes_can_be_short() {
        let disk = SimDisk::new();
        let file = disk.create("a").unwrap();
        disk.fail_at(1, Fault::Short);
        assert_eq!(file.write_at(b"abcd", 0).unwrap(), 2);
        disk.fail_at(2, Fault::ShortThenEnospc);
        assert_eq!(file.write_at(b"cdef", 2).unwrap(), 2);
        assert_eq!(
            file.write_at(b"ef", 4).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(file.write_at(b"ef", 4).unwrap(), 2);
        assert_eq!(disk.contents("a"), b"abcdef");
        assert_eq!(disk.log()[1], "1 write a 0+4: Fault(Short)");
    }

    #[test]
    fn a_dead_process_does_nothing() {
        let disk = SimDisk::new();
        disk.put("a", b"old");
        let file = disk.open("a").unwrap();
        disk.crash_at(0);
        assert!(file.write_at(b"new", 0).is_err());
        assert!(disk.is_crashed());
        assert!(disk.list().is_err() && disk.open("a").is_err() && file.len().is_err());
        assert!(file.read_at(&mut [0], 0).is_err() && disk.sync_dir().is_err());
        assert_eq!(disk.operations(), 1);
        assert_eq!(disk.crash(Shape::None).contents("a"), b"old");
        assert_eq!(disk.crash(Shape::All).contents("a"), b"new");
    }

    #[test]
    fn bits_flip_for_good() {
        let disk = SimDisk::new();
        disk.put("a", &[0, 0]);
        let other = disk.clone_deep();
        disk.flip_bit("a", 9);
        disk.open("a").unwrap().write_at(&[1], 0).unwrap();
        disk.flip_bit("a", 8);
        assert_eq!(disk.contents("a"), [1, 3]);
        assert_eq!(disk.crash(Shape::None).contents("a"), [0, 3]);
        assert_eq!(other.contents("a"), [0, 0]);
    }

    #[test]
    fn shapes_are_many_but_bounded_and_the_same_for_the_same_seed() {
        let disk = SimDisk::new();
        disk.put("a", b"");
        assert_eq!(disk.shapes(SEED), [Shape::All]);
        let file = disk.open("a").unwrap();
        for block in 0..200 {
            file.write_at(&[1; 5000], block * 5000).unwrap();
        }
        let shapes = disk.shapes(SEED);
        assert_eq!(shapes, disk.shapes(SEED));
        assert_ne!(shapes, disk.shapes(SEED + 1));
        assert!(
            shapes.len() < 100
                && shapes.contains(&Shape::Prefix(199))
                && shapes.contains(&Shape::Drop(198))
        );
        for shape in shapes {
            assert_eq!(
                disk.crash(shape).contents("a"),
                disk.crash(shape).contents("a"),
                "{shape:?}"
            );
        }
    }
}
