//! The thread that reads and writes a history's files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;

use super::line;
use super::note::Note;
use super::read::{self, Found};
use crate::fleet_core::{History, Minute};
use crate::logging::DataFile;
use crate::numbers::plural;

/// The file that is written. Older ones have a number behind it.
const FILE: &str = "history.jsonl";

/// A file's size before it is rotated, and how many are kept.
const ROTATION: (u64, usize) = (16 << 20, 8);

/// How often it is looked for minutes that have ended.
const LOOK: Duration = Duration::from_secs(5);

/// How often a directory that cannot be used is tried again.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// How long the end of the balancer waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What waits for the disk.
#[derive(Default)]
pub(super) struct Taken {
    /// Changes of identities.
    pub(super) notes: Vec<Note>,
    /// Minutes that have ended.
    pub(super) minutes: Vec<Minute>,
    /// How many minutes had no more room to wait.
    pub(super) lost: u64,
}

/// What the thread works with.
pub(super) trait Source: Send + Sync + 'static {
    /// What waits; with `all`, the current minute, too.
    fn take(&self, all: bool) -> Taken;
    /// Takes over what was read.
    fn absorb(&self, read: History);
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// The handle on the thread.
pub(super) struct Disk {
    stop: Arc<AtomicBool>,
    /// Dropping it wakes the thread.
    wake: Mutex<Option<SyncSender<()>>>,
    ended: Mutex<Receiver<()>>,
}

impl Disk {
    /// Starts the thread. `limit` is the most memory for what is read.
    pub(super) fn start(dir: PathBuf, limit: usize, source: Arc<impl Source>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = mpsc::sync_channel(0);
        let (tell_end, ended) = mpsc::sync_channel(1);
        let keeper = Keeper {
            dir,
            source,
            stop: stop.clone(),
            file: None,
            try_at: Instant::now(),
            has_told: false,
        };
        let run = move || {
            keeper.run(limit, &woken);
            // Nobody may wait any more.
            let _ = tell_end.send(());
        };
        let started = thread::Builder::new().name("history".to_owned()).spawn(run);
        if let Err(error) = started {
            tracing::warn!(%error, "no history is written: cannot start its thread");
        }
        Self {
            stop,
            wake: Mutex::new(Some(wake)),
            ended: Mutex::new(ended),
        }
    }

    /// Lets the thread write what waits, for at most a moment, and end.
    pub(super) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let wake = self
            .wake
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if wake.is_none() {
            return;
        }
        drop(wake);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LAST_LINES) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the last minutes of the history are not written: its disk does not answer"
            );
        }
    }
}

struct Keeper<S> {
    dir: PathBuf,
    source: Arc<S>,
    stop: Arc<AtomicBool>,
    file: Option<DataFile>,
    try_at: Instant,
    has_told: bool,
}

impl<S: Source> Keeper<S> {
    fn run(mut self, limit: usize, woken: &Receiver<()>) {
        self.read(limit);
        // A directory that cannot be used is told at once.
        self.open();
        loop {
            let is_end = woken.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected);
            self.write(is_end);
            if is_end {
                return;
            }
        }
    }

    /// Takes over what an earlier balancer has written.
    fn read(&self, limit: usize) {
        let (_, keep) = ROTATION;
        let older = (1..=keep).rev();
        let files = older
            .map(|number| self.dir.join(format!("{FILE}.{number}")))
            .chain([self.dir.join(FILE)]);
        let mut history = History::new(limit, false);
        let began = Instant::now();
        let stop = || self.stop.load(Ordering::Relaxed);
        let found = read::read(files, &mut history, self.source.now(), &stop);
        let members = history.members().count();
        self.source.absorb(history);
        let Found {
            lines,
            damaged,
            unreadable,
        } = found;
        let dir = self.dir.display();
        if lines > 0 {
            let ms = began.elapsed().as_millis();
            tracing::info!(%dir, members, lines, ms, "history of the fleet read");
        }
        if damaged > 0 {
            tracing::warn!(
                %dir,
                "{} of the history skipped: cut or damaged",
                plural(damaged, "line was", "lines were")
            );
        }
        for error in unreadable {
            tracing::warn!("a file of the history cannot be read: {error}");
        }
    }

    fn write(&mut self, all: bool) {
        // Minutes that find no file are lost: they must not pile up.
        let Taken {
            notes,
            minutes,
            lost,
        } = self.source.take(all);
        if self.file.is_none() {
            self.open();
        }
        let Some(file) = &mut self.file else {
            return;
        };
        if lost > 0 {
            tracing::warn!(
                "{} not written to the history: its disk did not answer in time",
                plural(lost, "minute of a member was", "minutes of members were")
            );
        }
        let notes = notes.iter().map(line::of_note);
        let lines: Vec<Vec<u8>> = notes.chain(minutes.iter().map(line::of_minute)).collect();
        if !lines.is_empty() {
            file.write(lines.iter().map(Vec::as_slice));
        }
    }

    fn open(&mut self) {
        let now = Instant::now();
        if now < self.try_at {
            return;
        }
        self.try_at = now + TRY_AGAIN;
        match DataFile::open("history", &self.dir, FILE, ROTATION, once()) {
            Ok(file) => {
                if self.has_told {
                    let dir = self.dir.display();
                    tracing::info!(%dir, "history is written again");
                }
                self.file = Some(file);
            }
            Err(error) if !self.has_told => {
                self.has_told = true;
                tracing::warn!("no history is written: {error}; it is tried again each minute");
            }
            Err(_) => {}
        }
    }
}

/// Tells the first trouble of the file, and its end.
fn once() -> impl Fn(Level, &str) + Send + Sync {
    let has_told = AtomicBool::new(false);
    move |level, text| {
        if level == Level::INFO {
            has_told.store(false, Ordering::Relaxed);
            tracing::info!("{text}");
        } else if !has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("{text}");
        }
    }
}
