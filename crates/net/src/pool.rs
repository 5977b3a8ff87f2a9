//! A bound that is shared by what comes in bit by bit: each takes of it in steps, as its bytes
//! come, so that an announcement holds nothing.
//!
//! Who holds a part and waits for more could wait for others that do the same, for ever. So there
//! is a turn, for one at a time and in the order of asking: who has it needs nothing of the pool
//! any more, for its owner has set enough aside for the largest there is. It goes on to its end,
//! and gives the turn to the next. While others wait for the turn it must keep up
//! ([`LEAST_PACE`]), or give way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use bilico_core::protocol::limits::{LEAST_PACE, SMALL_CONTENT};

/// The largest step that bytes which have not come may hold, however large the pool is.
const LARGEST_STEP: u64 = 4 * 1024 * 1024;

/// Steps that a pool has: so many that announce much and send little hold all of it.
const STEPS: u64 = 64;

/// Bytes are counted in units, so that 32 bits are enough for a terabyte.
pub const UNIT: u64 = 256;

/// A bound that is taken in steps, in units.
pub struct Pool {
    bytes: AtomicU64,
    units: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    /// How many wait for the turn.
    waiting: AtomicUsize,
}

/// What one holds of a [`Pool`].
#[derive(Debug, Default)]
pub struct Share {
    units: Option<OwnedSemaphorePermit>,
    turn: Option<Turn>,
}

/// The turn, and how its holder keeps up.
#[derive(Debug)]
struct Turn {
    _permit: OwnedSemaphorePermit,
    pace: Pace,
}

/// How fast something must come.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    began: Instant,
    /// Bytes that had come when it began.
    had: u64,
}

/// How a share has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grown {
    /// It has the units.
    Units,
    /// It has the turn, and needs none.
    Turn,
}

impl Pool {
    /// A pool of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self {
            bytes: AtomicU64::new(bytes),
            units: Arc::new(Semaphore::new(units(bytes) as usize)),
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Lets it be of so many bytes.
    pub fn resize(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        let permits = |bytes| units(bytes) as usize;
        let change = (permits(before), permits(bytes));
        resize(self.units.clone(), |units| units, change);
    }

    /// Whether there is as much, when nobody has any.
    pub fn can_have(&self, bytes: u64) -> bool {
        units(bytes) <= units(self.bytes.load(Ordering::Relaxed))
    }

    /// The bytes that one may hold at first, when `came` have come of at most `whole`: not many
    /// more than came, and never more than there will be.
    pub fn first_step(&self, came: u64, whole: u64) -> u64 {
        whole.min(came.saturating_add(self.step()))
    }

    /// The bytes that one may hold when it goes on: up to double what came.
    pub fn next_step(&self, came: u64, whole: u64) -> u64 {
        whole.min(came.saturating_add(came.max(self.step())))
    }

    fn step(&self) -> u64 {
        let part = self.bytes.load(Ordering::Relaxed) / STEPS;
        part.clamp(SMALL_CONTENT, LARGEST_STEP)
    }

    /// Units for a newcomer, without waiting.
    pub fn try_share(&self, bytes: u64) -> Option<Share> {
        let units = self.units.clone().try_acquire_many_owned(units(bytes));
        units.ok().map(Share::of)
    }

    /// Waits for units for a newcomer, who holds nothing and has no claim to the turn.
    pub async fn share(&self, bytes: u64) -> Option<Share> {
        let units = self.units.clone().acquire_many_owned(units(bytes)).await;
        units.ok().map(Share::of)
    }

    /// Makes a share large enough for so many bytes, without waiting.
    pub fn try_grow(&self, share: &mut Share, bytes: u64) -> bool {
        if share.turn.is_some() {
            return true;
        }
        let more = units(bytes).saturating_sub(share.held());
        match self.units.clone().try_acquire_many_owned(more) {
            Ok(more) => share.add(more),
            Err(_) => return false,
        }
        true
    }

    /// Waits until a share is large enough for so many bytes or has the turn, of which `came` have
    /// come. `None` once the role is gone.
    pub async fn grow(&self, share: &mut Share, bytes: u64, came: u64) -> Option<Grown> {
        if share.turn.is_some() {
            return Some(Grown::Turn);
        }
        let more = units(bytes).saturating_sub(share.held());
        let _waiting = Waiting::new(&self.waiting);
        tokio::select! {
            biased;
            more = self.units.clone().acquire_many_owned(more) => {
                share.add(more.ok()?);
                Some(Grown::Units)
            }
            permit = self.turn.clone().acquire_owned() => {
                let pace = Pace { began: Instant::now(), had: came };
                share.turn = Some(Turn { _permit: permit.ok()?, pace });
                Some(Grown::Turn)
            }
        }
    }

    /// Whether a share must be given up: it has the turn, others wait for it, and since it has it
    /// too little came. `came` is what has come in all, `grace` the time until the first look.
    pub fn is_too_slow(&self, share: &Share, came: u64, grace: Duration) -> bool {
        share.turn.as_ref().is_some_and(|turn| {
            self.waiting.load(Ordering::Relaxed) > 0
                && turn.pace.is_behind(came, grace, Instant::now())
        })
    }
}

impl Share {
    fn of(units: OwnedSemaphorePermit) -> Self {
        Self {
            units: Some(units),
            turn: None,
        }
    }

    /// Whether it has the turn.
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Gives back the units: the turn stands for them.
    pub fn lean_on_turn(&mut self) {
        self.units = None;
    }

    fn held(&self) -> u32 {
        let held = self.units.as_ref();
        let held = held.map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.units {
            Some(units) => units.merge(more),
            None => self.units = Some(more),
        }
    }
}

impl Pace {
    /// Whether less than [`LEAST_PACE`] came since `grace` was over.
    fn is_behind(self, came: u64, grace: Duration, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.began);
        let counts = time.saturating_sub(grace);
        let due = u128::from(LEAST_PACE) * counts.as_millis() / 1000;
        u128::from(came.saturating_sub(self.had)) < due
    }
}

/// The units that so many bytes take.
pub fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Gives a semaphore more permits, or takes some away. Permits that are in use are taken away as
/// they come back, before anybody else gets them.
pub fn resize<T: Send + Sync + 'static>(
    owner: Arc<T>,
    of: fn(&T) -> &Semaphore,
    (from, to): (usize, usize),
) {
    if to >= from {
        return of(&owner).add_permits(to - from);
    }
    let rest = (from - to) - of(&owner).forget_permits(from - to);
    if rest > 0 {
        tokio::spawn(async move {
            let mut rest = rest;
            while rest > 0 {
                let some = u32::try_from(rest).unwrap_or(u32::MAX);
                match of(&owner).acquire_many(some).await {
                    Ok(permits) => permits.forget(),
                    Err(_) => return,
                }
                rest -= some as usize;
            }
        });
    }
}

/// One that waits for the turn, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
