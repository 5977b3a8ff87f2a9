//! The space of one file system, asked for on a thread of its own.
//!
//! A mount whose server is gone does not answer: whoever asks waits for as long as it is gone. So
//! there is one thread, with one question at a time, and no second question while it waits.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use rustix::fs::{major, minor, statvfs};

use super::counters::{Device, source_of};
use crate::fleet_core::facts::MAX_FACT_TEXT;
use crate::text::start;

/// After so long without an answer a file system counts as hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The thread does nothing that needs more, in bytes.
const STACK: usize = 128 * 1024;

/// The space of a file system, in bytes, and what it lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) used: u64,
    pub(super) free: u64,
    /// The disk that has it; `None` if it lies on none, as those of networks and memory do.
    pub(super) device: Option<Device>,
}

/// What is known of a file system's space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It was not asked for yet, or the first answer is still to come.
    Nothing,
    Space(Space),
    /// Why nothing is known.
    Trouble(Box<str>),
}

/// Asks for the space of one file system, again and again.
#[derive(Debug)]
pub(super) struct DiskWatch {
    shared: Arc<Shared>,
    dir: PathBuf,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Since when a question is open.
    open: Option<SystemTime>,
    answer: Option<Result<Space, Box<str>>>,
    /// Nobody asks any more.
    is_over: bool,
}

/// A way to ask a file system for its space.
pub(super) type Ask = Box<dyn Fn(&Path) -> io::Result<Space> + Send>;

impl DiskWatch {
    /// Begins with the thread that asks. It ends when this is dropped, or as soon as the question
    /// that is open then is answered.
    pub(super) fn new(dir: &Path, ask: Ask) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let asking = shared.clone();
        let of = dir.to_owned();
        thread::Builder::new()
            .name("disk-space".to_owned())
            .stack_size(STACK)
            .spawn(move || asking.answer(&of, &ask))?;
        Ok(Self {
            shared,
            dir: dir.to_owned(),
        })
    }

    /// What is known by now; asks anew, unless a question is open.
    pub(super) fn look(&self, now: SystemTime) -> Known {
        let mut state = self.shared.state();
        let known = match (&state.answer, state.open) {
            (_, Some(since)) if now.duration_since(since).unwrap_or_default() >= PATIENCE => {
                Known::Trouble(self.hung(since))
            }
            (None, _) => Known::Nothing,
            (Some(Ok(space)), _) => Known::Space(*space),
            (Some(Err(trouble)), _) => Known::Trouble(trouble.clone()),
        };
        if state.open.is_none() {
            state.open = Some(now);
            self.shared.asked.notify_one();
        }
        known
    }

    fn hung(&self, since: SystemTime) -> Box<str> {
        let since = DateTime::<Utc>::from(since).to_rfc3339_opts(SecondsFormat::Secs, true);
        let dir = self.dir.display();
        short(&format!("hung since {since}: {dir} does not answer"))
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.asked.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers questions until nobody asks any more.
    fn answer(&self, dir: &Path, ask: &Ask) {
        loop {
            let is_idle = |state: &mut State| state.open.is_none() && !state.is_over;
            let waiting = self.asked.wait_while(self.state(), is_idle);
            if waiting.unwrap_or_else(PoisonError::into_inner).is_over {
                return;
            }
            let answer = ask(dir).map_err(|error| short(&format!("{}: {error}", dir.display())));
            let mut state = self.state();
            state.answer = Some(answer);
            state.open = None;
        }
    }
}

fn short(text: &str) -> Box<str> {
    start(text, MAX_FACT_TEXT).into()
}

/// Asks the system for the space of the file system on which `dir` lies.
pub(super) fn space(dir: &Path) -> io::Result<Space> {
    let space = statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Ok(Space {
        total: bytes(space.f_blocks),
        used: bytes(space.f_blocks.saturating_sub(space.f_bfree)),
        free: bytes(space.f_bavail),
        device: device(dir),
    })
}

/// The disk on which `dir` lies. File systems that span several disks have a number of their own;
/// then it is the disk that was named when they were mounted.
fn device(dir: &Path) -> Option<Device> {
    let number = |device: u64| (major(device), minor(device));
    let own = number(fs::metadata(dir).ok()?.dev());
    if own.0 != 0 {
        return Some(own);
    }
    let path = fs::canonicalize(dir).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let source = source_of(&mounts, path.to_str()?)?;
    match fs::metadata(source) {
        Ok(about) => Some(number(about.rdev())),
        // A service with `PrivateDevices=` does not see it there.
        Err(_) => block_device(Path::new("/sys/class/block"), source),
    }
}

/// The number of a disk by its name, from `/sys/class/block`; mapped ones have another name there.
pub(super) fn block_device(blocks: &Path, source: &str) -> Option<Device> {
    let name = Path::new(source).file_name()?.to_str()?;
    let read = |dir: &Path, file: &str| fs::read_to_string(dir.join(file)).ok();
    let mapped = || {
        let mut all = fs::read_dir(blocks).ok()?.flatten();
        all.find_map(|entry| {
            let is_it = read(&entry.path(), "dm/name")?.trim() == name;
            is_it.then(|| read(&entry.path(), "dev"))?
        })
    };
    let number = read(&blocks.join(name), "dev").or_else(mapped)?;
    let (major, minor) = number.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
