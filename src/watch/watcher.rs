//! A watcher, and all that it knows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::WatchError;
use super::events::{Event, Events};
use super::folder::Folder;
use super::hand::{Item, News};
use super::rules::{After, Rules};
use super::state::State;
use super::told::{Summary, Told};
use super::walk::Ground;
use crate::client::Way;

/// The first wait before something that failed is tried again; it doubles.
pub(super) const FIRST: Duration = Duration::from_secs(1);

/// The longest.
const LONGEST: Duration = Duration::from_mins(5);

/// How long entries wait for others to be closed with them.
const CLOSE: Duration = Duration::from_millis(500);

/// How many of them wait at most.
const CLOSED: usize = 4096;

/// What is watched, and how.
#[derive(Debug)]
pub struct Config {
    /// The folder.
    pub folder: PathBuf,
    /// Whether folders in it are watched as well.
    pub recursive: bool,
    /// Where the state is kept.
    pub state: PathBuf,
    /// Which files are taken, and what happens to each.
    pub rules: Rules,
    /// How long a file must stay the same.
    pub settle: Duration,
    /// The time between two looks at the folder, if the system is not to tell of changes.
    pub poll: Option<Duration>,
    /// What is there is handed over, and that is all; a balancer that is away for longer is an
    /// error.
    pub once: Option<Duration>,
    /// What keys begin with.
    pub prefix: String,
    /// For how long the balancer surely remembers keys.
    pub remembered: Duration,
}

/// A batch that is under way.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) cancel: CancellationToken,
    /// How many of its files have no end yet.
    pub(super) left: usize,
    pub(super) is_large: bool,
    pub(super) is_uploaded: bool,
    pub(super) is_joined: bool,
}

/// Entries that are to be closed once the folders of their files are synced.
#[derive(Debug, Default)]
pub(super) struct Closing {
    pub(super) entries: Vec<u64>,
    pub(super) dirs: HashSet<PathBuf>,
    /// When they are to be, at the latest.
    pub(super) due: Option<Instant>,
}

impl Closing {
    /// Another one, which has been put away now.
    pub(super) fn add(&mut self, n: u64, now: Instant) {
        self.entries.push(n);
        self.due.get_or_insert(now + CLOSE);
    }

    /// Whether it is time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now) || self.entries.len() >= CLOSED
    }
}

/// A watcher, and all that it knows.
pub(super) struct Watcher<'a> {
    pub(super) config: Config,
    pub(super) ground: Arc<Ground>,
    pub(super) way: Way,
    pub(super) tell: &'a mut (dyn FnMut(Told) + Send),
    pub(super) state: State,
    pub(super) id: String,
    pub(super) folder: Folder,
    pub(super) summary: Summary,
    pub(super) events: Option<(Events, mpsc::Receiver<Event>)>,
    pub(super) news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    pub(super) batches: HashMap<u64, Carried>,
    pub(super) of_file: HashMap<u64, u64>,
    /// Files of batches that were cancelled to be joined.
    pub(super) joining: Vec<Item>,
    pub(super) next_batch: u64,
    /// Entries that the balancer is done with.
    pub(super) acts: VecDeque<u64>,
    pub(super) closing: Closing,
    /// Rules whose files cannot be put away now, until when, and how often in a row.
    pub(super) blocked: HashMap<usize, (Instant, u32)>,
    pub(super) servers: HashMap<u64, String>,
    pub(super) next_scan: Option<Instant>,
    pub(super) scanned: (Instant, Duration),
    pub(super) scans: u32,
    /// What was told to be skipped, at the last look and at this one.
    pub(super) skipped: (HashSet<blake3::Hash>, HashSet<blake3::Hash>),
    pub(super) stuck: HashSet<String>,
    pub(super) away_since: Option<Instant>,
    pub(super) has_heard: bool,
}

impl<'a> Watcher<'a> {
    pub(super) fn open(
        config: Config,
        way: Way,
        tell: &'a mut (dyn FnMut(Told) + Send),
    ) -> Result<Self, WatchError> {
        let (state, known) = State::open(&config.folder, &config.state)?;
        if known.torn > 0 {
            let torn = known.torn;
            tell(Told::Note(format!(
                "the state's last {torn} bytes were no whole line, of a watcher that was killed: \
                 they are cut off"
            )));
        }
        let ground = ground(&config)?;
        let unfinished = known.entries.len();
        let folder = Folder::new(
            config.settle,
            known.entries.into_values(),
            known.kept,
            known.last,
        );
        let mut events = None;
        if config.poll.is_none() && config.once.is_none() {
            match Events::new() {
                Ok(made) => events = Some(made),
                Err(error) => tell(Told::Note(by_polling(&error))),
            }
        }
        tell(Told::Started {
            unfinished,
            by_events: events.is_some(),
        });
        let now = Instant::now();
        Ok(Self {
            ground: Arc::new(ground),
            way,
            tell,
            state,
            id: known.id,
            folder,
            summary: Summary::default(),
            events,
            news: mpsc::channel(64),
            batches: HashMap::new(),
            of_file: HashMap::new(),
            joining: Vec::new(),
            next_batch: 0,
            acts: VecDeque::new(),
            closing: Closing::default(),
            blocked: HashMap::new(),
            servers: HashMap::new(),
            next_scan: Some(now),
            scanned: (now, Duration::ZERO),
            scans: 0,
            skipped: (HashSet::new(), HashSet::new()),
            stuck: HashSet::new(),
            away_since: None,
            has_heard: false,
            config,
        })
    }

    pub(super) fn cannot_write(&self, source: std::io::Error) -> WatchError {
        WatchError::State {
            path: self.config.state.clone(),
            source,
        }
    }
}

/// The wait before this attempt.
pub(super) fn later(tries: u32) -> Duration {
    (FIRST * (1 << tries.clamp(1, 10).saturating_sub(1))).min(LONGEST)
}

pub(super) fn by_polling(error: &std::io::Error) -> String {
    format!("the system cannot tell of changes ({error}): the folder is looked at every second")
}

/// What is looked at. Makes the folders that files are moved to.
fn ground(config: &Config) -> Result<Ground, WatchError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WatchError::Folder { path, source }
    };
    let real = |path: &Path| path.canonicalize().map_err(failed(path));
    let mut closed = vec![real(&config.state)?];
    for rule in config.rules.all() {
        let mut used = Vec::new();
        if rule.after == After::Move {
            used.push(&rule.done);
        }
        if rule.after != After::Leave {
            used.push(&rule.failed);
        }
        for path in used {
            std::fs::create_dir_all(path).map_err(failed(path))?;
            closed.push(real(path)?);
        }
    }
    Ok(Ground {
        root: real(&config.folder)?,
        recursive: config.recursive,
        closed,
        rules: config.rules.clone(),
    })
}
