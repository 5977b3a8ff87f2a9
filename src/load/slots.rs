//! The files under way on one connection, found by id without a search and without an allocation
//! per file.

use std::time::Duration;

/// Low bits of an id that are its slot. The other bits differ for each file in that slot.
const SLOT_BITS: u32 = 20;

/// Most files under way on a connection.
pub(super) const MAX_SLOTS: u32 = 1 << SLOT_BITS;

/// A file under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
    /// Index of the file in the run, from 0.
    pub(super) file: u64,
    /// When its time began, since the start of the run.
    pub(super) start: Duration,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Whether the balancer has accepted it.
    pub(super) accepted: bool,
}

/// The files under way.
#[derive(Debug)]
pub(super) struct Slots {
    /// By slot: its last id, and its file.
    all: Vec<(u64, Option<Flight>)>,
    free: Vec<u32>,
    most: u32,
}

impl Slots {
    /// Room for `most` files, of which `prepared` slots are allocated now.
    pub(super) fn new(most: u32, prepared: u32) -> Self {
        let (most, prepared) = (most.min(MAX_SLOTS), prepared.min(most) as usize);
        Self {
            all: Vec::with_capacity(prepared),
            free: Vec::with_capacity(prepared),
            most,
        }
    }

    /// How many files are under way.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Whether no slot is free.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.all.len() >= self.most as usize
    }

    /// Adds a file and returns its id, which no earlier file has had; `None` if no slot is free.
    pub(super) fn insert(&mut self, flight: Flight) -> Option<u64> {
        if let Some(place) = self.free.pop() {
            let (id, slot) = self.all.get_mut(place as usize)?;
            *id += u64::from(MAX_SLOTS);
            *slot = Some(flight);
            return Some(*id);
        }
        if self.is_full() {
            return None;
        }
        let id = self.all.len() as u64;
        self.all.push((id, Some(flight)));
        Some(id)
    }

    /// The file with this id, if it is under way.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Flight> {
        self.slot(id)?.1.as_mut()
    }

    /// Takes out the file with this id, if it is under way.
    pub(super) fn remove(&mut self, id: u64) -> Option<Flight> {
        let flight = self.slot(id)?.1.take()?;
        self.free.push(place(id));
        Some(flight)
    }

    /// Whether a file with this id was ever under way.
    pub(super) fn had(&self, id: u64) -> bool {
        self.all
            .get(place(id) as usize)
            .is_some_and(|(last, _)| id <= *last)
    }

    fn slot(&mut self, id: u64) -> Option<&mut (u64, Option<Flight>)> {
        self.all
            .get_mut(place(id) as usize)
            .filter(|(last, _)| *last == id)
    }
}

fn place(id: u64) -> u32 {
    u32::try_from(id % u64::from(MAX_SLOTS)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn flight(file: u64) -> Flight {
        Flight {
            file,
            start: Duration::ZERO,
            size: 1,
            accepted: false,
        }
    }

    #[test]
    fn ids_are_never_used_again_and_a_straggler_holds_up_nobody() {
        let mut slots = Slots::new(3, 1);
        let straggler = slots.insert(flight(0)).unwrap();
        let mut seen = BTreeSet::from([straggler]);
        for file in 1..100 {
            let id = slots.insert(flight(file)).unwrap();
            assert!(seen.insert(id), "{id} came twice");
            assert_eq!(slots.get_mut(id).unwrap().file, file);
            assert_eq!(slots.remove(id), Some(flight(file)));
            assert_eq!((slots.remove(id), slots.had(id)), (None, true));
        }
        assert_eq!(
            (slots.len(), slots.get_mut(straggler).unwrap().file),
            (1, 0)
        );
        assert!(
            !slots.had(straggler + 7) && !slots.had(u64::MAX) && slots.get_mut(u64::MAX).is_none()
        );
    }

    #[test]
    fn there_is_room_for_as_many_as_it_says() {
        let mut slots = Slots::new(4, 100);
        let mut under_way: BTreeMap<u64, u64> = (0..4)
            .map(|file| (slots.insert(flight(file)).unwrap(), file))
            .collect();
        assert!(slots.is_full());
        assert_eq!(slots.insert(flight(4)), None);
        let (id, file) = under_way.pop_first().unwrap();
        assert_eq!(slots.remove(id), Some(flight(file)));
        assert!(!slots.is_full() && slots.insert(flight(5)).is_some() && slots.is_full());
    }
}
