//! Places for connections: no more than there are descriptors for, and who has nothing under way
//! makes way for who comes.
//!
//! Owns who has a place and who is asked to leave. What a connection is doing is its owner's to
//! say, by its [`Seat`]. Invariant: nobody is asked to leave while it has something under way, or
//! before it had [`SETTLE`] to begin.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How long a connection at rest is left alone: what its peer has just sent may be on its way.
pub const SETTLE: Duration = Duration::from_millis(200);

/// How long who was asked to leave may take before another one is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// The shortest time between two lines of the log about places.
const TELL: Duration = Duration::from_secs(10);

/// Why a connection needs nothing of us just now. Who comes first leaves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rest {
    /// It has not said yet what it is.
    Silent = 1,
    /// It has nothing under way, and would notice that it is closed.
    Idle = 2,
    /// It has nothing under way, and would not notice: what it sends next would be lost.
    Deaf = 3,
}

/// The rank of a connection that has something under way.
const AT_WORK: u8 = 0;

/// Whether a connection has something under way that it does not say itself.
type IsBusy = Box<dyn Fn() -> bool + Send + Sync>;

/// What a connection says of itself to those who look for a place.
pub struct Seat {
    rank: AtomicU8,
    /// Since when, in milliseconds from `began`.
    since: AtomicU64,
    began: Instant,
    busy: OnceLock<IsBusy>,
    asked: Notify,
    /// When it was asked last, in milliseconds from `began`; 0 if never.
    asked_at: AtomicU64,
    peer: SocketAddr,
}

impl Seat {
    fn new(began: Instant, peer: SocketAddr) -> Self {
        let seat = Self {
            rank: AtomicU8::new(AT_WORK),
            since: AtomicU64::new(0),
            began,
            busy: OnceLock::new(),
            asked: Notify::new(),
            asked_at: AtomicU64::new(0),
            peer,
        };
        seat.rest(Rest::Silent);
        seat
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The connection has something under way.
    pub fn work(&self) {
        self.rank.store(AT_WORK, Ordering::Relaxed);
    }

    /// The connection has nothing under way from now on.
    pub fn rest(&self, rest: Rest) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.rank.store(rest as u8, Ordering::Relaxed);
    }

    /// Lets this be asked, too, before the connection is taken to be at rest. The first one counts.
    pub fn ask_before(&self, is_busy: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.busy.set(Box::new(is_busy));
    }

    fn is_at_rest(&self) -> bool {
        self.rank.load(Ordering::Relaxed) != AT_WORK
            && !self.busy.get().is_some_and(|is_busy| is_busy())
    }

    /// Waits until the connection is to make way. What came in the same moment goes on: then
    /// another one is asked.
    pub async fn asked_to_leave(&self) {
        loop {
            self.asked.notified().await;
            if self.is_at_rest() {
                return;
            }
        }
    }

    /// By what who leaves first is chosen; `None` if it is not to be asked.
    fn order(&self, now: u64) -> Option<(u8, u64)> {
        let (since, asked_at) = (
            self.since.load(Ordering::Relaxed),
            self.asked_at.load(Ordering::Relaxed),
        );
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
}

struct State {
    seats: HashMap<u64, Arc<Seat>>,
    next: u64,
    limit: usize,
    /// When it was told last that somebody had to leave, and how many had to since.
    told: Option<Instant>,
    untold: u64,
}

/// A place that is taken until this is dropped.
pub struct Place {
    number: u64,
    seat: Arc<Seat>,
    places: Arc<Places>,
}

impl Place {
    /// What the connection says of itself.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().seats.remove(&self.number);
        self.places.freed.notify_one();
    }
}

impl Places {
    /// So many places, all free.
    pub fn new(limit: usize) -> Self {
        let state = State {
            seats: HashMap::new(),
            next: 0,
            limit,
            told: None,
            untold: 0,
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
            began: Instant::now(),
        }
    }

    /// How many places there are.
    pub fn limit(&self) -> usize {
        self.lock().limit
    }

    /// Sets how many places there are. Those beyond it who have something under way stay.
    pub fn set_limit(&self, limit: usize) {
        self.lock().limit = limit;
        self.freed.notify_one();
    }

    /// Waits for a place; while there is none, those at rest are asked to leave, one after the
    /// other. To be waited for by one task at a time.
    pub async fn take(self: &Arc<Self>, peer: SocketAddr) -> Place {
        loop {
            if let Some(place) = self.try_take(peer) {
                return place;
            }
            self.make_way();
            let _ = timeout(PATIENCE, self.freed.notified()).await;
        }
    }

    fn try_take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut state = self.lock();
        if state.seats.len() >= state.limit {
            return None;
        }
        let (number, seat) = (state.next, Arc::new(Seat::new(self.began, peer)));
        state.next += 1;
        state.seats.insert(number, seat.clone());
        Some(Place {
            number,
            seat,
            places: self.clone(),
        })
    }

    /// Asks the one to leave who has been at rest for the longest time.
    pub fn make_way(&self) {
        let mut state = self.lock();
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let candidates = state
            .seats
            .values()
            .filter_map(|seat| Some((seat.order(now)?, seat)));
        let first = candidates
            .min_by_key(|(order, _)| *order)
            .map(|(_, seat)| seat.clone());
        let Some(seat) = first else {
            let connections = state.seats.len();
            return state.tell(|_| {
                tracing::warn!(
                    connections,
                    "all places are taken by connections at work: others wait; see max-connections"
                );
            });
        };
        seat.asked_at.store(now.max(1), Ordering::Relaxed);
        seat.asked.notify_waiters();
        state.untold += 1;
        let connections = state.seats.len();
        state.tell(|closed| {
            let peer = seat.peer;
            tracing::warn!(connections, closed, last = %peer, "all places are taken: who is silent or idle for the longest time makes way; see max-connections");
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells something, but not often; who tells gets how many had to leave since the last time.
    fn tell(&mut self, tell: impl FnOnce(u64)) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.told = Some(Instant::now());
            tell(std::mem::take(&mut self.untold));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    /// A connection that leaves when it is asked to.
    fn sit(
        place: Place,
        left: tokio::sync::mpsc::UnboundedSender<&'static str>,
        name: &'static str,
    ) {
        tokio::spawn(async move {
            place.seat().asked_to_leave().await;
            left.send(name).unwrap();
        });
    }

    #[tokio::test(start_paused = true)]
    async fn the_silent_leave_first_then_the_idle_then_the_deaf_and_who_works_stays() {
        let places = Arc::new(Places::new(5));
        let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
        let mut busy = None;
        for (name, rest) in [
            ("deaf", Some(Rest::Deaf)),
            ("idle", Some(Rest::Idle)),
            ("silent", Some(Rest::Silent)),
            ("busy", Some(Rest::Idle)),
            ("works", None),
        ] {
            let place = places.take(peer()).await;
            rest.map_or_else(|| place.seat().work(), |rest| place.seat().rest(rest));
            if name == "busy" {
                place.seat().ask_before(|| true);
                busy = Some(place.seat().clone());
            }
            sit(place, left.clone(), name);
        }
        for expected in ["silent", "idle", "deaf"] {
            let next = places.take(peer()).await;
            next.seat().work();
            std::mem::forget(next);
            assert_eq!(leaves.recv().await, Some(expected));
        }
        assert!(
            timeout(Duration::from_mins(10), places.take(peer()))
                .await
                .is_err()
        );
        assert!(busy.is_some_and(|seat| !seat.is_at_rest()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_a_kind_leaves_first_and_nobody_before_it_has_settled() {
        let places = Arc::new(Places::new(2));
        let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
        sit(places.take(peer()).await, left.clone(), "first");
        tokio::time::sleep(Duration::from_millis(50)).await;
        sit(places.take(peer()).await, left.clone(), "second");
        let asked = Instant::now();
        let third = places.take(peer()).await;
        assert!(
            asked.elapsed() + Duration::from_millis(51) >= SETTLE,
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(leaves.recv().await, Some("first"));
        drop(third);
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_limit_holds_for_those_who_come() {
        let places = Arc::new(Places::new(2));
        let place = places.take(peer()).await;
        place.seat().work();
        places.set_limit(1);
        assert!(
            timeout(Duration::from_mins(1), places.take(peer()))
                .await
                .is_err()
        );
        places.set_limit(2);
        drop(places.take(peer()).await);
    }
}
