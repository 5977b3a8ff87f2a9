//! A map from numbers that lie close together: pages of 64 places, each taken or not.
//!
//! Request numbers are given in order, so a million waiting files fill whole pages, and each costs
//! its entry and a bit. Growing moves nothing, and an empty page is removed; a single number costs
//! a page.

use std::collections::{BTreeMap, btree_map};

/// How many places a page has: one for each bit.
const PLACES: usize = 64;

/// The same as `u64`.
const STEP: u64 = PLACES as u64;

#[derive(Debug, Clone)]
struct Page<T> {
    taken: u64,
    places: [T; PLACES],
}

/// A map by number.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    pages: BTreeMap<u64, Box<Page<T>>>,
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            len: 0,
        }
    }
}

/// Page and place of a number.
fn place(number: u64) -> (u64, usize) {
    (number / STEP, usize::try_from(number % STEP).unwrap_or(0))
}

impl<T: Copy + Default> Paged<T> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the entry of a number, and gives the one before.
    pub fn insert(&mut self, number: u64, entry: T) -> Option<T> {
        let (page, at) = place(number);
        let new = || {
            Box::new(Page {
                taken: 0,
                places: [T::default(); PLACES],
            })
        };
        let page = self.pages.entry(page).or_insert_with(new);
        let was_taken = page.taken & (1 << at) != 0;
        page.taken |= 1 << at;
        self.len += usize::from(!was_taken);
        let before = page
            .places
            .get_mut(at)
            .map(|place| std::mem::replace(place, entry));
        before.filter(|_| was_taken)
    }

    /// The entry of this number.
    pub fn get(&self, number: u64) -> Option<&T> {
        let (page, at) = place(number);
        let page = self.pages.get(&page)?;
        if page.taken & (1 << at) == 0 {
            None
        } else {
            page.places.get(at)
        }
    }

    /// The entry of this number, mutable.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let (page, at) = place(number);
        let page = self.pages.get_mut(&page)?;
        if page.taken & (1 << at) == 0 {
            None
        } else {
            page.places.get_mut(at)
        }
    }

    /// Whether there is such a number.
    pub fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    /// Removes the entry of this number, and gives it.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let (page, at) = place(number);
        let btree_map::Entry::Occupied(mut found) = self.pages.entry(page) else {
            return None;
        };
        let page = found.get_mut();
        let entry = page
            .places
            .get(at)
            .copied()
            .filter(|_| page.taken & (1 << at) != 0)?;
        page.taken &= !(1 << at);
        self.len -= 1;
        if page.taken == 0 {
            found.remove();
        }
        Some(entry)
    }

    /// The numbers above `after` and their entries, in order.
    pub fn above(&self, after: u64) -> impl Iterator<Item = (u64, &T)> {
        let (first, _) = place(after);
        let in_page = |(page, places): (u64, &'_ Page<T>)| {
            let (start, taken) = (page * STEP, places.taken);
            (0..STEP)
                .filter(move |at| taken & (1 << at) != 0)
                .map(move |at| start + at)
        };
        let pages = self.pages.range(first..);
        pages
            .flat_map(move |(page, places)| in_page((*page, places)).zip(std::iter::repeat(places)))
            .filter(move |(number, _)| *number > after)
            .filter_map(|(number, page)| Some((number, page.places.get(place(number).1)?)))
    }

    /// All numbers and their entries, in order; 0 is never a number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.above(0)
    }

    /// Removes the page with the lowest numbers, and gives its entries.
    pub fn pop_page(&mut self) -> Option<Vec<(u64, T)>> {
        let (page, places) = self.pages.pop_first()?;
        let numbered = (page * STEP..).zip(places.places);
        let taken = places.taken;
        let entries: Vec<_> = numbered
            .filter(|(number, _)| taken & (1 << place(*number).1) != 0)
            .collect();
        self.len -= entries.len();
        Some(entries)
    }

    /// How many bytes of the heap it takes, without what the allocator adds.
    pub fn heap_bytes(&self) -> usize {
        self.pages.len() * (size_of::<Page<T>>() + 2 * size_of::<(u64, Box<Page<T>>)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(
            steps in proptest::collection::vec((0u8..4, 1u64..300, any::<u32>()), 1..200),
        ) {
            let (mut paged, mut map) = (Paged::default(), BTreeMap::new());
            for (step, number, entry) in steps {
                match step {
                    0 | 1 => {
                        let before = paged.insert(number, entry);
                        prop_assert_eq!(before, map.insert(number, entry));
                    }
                    2 => prop_assert_eq!(paged.remove(number), map.remove(&number)),
                    _ => {
                        if let Some(found) = paged.get_mut(number) {
                            *found = entry;
                            map.insert(number, entry);
                        }
                    }
                }
                prop_assert_eq!((paged.len(), paged.get(number)), (map.len(), map.get(&number)));
                let above = map.range(number + 1..).map(|(number, entry)| (*number, entry));
                prop_assert!(paged.above(number).eq(above));
            }
            let popped: Vec<_> = std::iter::from_fn(|| paged.pop_page()).flatten().collect();
            prop_assert!(popped.into_iter().eq(map));
            prop_assert!(paged.is_empty());
        }
    }

    #[test]
    fn numbers_in_a_row_cost_little_more_than_their_entries() {
        let mut paged = Paged::default();
        for number in 1..=100_000_u64 {
            paged.insert(number, [0_u32; 10]);
        }
        assert!(
            paged.heap_bytes() / 100_000 <= 41,
            "{}",
            paged.heap_bytes() / 100_000
        );
    }
}
