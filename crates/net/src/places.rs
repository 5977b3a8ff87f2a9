//! Places for connections: at most as many as there are file descriptors for. When all are taken,
//! idle connections make way for new ones, those of the source that has most first.
//!
//! Owns which connections have a place and which are asked to leave. Each connection reports by its
//! [`Seat`] whether it has work under way. Two invariants: no connection is asked to leave while it
//! has, or within [`SETTLE`] of its last report; and no source but this machine has more than three
//! quarters of the places, whatever its connections do.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::ReadError;
use super::complaints::Complaints;
use super::source::Source;

/// How long a connection must be at rest before it is asked to leave: bytes that its peer has just
/// sent may be on their way.
pub const SETTLE: Duration = Duration::from_millis(200);

/// How long a connection that was asked to leave may take before another one is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines about places.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

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

/// What a connection reports about itself to its [`Places`].
pub struct Seat {
    rank: AtomicU8,
    /// Since when it has had that rank, in milliseconds from `began`.
    since: AtomicU64,
    began: Instant,
    busy: OnceLock<IsBusy>,
    asked: Notify,
    /// When it was asked last, in milliseconds from `began`; 0 if never.
    asked_at: AtomicU64,
    peer: SocketAddr,
    source: Source,
    complaints: Arc<Complaints>,
}

impl Seat {
    fn new(began: Instant, peer: SocketAddr, complaints: Arc<Complaints>) -> Self {
        let seat = Self {
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

    fn is_at_rest(&self) -> bool {
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
    fn ask(&self, now: u64) {
        self.asked_at.store(now.max(1), Ordering::Relaxed);
        self.asked.notify_waiters();
    }

    /// The connection with the lowest value leaves first; `None` if this one must not be asked.
    fn order(&self, now: u64) -> Option<(u8, u64)> {
        let since = self.since.load(Ordering::Relaxed);
        let asked_at = self.asked_at.load(Ordering::Relaxed);
        let settled = u64::try_from(SETTLE.as_millis()).unwrap_or(u64::MAX);
        let was_asked = asked_at != 0 && now.saturating_sub(asked_at) < 1000;
        let is_candidate = now.saturating_sub(since) >= settled && !was_asked && self.is_at_rest();
        is_candidate.then(|| (self.rank.load(Ordering::Relaxed), since))
    }
}

/// The places of one listener.
pub struct Places {
    state: Mutex<State>,
    freed: Notify,
    began: Instant,
    complaints: Arc<Complaints>,
}

struct State {
    seats: HashMap<u64, Arc<Seat>>,
    /// How many of them each source has.
    sources: HashMap<Source, usize>,
    next: u64,
    limit: usize,
    /// When a source's connections were last looked at for one at rest.
    looked: Option<Instant>,
    /// When the log last said that a connection had to leave.
    logged: Option<Instant>,
    /// How many had to leave since then.
    unlogged: u64,
}

/// A taken place; dropping it frees the place.
pub struct Place {
    number: u64,
    seat: Arc<Seat>,
    places: Arc<Places>,
}

impl Place {
    /// The seat of the connection that has this place.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().free(self.number);
        self.places.freed.notify_one();
    }
}

impl Places {
    /// `limit` free places.
    pub fn new(limit: usize) -> Self {
        let state = State {
            seats: HashMap::new(),
            sources: HashMap::new(),
            next: 0,
            limit,
            looked: None,
            logged: None,
            unlogged: 0,
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
            began: Instant::now(),
            complaints: Arc::new(Complaints::new()),
        }
    }

    /// The number of places, taken or free.
    pub fn limit(&self) -> usize {
        self.lock().limit
    }

    /// Sets the number of places. Connections beyond it stay until they end or make way.
    pub fn set_limit(&self, limit: usize) {
        self.lock().limit = limit;
        self.freed.notify_one();
    }

    /// Waits for a free place; meanwhile connections at rest are asked to leave, one after the
    /// other. `None` at once if the peer's source has too many: of its connections, one at rest is
    /// asked to leave for the next. Only one task may wait at a time.
    pub async fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let source = Source::of(peer);
        if self.lock().has_too_many(source) {
            self.turn_away(source);
            return None;
        }
        loop {
            if let Some(place) = self.try_take(peer) {
                return Some(place);
            }
            self.make_way();
            let _ = timeout(PATIENCE, self.freed.notified()).await;
        }
    }

    /// Makes way for the next connection of a source, and logs that this one was closed at once. To
    /// find one that is at rest takes a look at all, so it is not done for each of a crowd.
    fn turn_away(&self, source: Source) {
        if self.lock().may_look(Instant::now()) {
            self.make_way_among(Some(source));
        }
        if let Some(left_out) = self.complaints.admit(source) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(target: crate::LOG, source = %source, left_out,
                "connection closed: its source has three quarters of all places; see \
                 max-connections"
            );
        }
    }

    fn try_take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut state = self.lock();
        if state.seats.len() >= state.limit {
            return None;
        }
        let number = state.next;
        let seat = Arc::new(Seat::new(self.began, peer, self.complaints.clone()));
        state.next += 1;
        *state.sources.entry(seat.source).or_default() += 1;
        state.seats.insert(number, seat.clone());
        Some(Place {
            number,
            seat,
            places: self.clone(),
        })
    }

    /// Asks a connection at rest to leave: of those with the lowest rank, and of these those of the
    /// source that has most places, the one that has been at rest for longest.
    pub fn make_way(&self) {
        self.make_way_among(None);
    }

    /// The same among the connections of one source, or among all.
    fn make_way_among(&self, source: Option<Source>) {
        let mut state = self.lock();
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let candidates = state.seats.values().filter_map(|seat| {
            let (rank, since) = seat.order(now)?;
            let places = state.sources.get(&seat.source);
            let is_meant = source.is_none_or(|source| source == seat.source);
            is_meant.then_some(((rank, Reverse(places), since), seat))
        });
        let first = candidates
            .min_by_key(|(order, _)| *order)
            .map(|(_, seat)| seat.clone());
        if source.is_some() {
            if let Some(seat) = first {
                seat.ask(now);
            }
            return;
        }
        let Some(seat) = first else {
            let connections = state.seats.len();
            return state.log_sometimes(|_| {
                tracing::warn!(target: crate::LOG, connections,
                    "all places are taken by connections at work: new ones wait; see \
                     max-connections"
                );
            });
        };
        seat.ask(now);
        state.unlogged += 1;
        let connections = state.seats.len();
        state.log_sometimes(|closed| {
            tracing::warn!(target: crate::LOG, connections,
                closed,
                last = %seat.peer,
                "all places are taken: the connection that was silent or idle for longest makes \
                 way; see max-connections"
            );
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free(&mut self, number: u64) {
        let Some(seat) = self.seats.remove(&number) else {
            return;
        };
        if let Entry::Occupied(mut places) = self.sources.entry(seat.source) {
            *places.get_mut() -= 1;
            if *places.get() == 0 {
                places.remove();
            }
        }
    }

    /// Whether a source's connections may be looked at now.
    fn may_look(&mut self, now: Instant) -> bool {
        let may_look = self
            .looked
            .is_none_or(|at| now.duration_since(at) >= PATIENCE);
        if may_look {
            self.looked = Some(now);
        }
        may_look
    }

    /// Whether a source may not have one place more.
    fn has_too_many(&self, source: Source) -> bool {
        let places = self.sources.get(&source).copied().unwrap_or(0);
        !source.is_local() && places >= (self.limit - self.limit / 4).max(1)
    }

    /// Calls `log` unless it was called within [`LOG_INTERVAL`], with the number of connections
    /// that had to leave since the last call.
    fn log_sometimes(&mut self, log: impl FnOnce(u64)) {
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            log(std::mem::take(&mut self.unlogged));
        }
    }
}

#[cfg(test)]
mod tests;
