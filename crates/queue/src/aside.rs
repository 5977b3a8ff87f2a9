//! Copies of bytes that could not be read or were cut off, under names that say where they were.

use std::collections::HashMap;

use bytes::Bytes;

use super::disk::{Disk, write_all_at};
use super::error::{JournalError, failed, unsynced, unsynced_names};

/// The name of a copy until it is whole.
pub(super) const PART: &str = "aside.part";

/// The beginning of the names of copies of damaged bytes.
pub(super) const DAMAGED: &str = "damaged-";

/// The beginning of the names of copies of torn tails.
pub(super) const TORN: &str = "torn-";

/// How many copies of torn tails are kept: the newest ones.
const TAILS: usize = 4;

/// The name for a copy of so many bytes, and whether the copy is there already. A file of another
/// length is not touched: the copy gets another name.
pub(super) fn place(names: &HashMap<String, u64>, name: &str, len: u64) -> (String, bool) {
    let mut candidate = name.to_owned();
    for count in 2_u64.. {
        match names.get(&candidate) {
            None => break,
            Some(there) if *there == len => return (candidate, true),
            Some(_) => candidate = format!("{name}-{count}"),
        }
    }
    (candidate, false)
}

/// A name like this one that no file has.
pub(super) fn free_place(names: &HashMap<String, u64>, name: &str) -> String {
    let others = (2_u64..).map(|count| format!("{name}-{count}"));
    std::iter::once(name.to_owned())
        .chain(others)
        .find(|name| !names.contains_key(name))
        .unwrap_or_default()
}

/// Keeps a copy. Its name is durable once the directory is synced.
pub(super) fn keep(disk: &dyn Disk, name: &str, bytes: &Bytes) -> Result<(), JournalError> {
    // A part that a crash left is not whole.
    let _ = disk.remove(PART);
    let file = disk.create(PART).map_err(failed("create", PART))?;
    write_all_at(&*file, bytes, 0).map_err(failed("write to", PART))?;
    file.sync().map_err(unsynced(PART))?;
    disk.rename(PART, name).map_err(failed("rename", PART))
}

/// Keeps a copy of a torn tail, durably, and of the older copies the newest few. False if there is
/// no room for it: nobody was given a receipt for what it held, and a full disk must not keep the
/// balancer from starting.
pub(super) fn keep_torn(
    disk: &dyn Disk,
    names: &HashMap<String, u64>,
    name: &str,
    bytes: &Bytes,
) -> Result<bool, JournalError> {
    let mut older: Vec<&String> = names.keys().filter(|name| name.starts_with(TORN)).collect();
    older.sort_unstable();
    let mut kept = keep(disk, name, bytes);
    if kept.as_ref().is_err_and(JournalError::is_full) {
        older.drain(..).for_each(|name| drop(disk.remove(name)));
        kept = keep(disk, name, bytes);
    }
    match kept {
        Err(error) if error.is_full() => {
            let _ = disk.remove(PART);
            return Ok(false);
        }
        other => other?,
    }
    let too_many = (older.len() + 1).saturating_sub(TAILS);
    older
        .into_iter()
        .take(too_many)
        .for_each(|name| drop(disk.remove(name)));
    disk.sync_dir().map_err(unsynced_names)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    fn names(disk: &SimDisk) -> HashMap<String, u64> {
        disk.list()
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name, entry.len))
            .collect()
    }

    #[test]
    fn the_newest_tails_are_kept() {
        let disk = SimDisk::new();
        for count in 1..=9 {
            assert!(
                keep_torn(
                    &disk,
                    &names(&disk),
                    &format!("torn-{count}"),
                    &Bytes::from_static(b"tail")
                )
                .unwrap()
            );
        }
        let mut found: Vec<String> = names(&disk).into_keys().collect();
        found.sort();
        assert_eq!(found, ["torn-6", "torn-7", "torn-8", "torn-9"]);
    }

    #[test]
    fn without_room_older_tails_go_first_and_none_is_kept_in_the_end() {
        let disk = SimDisk::new();
        disk.put("torn-1", b"older");
        disk.set_capacity(Some(6));
        assert!(keep_torn(&disk, &names(&disk), "torn-2", &Bytes::from_static(b"tail")).unwrap());
        assert!(
            !keep_torn(
                &disk,
                &names(&disk),
                "torn-3",
                &Bytes::from_static(b"a longer tail")
            )
            .unwrap()
        );
        assert!(names(&disk).is_empty());
    }

    #[test]
    fn no_copy_takes_the_place_of_another() {
        let names: HashMap<String, u64> = [("a".to_owned(), 3), ("a-2".to_owned(), 4)].into();
        assert_eq!(place(&names, "a", 3), ("a".to_owned(), true));
        assert_eq!(place(&names, "a", 4), ("a-2".to_owned(), true));
        assert_eq!(place(&names, "a", 5), ("a-3".to_owned(), false));
        assert_eq!(place(&names, "b", 5), ("b".to_owned(), false));
        assert_eq!(free_place(&names, "a"), "a-3");
    }
}
