//! A small binary heap with a position table.
//!
//! It owns an order: which of the slots in it has the smallest key. What a key means is the
//! business of [`super::wrr`]. The table says where each slot stands, so that a slot in the middle
//! is found at once and moved or taken out in O(log n), which [`std::collections::BinaryHeap`]
//! cannot do.
//!
//! Invariant: no entry sorts before its parent, where entries sort by key and then by slot, and
//! `position` names exactly the place of each entry. The order of taking out is therefore a
//! function of the contents alone, not of how they came in.

/// Marks a slot that is not in the heap.
const ABSENT: usize = usize::MAX;

/// One entry: the key, and the slot that holds it. The derived order is the heap's.
type HeapEntry = (u128, usize);

/// Whether `a` sorts before `b`.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without a branch, which would be guessed wrong half the time"
)]
fn before(a: HeapEntry, b: HeapEntry) -> bool {
    (a.0 < b.0) | ((a.0 == b.0) & (a.1 < b.1))
}

/// A min-heap of slots, each in it at most once.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexedHeap {
    entries: Vec<HeapEntry>,
    /// Where each slot stands in `entries`, or [`ABSENT`].
    position: Vec<usize>,
}

impl IndexedHeap {
    /// Puts `slot` in with `key`, or gives it this key if it is in already.
    pub(super) fn set(&mut self, slot: usize, key: u128) {
        let place = self.place_of(slot).unwrap_or_else(|| self.append(slot));
        self.settle(place, (key, slot));
    }

    /// Takes `slot` out and returns its key.
    pub(super) fn remove(&mut self, slot: usize) -> Option<u128> {
        let place = self.place_of(slot)?;
        let (key, _) = *self.entries.get(place)?;
        let last = self.entries.pop()?;
        self.mark(slot, ABSENT);
        if last.1 != slot {
            self.settle(place, last);
        }
        Some(key)
    }

    /// The entry with the smallest key; the smaller slot goes first among equals.
    pub(super) fn peek(&self) -> Option<HeapEntry> {
        self.entries.first().copied()
    }

    /// Takes out what [`peek`](Self::peek) shows if its key is not above `limit`.
    pub(super) fn pop_up_to(&mut self, limit: u128) -> Option<HeapEntry> {
        let top = self.peek().filter(|&(key, _)| key <= limit)?;
        self.remove(top.1)?;
        Some(top)
    }

    fn place_of(&self, slot: usize) -> Option<usize> {
        self.position
            .get(slot)
            .copied()
            .filter(|&place| place != ABSENT)
    }

    /// Makes room for `slot` at the end. The entry is a stand-in until [`settle`](Self::settle)
    /// writes it.
    fn append(&mut self, slot: usize) -> usize {
        if slot >= self.position.len() {
            self.position.resize(slot + 1, ABSENT);
        }
        self.entries.push((u128::MAX, slot));
        self.entries.len() - 1
    }

    /// Brings `entry` to its place, starting from the hole at `place`.
    fn settle(&mut self, place: usize, entry: HeapEntry) {
        let risen = self.rise(place, entry);
        let place = if risen == place {
            self.sink(place, entry)
        } else {
            risen
        };
        self.write(place, entry);
    }

    /// Moves the hole up past every parent that sorts after `entry`.
    fn rise(&mut self, mut hole: usize, entry: HeapEntry) -> usize {
        while hole > 0 {
            let above = (hole - 1) / 2;
            match self.entries.get(above) {
                Some(&parent) if parent > entry => self.write(hole, parent),
                _ => break,
            }
            hole = above;
        }
        hole
    }

    /// Moves the hole down past every child that sorts before `entry`.
    fn sink(&mut self, mut hole: usize, entry: HeapEntry) -> usize {
        while let Some((place, child)) = self.lesser_child(hole) {
            if !before(child, entry) {
                break;
            }
            self.write(hole, child);
            hole = place;
        }
        hole
    }

    fn lesser_child(&self, place: usize) -> Option<(usize, HeapEntry)> {
        let left = 2 * place + 1;
        let &first = self.entries.get(left)?;
        let Some(&second) = self.entries.get(left + 1) else {
            return Some((left, first));
        };
        // Arithmetic instead of a branch, for the same reason as in `before`.
        let lesser = left + usize::from(before(second, first));
        Some((lesser, *self.entries.get(lesser)?))
    }

    fn write(&mut self, place: usize, entry: HeapEntry) {
        if let Some(cell) = self.entries.get_mut(place) {
            *cell = entry;
        }
        self.mark(entry.1, place);
    }

    fn mark(&mut self, slot: usize, place: usize) {
        if let Some(cell) = self.position.get_mut(slot) {
            *cell = place;
        }
    }

    /// The key of `slot`, if it is in the heap.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn key(&self, slot: usize) -> Option<u128> {
        self.entries.get(self.place_of(slot)?).map(|entry| entry.0)
    }

    /// How many slots are in the heap.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Checks the order and the position table. O(n).
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        for (place, entry) in self.entries.iter().enumerate() {
            assert_eq!(self.place_of(entry.1), Some(place), "position table");
            let parent = place.checked_sub(1).and_then(|p| self.entries.get(p / 2));
            assert!(parent.is_none_or(|parent| parent < entry), "heap order");
        }
        let held = self.position.iter().filter(|&&place| place != ABSENT);
        assert_eq!(held.count(), self.entries.len(), "a position without entry");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Set(usize, u128),
        Remove(usize),
        PopUpTo(u128),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few slots and few keys, so that equal keys and repeated slots are common.
        prop_oneof![
            3 => (0..40_usize, 0..20_u128).prop_map(|(slot, key)| Step::Set(slot, key)),
            1 => (0..40_usize).prop_map(Step::Remove),
            1 => (0..24_u128).prop_map(Step::PopUpTo),
        ]
    }

    /// The plain model: an ordered set of entries, and the key of each slot.
    #[derive(Default)]
    struct Model {
        order: BTreeSet<HeapEntry>,
        keys: BTreeMap<usize, u128>,
    }

    impl Model {
        fn set(&mut self, slot: usize, key: u128) {
            self.remove(slot);
            self.keys.insert(slot, key);
            self.order.insert((key, slot));
        }

        fn remove(&mut self, slot: usize) -> Option<u128> {
            let key = self.keys.remove(&slot)?;
            self.order.remove(&(key, slot));
            Some(key)
        }

        fn pop_up_to(&mut self, limit: u128) -> Option<HeapEntry> {
            let top = *self.order.first().filter(|entry| entry.0 <= limit)?;
            self.remove(top.1);
            Some(top)
        }
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(steps in prop::collection::vec(step(), 1..300)) {
            let (mut heap, mut model) = (IndexedHeap::default(), Model::default());
            for step in steps {
                match step {
                    Step::Set(slot, key) => {
                        heap.set(slot, key);
                        model.set(slot, key);
                        prop_assert_eq!(heap.key(slot), Some(key));
                    }
                    Step::Remove(slot) => prop_assert_eq!(heap.remove(slot), model.remove(slot)),
                    Step::PopUpTo(limit) => {
                        prop_assert_eq!(heap.pop_up_to(limit), model.pop_up_to(limit));
                    }
                }
                heap.check_invariants();
                prop_assert_eq!(heap.peek(), model.order.first().copied());
                prop_assert_eq!(heap.len(), model.order.len());
            }
        }

        #[test]
        fn drains_in_order(keys in prop::collection::vec(any::<u128>(), 0..200)) {
            let mut heap = IndexedHeap::default();
            for (slot, &key) in keys.iter().enumerate() {
                heap.set(slot, key);
            }
            let mut sorted: Vec<HeapEntry> = keys.iter().copied().enumerate().map(|(s, k)| (k, s)).collect();
            sorted.sort_unstable();
            let drained: Vec<HeapEntry> = std::iter::from_fn(|| heap.pop_up_to(u128::MAX)).collect();
            prop_assert_eq!(drained, sorted);
        }
    }

    #[test]
    fn an_unknown_slot_is_simply_not_there() {
        let mut heap = IndexedHeap::default();
        heap.set(3, 7);
        assert_eq!(heap.remove(2), None);
        assert_eq!(heap.remove(usize::MAX), None);
        assert_eq!(heap.peek(), Some((7, 3)));
    }

    #[test]
    fn among_equal_keys_the_smaller_slot_goes_first() {
        let mut heap = IndexedHeap::default();
        for slot in [4, 1, 3, 0, 2] {
            heap.set(slot, 9);
        }
        let slots: Vec<usize> = std::iter::from_fn(|| heap.pop_up_to(9))
            .map(|e| e.1)
            .collect();
        assert_eq!(slots, [0, 1, 2, 3, 4]);
    }
}
