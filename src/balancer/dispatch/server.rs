//! What the dispatcher knows of one server.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::blame::Standing;
use super::names::Who;
use super::window::Window;
use crate::numbers::{millis, seconds};
use crate::protocol::status::{Dialect, Memory, ServerReport, ServerState};
use crate::schedule::{Fact, Flip, Health};

/// The most files in flight to an old-style server, which has a thread for each.
pub(in crate::balancer) const OLD_STYLE_FILES: usize = 64;

/// The most files that may be in doubt at one server. All of them are remembered until the server
/// has listed its files. A server at this bound gets no more files, so there cannot be more.
pub(super) const MAX_DOUBTS: usize = 100_000;

/// The first wait before a link that failed is opened again, and the longest.
const LINK_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The first wait before the link to a server that acknowledged nothing is opened again, and the
/// longest.
const SILENCE_PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// The link that files are sent over, by its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Closed,
    Opening(u64),
    Open(u64),
}

impl LinkState {
    /// The epoch of the present link.
    pub(super) fn epoch(self) -> Option<u64> {
        match self {
            Self::Closed => None,
            Self::Opening(epoch) | Self::Open(epoch) => Some(epoch),
        }
    }
}

/// What the operator wants of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// It gets files by its weight.
    Work,
    /// It gets nothing new.
    Drain,
    /// It gets nothing new, and is forgotten once nothing is in flight to it.
    Leave,
}

/// A file in flight: when it was sent, and its size.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) at: Duration,
    /// Its size.
    pub(super) bytes: u64,
    /// The part of its server's window of bytes that it takes.
    pub(super) part: u64,
}

/// One server.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five facts that have nothing to do with each other"
)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) weight: u32,
    pub(super) health: Health,
    pub(super) dialect: Option<Dialect>,
    pub(super) link: LinkState,
    link_pause: Duration,
    /// The server acknowledged nothing when it was last sent files.
    is_silent: bool,
    /// What it has stored and refused.
    pub(super) standing: Standing,
    /// When its link may be opened again.
    pub(super) link_retry: Option<Duration>,
    pub(super) in_flight: HashMap<u64, Sent>,
    in_flight_bytes: u64,
    /// What the files in flight, and those that come ahead, take of the window of bytes.
    pub(super) taken: u64,
    /// Its link takes files ahead.
    pub(super) takes_ahead: bool,
    /// Files that the server may have: they were in flight over a link that was closed, or are to be
    /// removed.
    pub(super) doubts: BTreeSet<u64>,
    /// Whether it has listed its files since the balancer's start, or can list nothing.
    pub(super) has_reported: bool,
    /// Whether it lists its files, and removes those that it is told to.
    pub(super) keeps_account: bool,
    /// Who answered the last probe.
    pub(super) who: Who,
    /// Who answered the last probe before its link was opened.
    pub(super) linked: Option<Who>,
    /// What the scheduler was told last.
    pub(super) eligible: bool,
    delivered: u64,
    delivered_bytes: u64,
    /// Files that it refused, or that came back because it failed.
    pub(super) returned: u64,
    /// What the operator wants of it.
    pub(super) intent: Intent,
    /// Why the registry of members wants it to get nothing new, whatever the operator wants.
    pub(super) held_back: Option<Arc<str>>,
    /// The memory of its process, at the last probe.
    pub(super) memory: Option<Memory>,
    /// How long the last probe took, if it was answered.
    pub(super) probe: Option<Duration>,
}

impl Member {
    /// A server of which nothing is known yet.
    pub(super) fn new(name: &str, weight: u32, health: Health, now: Duration) -> Self {
        let mut server = Self {
            name: name.into(),
            weight,
            health,
            dialect: None,
            link: LinkState::Closed,
            link_pause: LINK_PAUSE.0,
            is_silent: false,
            standing: Standing::default(),
            link_retry: None,
            in_flight: HashMap::new(),
            in_flight_bytes: 0,
            taken: 0,
            takes_ahead: false,
            doubts: BTreeSet::new(),
            has_reported: false,
            keeps_account: false,
            who: Who::default(),
            linked: None,
            eligible: false,
            delivered: 0,
            delivered_bytes: 0,
            returned: 0,
            intent: Intent::Work,
            held_back: None,
            memory: None,
            probe: None,
        };
        server.apply_intent(now);
        server
    }

    /// Tells its health what the operator wants of it.
    pub(super) fn apply_intent(&mut self, now: Duration) -> Option<Flip> {
        let intent: Option<Cow<'static, str>> = match (self.intent, self.weight) {
            (Intent::Leave, _) => Some("being removed".into()),
            (Intent::Drain, _) => Some("by the operator".into()),
            (Intent::Work, _) if let Some(reason) = &self.held_back => {
                Some(reason.to_string().into())
            }
            (Intent::Work, 0) => Some("weight 0".into()),
            (Intent::Work, _) => None,
        };
        let is_drained = intent.is_some();
        let reason = intent.unwrap_or_else(|| "no longer".into());
        self.health.drain(is_drained, reason, now)
    }

    /// Whether one more file in flight could exceed the bound on files in doubt.
    pub(super) fn is_too_doubtful(&self) -> bool {
        self.doubts.len() + self.in_flight.len() >= MAX_DOUBTS
    }

    /// Notes that a file of this size is in flight to it.
    pub(super) fn put_in_flight(&mut self, number: u64, bytes: u64, at: Duration, own: Window) {
        let part = own.part(bytes);
        self.in_flight.insert(number, Sent { at, bytes, part });
        self.in_flight_bytes += bytes;
        self.taken += part;
    }

    /// Takes a file out of flight.
    pub(super) fn take_from_flight(&mut self, number: u64) -> Option<Sent> {
        let sent = self.in_flight.remove(&number)?;
        self.in_flight_bytes -= sent.bytes;
        self.taken -= sent.part;
        Some(sent)
    }

    /// Counts a file that it has stored, and forgives its failures.
    pub(super) fn has_stored(&mut self, sent: &Sent) {
        self.delivered += 1;
        self.delivered_bytes += sent.bytes;
        self.link_pause = LINK_PAUSE.0;
        self.is_silent = false;
        self.standing.stored();
        self.health.stored();
    }

    /// The server acknowledges nothing: its next link waits longer, and carries one file at first.
    pub(super) fn falls_silent(&mut self) {
        self.is_silent = true;
        self.link_pause = self.link_pause.max(SILENCE_PAUSE.0);
        self.standing.put_on_trial();
    }

    /// The server was down and answers again. What it did before says little, so its link may be
    /// opened at once.
    pub(super) fn returns(&mut self) {
        if std::mem::take(&mut self.is_silent) {
            self.link_pause = LINK_PAUSE.0;
            self.link_retry = None;
        }
    }

    /// Whether it is an old-style server.
    pub(super) fn is_old_style(&self) -> bool {
        self.dialect == Some(Dialect::OldStyle)
    }

    /// The dialect of the link that can be opened to it now: it answers probes, has no link, and
    /// need not wait any longer after one that failed.
    pub(super) fn can_be_linked(&self, now: Duration) -> Option<Dialect> {
        let needed = [Fact::Connection, Fact::Trust, Fact::Identity];
        let answers = needed.into_iter().all(|fact| self.health.allows(fact));
        let waits = self.link_retry.is_some_and(|due| due > now);
        let is_free = self.link == LinkState::Closed && answers && !waits;
        self.dialect.filter(|_| is_free)
    }

    /// Closes its link, and gives the numbers of what was in flight over it, in order.
    pub(super) fn unlink(&mut self) -> Vec<u64> {
        self.link = LinkState::Closed;
        self.linked = None;
        self.takes_ahead = false;
        self.in_flight_bytes = 0;
        self.taken = 0;
        let mut numbers: Vec<u64> = self.in_flight.drain().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        self.returned += numbers.len() as u64;
        numbers
    }

    /// Whether it can take files now, or once it has less to do or more room.
    pub(super) fn is_there(&self) -> bool {
        let needed = [
            Fact::Drain,
            Fact::Connection,
            Fact::Trust,
            Fact::Identity,
            Fact::Link,
        ];
        needed.into_iter().all(|fact| self.health.allows(fact))
    }

    /// Postpones its next link, longer each time, and says until when.
    pub(super) fn postpone_link(&mut self, now: Duration) -> Duration {
        let retry = now + self.link_pause;
        let longest = if self.is_silent {
            SILENCE_PAUSE.1
        } else {
            LINK_PAUSE.1
        };
        self.link_pause = (self.link_pause * 2).min(longest);
        self.link_retry = Some(retry);
        retry
    }

    /// Its own window.
    pub(super) fn window(&self, window: Window, heaviest: u32) -> Window {
        let most = if self.is_old_style() {
            window.files.min(OLD_STYLE_FILES)
        } else {
            window.files
        };
        Window {
            files: most,
            ..window
        }
        .scaled(self.weight, heaviest)
    }

    /// Whether one more file may be in flight to it.
    pub(super) fn window_is_open(&self, window: Window, heaviest: u32) -> bool {
        let Window { files, bytes } = self.window(window, heaviest);
        let files = if self.standing.is_on_trial() {
            files.min(1)
        } else {
            files
        };
        self.in_flight.len() < files && self.taken < bytes && !self.is_too_doubtful()
    }

    /// Its state in a word.
    fn state(&self, window_is_open: bool) -> ServerState {
        match self.health.problem() {
            None if window_is_open => ServerState::Up,
            None => ServerState::Full,
            Some((Fact::Drain, ..)) if self.intent == Intent::Leave => ServerState::Removing,
            Some((Fact::Drain, ..)) => ServerState::Drained,
            Some((Fact::Connection, ..)) if self.health.is_fresh() => ServerState::Unknown,
            Some((Fact::Connection | Fact::Trust, ..)) => ServerState::Down,
            Some((Fact::Link, ..)) if self.is_silent => ServerState::Paused,
            Some((Fact::Link, ..)) => ServerState::Connecting,
            Some((Fact::Load, ..)) => ServerState::Overloaded,
            Some((Fact::Storage | Fact::Identity, ..)) => ServerState::Paused,
        }
    }

    /// Why its window is not open.
    fn why_full(&self) -> String {
        if self.is_too_doubtful() {
            format!("window: {MAX_DOUBTS} files are in doubt here, and it has not listed its files")
        } else if self.standing.is_on_trial() {
            "window: one file until that is stored".to_owned()
        } else {
            "window: full".to_owned()
        }
    }

    /// Its state, for people, beside a server of the `heaviest` weight.
    pub(super) fn report(&self, window: Window, heaviest: u32, now: Duration) -> ServerReport {
        let is_open = self.window_is_open(window, heaviest);
        let own = self.window(window, heaviest);
        let fact = self.health.problem();
        let problem = fact.map(|(fact, reason, _)| format!("{}: {reason}", fact.name()));
        ServerReport {
            name: self.name.to_string(),
            weight: self.weight,
            dialect: self.dialect,
            eligible: self.eligible,
            state: self.state(is_open),
            fact: fact.map(|(fact, ..)| fact.name().to_owned()),
            reason: problem.or_else(|| (!is_open).then(|| self.why_full())),
            since_s: seconds(now.saturating_sub(self.health.since())),
            overloaded: !self.health.allows(Fact::Load),
            in_flight: self.in_flight.len(),
            in_flight_bytes: self.in_flight_bytes,
            delivered: self.delivered,
            delivered_bytes: self.delivered_bytes,
            returned: self.returned,
            drained: self.intent == Intent::Drain,
            removing: self.intent == Intent::Leave,
            memory: self.memory,
            probe_ms: self.probe.map(millis),
            window_files: own.files,
            window_bytes: own.bytes,
        }
    }
}
