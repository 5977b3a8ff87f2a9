//! The keys of all known files, each with its file's number.
//!
//! Of a key 64 bits of its hash are kept, under a secret of this process. Without the secret nobody
//! can make two keys collide. That any two of a million keys collide by chance has a probability of
//! one in 37 million; then the second key is refused as the key of another file, unless size and
//! checksum are the same, too.

/// The hash of a client's key, for the name of a part and for look-ups. Two keys never share one.
pub fn key_hash(key: &str) -> u128 {
    let [hash @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        *blake3::hash(key.as_bytes()).as_bytes();
    u128::from_be_bytes(hash)
}

/// How many tables there are: when one grows, only its own share is copied.
const TABLES: usize = 64;

/// The smallest table that is not empty.
const LEAST: usize = 8;

/// A key's hash and the number of its file; 0 is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct KeyEntry {
    hash: u64,
    number: u64,
}

/// A table with linear probing; it grows by a quarter, so that little of it is empty.
#[derive(Debug, Default)]
struct Table {
    entries: Vec<KeyEntry>,
    len: usize,
}

/// Numbers by key.
#[derive(Debug)]
pub struct Keys {
    secret: [u8; 32],
    tables: Vec<Table>,
}

impl Default for Keys {
    fn default() -> Self {
        let tables = std::iter::repeat_with(Table::default)
            .take(TABLES)
            .collect();
        Self {
            secret: rand::random(),
            tables,
        }
    }
}

impl Keys {
    /// The number of the file that this key names.
    pub fn get(&self, key: &str) -> Option<u64> {
        let hash = self.hash(key);
        self.tables
            .get(table_of(hash))?
            .find(hash)
            .ok()
            .map(|(_, entry)| entry.number)
    }

    /// Notes that the key names this file, whatever it named before.
    pub fn insert(&mut self, key: &str, number: u64) {
        let hash = self.hash(key);
        if let Some(table) = self.tables.get_mut(table_of(hash)) {
            table.insert(KeyEntry { hash, number });
        }
    }

    /// Notes that the key names this file, unless it names one with a higher number: that one came
    /// later.
    pub fn insert_if_later(&mut self, key: &str, number: u64) {
        if self.get(key).is_none_or(|known| known < number) {
            self.insert(key, number);
        }
    }

    /// Forgets the key, if it names this file.
    pub fn remove(&mut self, key: &str, number: u64) {
        let hash = self.hash(key);
        if let Some(table) = self.tables.get_mut(table_of(hash)) {
            table.remove(KeyEntry { hash, number });
        }
    }

    fn hash(&self, key: &str) -> u64 {
        let hash = blake3::keyed_hash(&self.secret, key.as_bytes());
        hash.as_bytes()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes)
    }

    /// How many bytes of the heap it takes.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.tables
            .iter()
            .map(|table| table.entries.capacity() * size_of::<KeyEntry>())
            .sum()
    }
}

/// The low bits choose the table, the high ones the place in it.
fn table_of(hash: u64) -> usize {
    usize::try_from(hash % TABLES as u64).unwrap_or(0)
}

impl Table {
    /// Where the entries of this hash begin.
    fn home(&self, hash: u64) -> usize {
        usize::try_from((u128::from(hash) * self.entries.len() as u128) >> 64).unwrap_or(0)
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 < self.entries.len() {
            at + 1
        } else {
            0
        }
    }

    fn at(&self, at: usize) -> KeyEntry {
        self.entries.get(at).copied().unwrap_or_default()
    }

    /// The entry with this hash and its place, or the empty place where it would be. A table is
    /// never full.
    fn find(&self, hash: u64) -> Result<(usize, KeyEntry), usize> {
        let mut at = self.home(hash);
        loop {
            let entry = self.at(at);
            match entry {
                KeyEntry { number: 0, .. } => return Err(at),
                _ if entry.hash == hash => return Ok((at, entry)),
                _ => at = self.next(at),
            }
        }
    }

    fn insert(&mut self, entry: KeyEntry) {
        // An eighth stays empty, so that searches end soon.
        if self.len >= self.entries.len() / 8 * 7 {
            self.grow();
        }
        let at = match self.find(entry.hash) {
            Ok((at, _)) => at,
            Err(at) => {
                self.len += 1;
                at
            }
        };
        if let Some(place) = self.entries.get_mut(at) {
            *place = entry;
        }
    }

    fn grow(&mut self) {
        let len = (self.entries.len() / 4 * 5)
            .next_multiple_of(LEAST)
            .max(LEAST);
        let before = std::mem::replace(&mut self.entries, vec![KeyEntry::default(); len]);
        self.len = 0;
        for entry in before.into_iter().filter(|entry| entry.number != 0) {
            self.insert(entry);
        }
    }

    fn remove(&mut self, entry: KeyEntry) {
        let Ok((mut hole, found)) = self.find(entry.hash) else {
            return;
        };
        if found != entry {
            return;
        }
        self.len -= 1;
        // Those behind that were pushed on by this one move up, or a search for them would end at
        // the hole.
        let mut at = self.next(hole);
        while self.at(at).number != 0 {
            let distance = |from: usize, to: usize| {
                if to >= from {
                    to - from
                } else {
                    to + self.entries.len() - from
                }
            };
            if distance(self.home(self.at(at).hash), at) >= distance(hole, at) {
                self.entries.swap(hole, at);
                hole = at;
            }
            at = self.next(at);
        }
        if let Some(place) = self.entries.get_mut(hole) {
            *place = KeyEntry::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map(
            steps in proptest::collection::vec((0u8..5, 0u32..2000, 1u64..50), 1..2000),
        ) {
            let (mut keys, mut map) = (Keys::default(), HashMap::new());
            for (step, key, number) in steps {
                let key = format!("key-{key}");
                match step {
                    0..=2 => {
                        keys.insert(&key, number);
                        map.insert(key.clone(), number);
                    }
                    3 => {
                        keys.insert_if_later(&key, number);
                        let known = map.entry(key.clone()).or_insert(number);
                        *known = number.max(*known);
                    }
                    _ => {
                        let number = map.get(&key).copied().unwrap_or(number);
                        keys.remove(&key, number + 1);
                        prop_assert_eq!(keys.get(&key), map.get(&key).copied());
                        keys.remove(&key, number);
                        map.remove(&key);
                    }
                }
                prop_assert_eq!(keys.get(&key), map.get(&key).copied());
            }
            for (key, number) in map {
                prop_assert_eq!(keys.get(&key), Some(number));
            }
        }
    }

    #[test]
    fn entries_that_wrap_around_the_end_are_found_after_others_went() {
        let mut table = Table::default();
        let last = |number| KeyEntry {
            hash: u64::MAX - number,
            number,
        };
        (1..=5).for_each(|number| table.insert(last(number)));
        table.remove(last(1));
        table.remove(last(3));
        for number in [2, 4, 5] {
            assert_eq!(
                table.find(u64::MAX - number).map(|(_, entry)| entry.number),
                Ok(number)
            );
        }
        assert!(table.find(u64::MAX - 1).is_err() && table.find(u64::MAX - 3).is_err());
        assert_eq!(table.len, 3);
    }

    #[test]
    fn a_key_costs_less_than_two_entries() {
        let mut keys = Keys::default();
        for number in 1..=100_000 {
            keys.insert(&format!("key-{number}"), number);
        }
        assert!(
            keys.heap_bytes() / 100_000 < 26,
            "{}",
            keys.heap_bytes() / 100_000
        );
    }
}
