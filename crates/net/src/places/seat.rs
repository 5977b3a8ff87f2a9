//! What a connection reports about itself to its [`Places`](super::Places).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ReadError;
use crate::complaints::Complaints;
use crate::source::Source;

/// How long a connection must be at rest before it is asked to leave: bytes that its peer has just
/// sent may be on their way.
pub const SETTLE: Duration = Duration::from_millis(200);

/// How a connection is at rest. Those with a lower rank leave first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rest {
    /// It has not introduced itself yet.
    Silent = 1,
    /// It has nothing under way, and its peer would notice that it is closed.
    Idle = 2,
    /// It has nothing under way, and its peer would not notice: what it sends next would be lost.
    Deaf = 3,
}

/// The rank of a connection that has work under way.
const AT_WORK: u8 = 0;

/// Whether a connection has work under way that it has not reported.
type IsBusy = Box<dyn Fn() -> bool + Send + Sync>;

/// The strangers of a source and those of all sources.
#[derive(Clone, Default)]
pub(super) struct Strangers {
    pub(super) of_source: Arc<AtomicUsize>,
    pub(super) in_all: Arc<AtomicUsize>,
}

impl Strangers {
    fn come(&self) {
        self.of_source.fetch_add(1, Ordering::Relaxed);
        self.in_all.fetch_add(1, Ordering::Relaxed);
    }

    fn go(&self) {
        self.of_source.fetch_sub(1, Ordering::Relaxed);
        self.in_all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection reports about itself to its [`Places`](super::Places).
pub struct Seat {
    rank: AtomicU8,
    /// Since when it has had that rank, in milliseconds from `began`.
    since: AtomicU64,
    began: Instant,
    busy: OnceLock<IsBusy>,
    asked: Notify,
    /// When it was asked last, in milliseconds from `began`; 0 if never.
    asked_at: AtomicU64,
    is_known: AtomicBool,
    strangers: Strangers,
    pub(super) peer: SocketAddr,
    pub(super) source: Source,
    complaints: Arc<Complaints>,
}

impl Seat {
    pub(super) fn new(
        began: Instant,
        peer: SocketAddr,
        strangers: Strangers,
        complaints: Arc<Complaints>,
    ) -> Self {
        strangers.come();
        let seat = Self {
            is_known: AtomicBool::new(false),
            strangers,
            rank: AtomicU8::new(AT_WORK),
            since: AtomicU64::new(0),
            began,
            busy: OnceLock::new(),
            asked: Notify::new(),
            asked_at: AtomicU64::new(0),
            peer,
            source: Source::of(peer),
            complaints,
        };
        seat.rest(Rest::Silent);
        seat
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Reports that the connection's peer is known: it has said who it is, or need not.
    pub fn know(&self) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            self.strangers.go();
        }
    }

    /// Whether the connection's peer is known.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Reports that the connection has work under way.
    pub fn work(&self) {
        self.rank.store(AT_WORK, Ordering::Relaxed);
    }

    /// Reports that the connection has nothing under way from now on.
    pub fn rest(&self, rest: Rest) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.rank.store(rest as u8, Ordering::Relaxed);
    }

    /// Has `is_busy` asked, too, before the connection counts as being at rest. The first call
    /// counts.
    pub fn ask_before(&self, is_busy: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.busy.set(Box::new(is_busy));
    }

    /// Writes a line about the connection that its peer can cause at will, unless there are too many
    /// about its source or in all. `line` is told how many were left out before.
    pub fn complain(&self, line: impl FnOnce(Option<u64>)) {
        if let Some(left_out) = self.complaints.admit(self.source) {
            line((left_out > 0).then_some(left_out));
        }
    }

    /// Logs how the connection ended: as it should, because the peer went away, or because the peer
    /// broke a rule.
    pub fn log_end(&self, ended: Result<(), ReadError>) {
        let peer = self.peer;
        match ended {
            Ok(()) => tracing::debug!(target: crate::LOG, peer = %peer, "connection ended"),
            // `Places` logs how many connections had to leave.
            Err(error @ ReadError::Crowded) => {
                tracing::debug!(target: crate::LOG, peer = %peer, reason = %error, "connection closed");
            }
            Err(error @ (ReadError::Io(_) | ReadError::Idle(_) | ReadError::TakenOver)) => {
                self.complain(|left_out| {
                    tracing::info!(target: crate::LOG, peer = %peer, reason = %error, left_out, "connection closed");
                });
            }
            Err(error) => self.complain(|left_out| {
                tracing::warn!(target: crate::LOG, peer = %peer, reason = %error, left_out, "connection closed");
            }),
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.rank.load(Ordering::Relaxed) != AT_WORK
            && !self.busy.get().is_some_and(|is_busy| is_busy())
    }

    /// Waits until the connection has to make way. If work has come in the same moment, the
    /// connection goes on, and another one is asked.
    pub async fn asked_to_leave(&self) {
        loop {
            self.asked.notified().await;
            if self.is_at_rest() {
                return;
            }
        }
    }

    /// Asks the connection to leave.
    pub(super) fn ask(&self, now: u64) {
        self.asked_at.store(now.max(1), Ordering::Relaxed);
        self.asked.notify_waiters();
    }

    /// The connection with the lowest value leaves first; `None` if this one must not be asked.
    pub(super) fn order(&self, now: u64) -> Option<(u8, u64)> {
        let since = self.since.load(Ordering::Relaxed);
        let asked_at = self.asked_at.load(Ordering::Relaxed);
        let settled = u64::try_from(SETTLE.as_millis()).unwrap_or(u64::MAX);
        let was_asked = asked_at != 0 && now.saturating_sub(asked_at) < 1000;
        let is_candidate = now.saturating_sub(since) >= settled && !was_asked && self.is_at_rest();
        is_candidate.then(|| (self.rank.load(Ordering::Relaxed), since))
    }
}
