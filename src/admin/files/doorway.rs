//! What all requests of the doorway work with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::shelf::Shelf;
use crate::admin::limits::{MAX_CONNECTIONS, max_connections};
use crate::admin::long_answers::LongAnswers;
use crate::balancer::Door;

/// The most requests of the doorway at once, so that operators get through beside them.
const MAX_REQUESTS: usize = MAX_CONNECTIONS / 2;

/// The most answers about folders that are made, or wait to be read, at once.
const MAX_LISTINGS: usize = 8;

/// What all requests work with.
#[derive(Clone)]
pub(super) struct Doorway {
    pub(super) door: Door,
    pub(super) places: Arc<Semaphore>,
    shelf: Arc<Mutex<Shelf>>,
    pub(super) listings: LongAnswers,
    /// How long the body of a question may take.
    pub(super) body: Duration,
}

impl Doorway {
    pub(super) fn new(door: Door, body: Duration) -> Self {
        Self {
            door,
            places: Arc::new(Semaphore::new(MAX_REQUESTS.min(max_connections() / 2))),
            shelf: Arc::default(),
            listings: LongAnswers::at_most(MAX_LISTINGS),
            body,
        }
    }

    /// What is remembered. Nothing waits while this is held.
    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
