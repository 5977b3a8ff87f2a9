//! Servers by small numbers, which are used again.

/// Names a server of one [`Scheduler`](super::Scheduler). Small, and used again after
/// [`Scheduler::remove`](super::Scheduler::remove).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) usize);

impl Slot {
    /// The number of the slot: less than the number of servers that were ever there at once.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A table by slot: what its owner keeps of each server.
#[derive(Debug, Clone)]
pub struct Slots<T> {
    places: Vec<Option<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts `value` at `slot`, and gives back what was there.
    pub fn insert(&mut self, slot: Slot, value: T) -> Option<T> {
        if self.places.len() <= slot.0 {
            self.places.resize_with(slot.0 + 1, || None);
        }
        self.get_place(slot)?.replace(value)
    }

    /// What is at `slot`.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.places.get(slot.0)?.as_ref()
    }

    /// What is at `slot`, to be changed.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.get_place(slot)?.as_mut()
    }

    /// Takes away what is at `slot`.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.get_place(slot)?.take()
    }

    /// All that is in the table, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(index, place)| Some((Slot(index), place.as_ref()?)))
    }

    /// All that is in the table, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        let places = self.places.iter_mut().enumerate();
        places.filter_map(|(index, place)| Some((Slot(index), place.as_mut()?)))
    }

    /// The slot behind all that were ever used.
    pub(super) fn next_new(&self) -> Slot {
        Slot(self.places.len())
    }

    fn get_place(&mut self, slot: Slot) -> Option<&mut Option<T>> {
        self.places.get_mut(slot.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_one_value_until_it_is_removed_and_can_be_used_again() {
        let mut slots = Slots::default();
        assert_eq!(slots.get(Slot(2)), None);
        assert_eq!(slots.remove(Slot(2)), None);
        assert_eq!(slots.insert(Slot(2), 'c'), None);
        assert_eq!(slots.insert(Slot(0), 'a'), None);
        assert_eq!(slots.insert(Slot(2), 'd'), Some('c'));
        assert_eq!(slots.get(Slot(1)), None);
        slots
            .iter_mut()
            .for_each(|(_, value)| *value = value.to_ascii_uppercase());
        let all: Vec<_> = slots.iter().collect();
        assert_eq!(all, [(Slot(0), &'A'), (Slot(2), &'D')]);
        assert_eq!(slots.remove(Slot(0)), Some('A'));
        assert_eq!(slots.get_mut(Slot(0)), None);
        assert_eq!(slots.get(Slot(2)), Some(&'D'));
        assert_eq!(slots.next_new(), Slot(3));
    }
}
