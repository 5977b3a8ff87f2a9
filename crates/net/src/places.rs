//! Places for connections: at most as many as there are file descriptors for. When all are taken,
//! idle connections make way for new ones, those of the source that has most first.
//!
//! Owns which connections have a place and which are asked to leave. Each connection reports by its
//! [`Seat`] whether it has work under way, and that its peer is known. Three invariants: no
//! connection is asked to leave while it has work, or within [`SETTLE`] of its last report; no source
//! but this machine has more than three quarters of the places, whatever its connections do; and
//! strangers, whom nobody knows yet, have at most a quarter of the places, those of one source but
//! this machine at most a sixteenth ([`FEW`] are always allowed).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::complaints::Complaints;
use super::source::Source;

mod seat;

use seat::Strangers;
pub use seat::{Rest, SETTLE, Seat};

/// How long a connection that was asked to leave may take before another one is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines about places.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// So many strangers are allowed at any number of places.
const FEW: usize = 64;

/// How long a stranger has been one before it makes way for another: it may wait for us, and not we
/// for it.
const STRANGE: Duration = Duration::from_secs(1);

/// The places of one listener.
pub struct Places {
    state: Mutex<State>,
    freed: Notify,
    began: Instant,
    complaints: Arc<Complaints>,
}

struct State {
    seats: HashMap<u64, Arc<Seat>>,
    /// How many of them each source has, and how many of these are strangers.
    sources: HashMap<Source, (usize, Strangers)>,
    /// The strangers of all sources.
    strangers: Arc<AtomicUsize>,
    next: u64,
    limit: usize,
    /// When a source's connections were last looked at for one at rest.
    looked: Option<Instant>,
    /// When the log last said that a connection had to leave.
    logged: Option<Instant>,
    /// How many had to leave since then.
    unlogged: u64,
}

/// Why there is no place.
enum Full {
    /// All are taken.
    All,
    /// Strangers have all that they may have.
    Strangers,
}

/// Among whom one makes way.
#[derive(Clone, Copy)]
enum Among {
    All,
    Source(Source),
    Strangers,
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
            strangers: Arc::default(),
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
    /// other: strangers only, if there are too many of them. `None` at once if the peer's source has
    /// too many connections, or strangers: of its connections, one at rest is asked to leave for the
    /// next. Only one task may wait at a time.
    pub async fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let source = Source::of(peer);
        let crowd = self.lock().crowd_of(source);
        if let Some(crowd) = crowd {
            self.turn_away(source, crowd);
            return None;
        }
        loop {
            match self.try_take(peer) {
                Ok(place) => return Some(place),
                Err(Full::Strangers) => self.make_way_among(Among::Strangers),
                Err(Full::All) => self.make_way(),
            }
            let _ = timeout(PATIENCE, self.freed.notified()).await;
        }
    }

    /// Makes way for the next connection of a source, and logs that this one was closed at once. To
    /// find one that is at rest takes a look at all, so it is not done for each of a crowd.
    fn turn_away(&self, source: Source, crowd: &str) {
        if self.lock().may_look(Instant::now()) {
            self.make_way_among(Among::Source(source));
        }
        if let Some(left_out) = self.complaints.admit(source) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(target: crate::LOG, source = %source, left_out,
                "connection closed: its source has {crowd}; see max-connections"
            );
        }
    }

    fn try_take(self: &Arc<Self>, peer: SocketAddr) -> Result<Place, Full> {
        let mut state = self.lock();
        if state.seats.len() >= state.limit {
            return Err(Full::All);
        }
        if state.strangers.load(Ordering::Relaxed) >= (state.limit / 4).max(FEW) {
            return Err(Full::Strangers);
        }
        let number = state.next;
        let in_all = state.strangers.clone();
        let (places, strangers) = state.sources.entry(Source::of(peer)).or_insert_with(|| {
            let of_source = Arc::default();
            (0, Strangers { of_source, in_all })
        });
        *places += 1;
        let complaints = self.complaints.clone();
        let seat = Seat::new(self.began, peer, strangers.clone(), complaints);
        let seat = Arc::new(seat);
        state.next += 1;
        state.seats.insert(number, seat.clone());
        Ok(Place {
            number,
            seat,
            places: self.clone(),
        })
    }

    /// Asks a connection at rest to leave: of those with the lowest rank, and of these those of the
    /// source that has most places, the one that has been at rest for longest.
    pub fn make_way(&self) {
        self.make_way_among(Among::All);
    }

    /// The same among these connections.
    fn make_way_among(&self, among: Among) {
        let mut state = self.lock();
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let strange = u64::try_from(STRANGE.as_millis()).unwrap_or(u64::MAX);
        let candidates = state.seats.values().filter_map(|seat| {
            let (rank, since) = seat.order(now)?;
            let places = state.sources.get(&seat.source).map(|(places, _)| *places);
            let is_meant = match among {
                Among::All => true,
                Among::Source(source) => source == seat.source,
                Among::Strangers => !seat.is_known() && now.saturating_sub(since) >= strange,
            };
            is_meant.then_some(((rank, Reverse(places), since), seat))
        });
        let first = candidates
            .min_by_key(|(order, _)| *order)
            .map(|(_, seat)| seat.clone());
        if !matches!(among, Among::All) {
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
        seat.know();
        if let Entry::Occupied(mut source) = self.sources.entry(seat.source) {
            source.get_mut().0 -= 1;
            if source.get().0 == 0 {
                source.remove();
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

    /// Of what a source has too much to have one place more.
    fn crowd_of(&self, source: Source) -> Option<&'static str> {
        let (places, strangers) = self.sources.get(&source)?;
        if source.is_local() {
            None
        } else if *places >= (self.limit - self.limit / 4).max(1) {
            Some("three quarters of all places")
        } else if strangers.of_source.load(Ordering::Relaxed) >= (self.limit / 16).max(FEW) {
            Some("too many connections that have not said who they are")
        } else {
            None
        }
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
