//! How clients and servers share the file descriptors of a running balancer.
//!
//! Invariant: the descriptors reserved for servers and the places of clients together are never
//! more than the process may open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::descriptors::{FEWEST, Openings, PER_SERVER, size};
use crate::transport::Places;

/// The places of clients, and the descriptors that are reserved for servers.
#[derive(Clone)]
pub(super) struct Sharing {
    places: Arc<Places>,
    /// The places that clients get while servers leave enough descriptors.
    wanted: usize,
    /// Descriptors that the process may open.
    limit: u64,
    /// Descriptors that neither clients nor servers have.
    spare: Arc<Mutex<usize>>,
}

impl Sharing {
    /// Clients get `wanted` places while servers leave enough descriptors.
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

    /// Descriptors that the process may open.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether there are descriptors for so many more servers.
    pub(super) fn has_room_for(&self, servers: usize) -> bool {
        let needed = servers.saturating_mul(size(PER_SERVER));
        let from_clients = self.places.limit().saturating_sub(self.fewest());
        self.spare().saturating_add(from_clients) >= needed
    }

    /// Reserves the descriptors of one server, from the clients' places if need be. False if too
    /// few places would be left.
    pub(super) fn take_for_server(&self) -> bool {
        let has_room = self.has_room_for(1);
        if has_room {
            self.take(size(PER_SERVER));
        }
        has_room
    }

    /// Gives back the descriptors of one server.
    pub(super) fn give_back(&self) {
        self.give(size(PER_SERVER));
    }

    /// Reserves up to this many descriptors more for a while. Clients keep three quarters of their
    /// places, and the fewest that there must be.
    pub(super) fn borrow(&self, most: usize) -> Borrowed {
        let places = self.places.limit();
        let from_clients = places.saturating_sub(self.fewest()).min(places / 4);
        let number = self.spare().saturating_add(from_clients).min(most);
        self.take(number);
        Borrowed {
            number,
            of: Some(self.clone()),
        }
    }

    fn take(&self, number: usize) {
        let mut spare = self.spare();
        let missing = number.saturating_sub(*spare);
        *spare = spare.saturating_sub(number);
        self.places
            .set_limit(self.places.limit().saturating_sub(missing));
    }

    fn give(&self, number: usize) {
        let mut spare = self.spare();
        let free = spare.saturating_add(number);
        let had = self.places.limit();
        let most = self.wanted.max(had);
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

/// Descriptors that are reserved until this is dropped.
#[derive(Default)]
pub(super) struct Borrowed {
    number: usize,
    of: Option<Sharing>,
}

impl Borrowed {
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(sharing) = &self.of {
            sharing.give(self.number);
        }
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

    #[test]
    fn what_is_borrowed_leaves_clients_most_of_their_places_and_comes_back() {
        let openings = Openings {
            limit: 200,
            connections: 40,
            large: 10,
            spare: 8,
        };
        let sharing = Sharing::new(40, &openings);
        let places = sharing.places();
        let first = sharing.borrow(60);
        assert_eq!((first.number(), places.limit()), (18, 30));
        let second = sharing.borrow(60);
        assert_eq!((second.number(), places.limit()), (7, 23));
        let none = [sharing.borrow(5), sharing.borrow(5), sharing.borrow(5)];
        assert_eq!(none.each_ref().map(Borrowed::number), [5, 2, 0]);
        assert_eq!(places.limit(), 16);
        drop((first, second, none));
        assert_eq!((places.limit(), *sharing.spare()), (40, 8));
    }
}
