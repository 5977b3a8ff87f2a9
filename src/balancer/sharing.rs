//! How clients and servers share what a running balancer may open.
//!
//! Invariant: what is reserved for servers and what clients may have is together no more than there
//! is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::descriptors::{FEWEST, Openings, PER_SERVER, size};
use crate::transport::Places;

/// The places of clients, and what servers have reserved.
#[derive(Clone)]
pub(super) struct Sharing {
    places: Arc<Places>,
    /// How many places there are when nothing else is needed.
    wanted: usize,
    limit: u64,
    spare: Arc<Mutex<usize>>,
}

impl Sharing {
    /// Clients get so many places, while nothing else needs them.
    pub(super) fn new(wanted: usize, openings: &Openings) -> Self {
        let places = Arc::new(Places::new(wanted.min(openings.connections)));
        Self {
            places,
            wanted,
            limit: openings.limit,
            spare: Arc::new(Mutex::new(openings.spare)),
        }
    }

    /// The clients' places.
    pub(super) fn places(&self) -> Arc<Places> {
        self.places.clone()
    }

    /// What the process may open.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether so many more servers can be had.
    pub(super) fn has_room_for(&self, servers: usize) -> bool {
        let needed = servers.saturating_mul(size(PER_SERVER));
        let from_clients = self.places.limit().saturating_sub(self.fewest());
        self.spare().saturating_add(from_clients) >= needed
    }

    /// Reserves what a server needs, from the clients' share if need be; false if that would leave
    /// them too little.
    pub(super) fn take_for_server(&self) -> bool {
        if !self.has_room_for(1) {
            return false;
        }
        let mut spare = self.spare();
        let missing = size(PER_SERVER).saturating_sub(*spare);
        *spare = spare.saturating_sub(size(PER_SERVER));
        self.places
            .set_limit(self.places.limit().saturating_sub(missing));
        true
    }

    /// Gives back what a server had.
    pub(super) fn give_back(&self) {
        let mut spare = self.spare();
        let free = spare.saturating_add(size(PER_SERVER));
        let (had, most) = (self.places.limit(), self.wanted.max(self.places.limit()));
        let now = had.saturating_add(free).min(most);
        *spare = free - (now - had);
        self.places.set_limit(now);
    }

    fn fewest(&self) -> usize {
        size(FEWEST).min(self.wanted)
    }

    fn spare(&self) -> MutexGuard<'_, usize> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_from_the_spare_first_then_from_clients_and_give_back() {
        let openings = Openings {
            limit: 200,
            connections: 30,
            large: 10,
            spare: 8,
        };
        let sharing = Sharing::new(30, &openings);
        let places = sharing.places();
        let limits: Vec<usize> = (0..3)
            .map(|_| (sharing.take_for_server(), places.limit()).1)
            .collect();
        assert_eq!(limits, [30, 26, 20]);
        assert!(!sharing.take_for_server() && !sharing.has_room_for(1));
        let limits: Vec<usize> = (0..3)
            .map(|_| (sharing.give_back(), places.limit()).1)
            .collect();
        assert_eq!(limits, [26, 30, 30]);
        assert_eq!(*sharing.spare(), 8);
    }
}
