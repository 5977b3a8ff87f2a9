//! Removes a stored file that another server has, too, if it is certain that it is that file and no
//! other balancer's.

use std::io;

use rustix::fs::Stat;

use super::index::IndexEntry;
use super::opened::{Opened, id, is_regular};
use super::staged::sum;
use crate::protocol::Expected;

/// What became of a file that was to be removed, and of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlinked {
    /// Both stay.
    Kept,
    /// The entry has to go; the file is not there, or stays.
    Forgotten,
    /// The file was removed, and the entry has to go.
    Removed,
}

/// Removes the file of an entry. A file that was changed
/// since it was stored, or that is not the one its balancer means, stays, and so does its entry. A
/// file that may be another balancer's, too, stays without its entry.
pub(super) fn unlink(
    dir: &Opened,
    number: u64,
    entry: &IndexEntry,
    expected: Option<Expected>,
) -> io::Result<Unlinked> {
    let name = &*entry.name;
    if !is_expected(number, entry, expected) {
        return Ok(Unlinked::Kept);
    }
    let found = match dir.found(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let reason = "another server has it";
            tracing::info!(number, name, reason, "to be dropped, and already gone");
            return Ok(Unlinked::Forgotten);
        }
        found => found?,
    };
    if entry.shared {
        let reason = "it may be another balancer's, too";
        tracing::warn!(
            number,
            name,
            reason,
            "not dropped, though another server has it"
        );
        return Ok(Unlinked::Forgotten);
    }
    if let Some(reason) = change(dir, entry, &found)? {
        tracing::warn!(
            number,
            name,
            reason,
            "not dropped, though another server has it: it was changed since it was stored"
        );
        return Ok(Unlinked::Kept);
    }
    dir.remove(name)?;
    tracing::info!(number, name, reason = "another server has it", "dropped");
    Ok(Unlinked::Removed)
}

/// Whether the entry is about the file that its balancer means.
fn is_expected(number: u64, entry: &IndexEntry, expected: Option<Expected>) -> bool {
    let stored = Expected {
        size: entry.size,
        crc32c: entry.crc32c,
    };
    let Some(expected) = expected.filter(|expected| *expected != stored) else {
        return true;
    };
    let text = |it: Expected| format!("{} bytes with CRC32C {:08x}", it.size, it.crc32c);
    tracing::error!(
        number,
        name = &*entry.name,
        expected = text(expected),
        stored = text(stored),
        "a balancer orders to drop a file, but another file is stored under its number, and is \
         kept: the balancer's journal, or this directory, is a copy or was restored. Find out \
         which, and let only one of them run"
    );
    false
}

/// How the file differs from the one that was stored; `None` if it does not.
fn change(dir: &Opened, entry: &IndexEntry, found: &Stat) -> io::Result<Option<String>> {
    if !is_regular(found) {
        return Ok(Some("it is not a regular file".to_owned()));
    }
    if let Some(difference) = difference(dir, entry) {
        return Ok(Some(difference));
    }
    // Another file may have taken the name while this one was read.
    let is_replaced = dir.id_of(&entry.name)? != id(found);
    Ok(is_replaced.then(|| "it was replaced".to_owned()))
}

/// How the content differs from the one that was stored. A file that cannot be read counts as
/// changed.
fn difference(dir: &Opened, entry: &IndexEntry) -> Option<String> {
    let read = || {
        let file = dir.read(&entry.name)?;
        let size = file.metadata()?.len();
        // A file of another size need not be read.
        let sum = if size == entry.size {
            Some(sum(&file)?)
        } else {
            None
        };
        Ok((size, sum))
    };
    match read() {
        Err(error) => io::Error::to_string(&error).into(),
        Ok((size, _)) if size != entry.size => {
            Some(format!("it has {size} bytes, not {}", entry.size))
        }
        Ok((_, sum)) if sum != Some(entry.crc32c) => Some("its content was changed".to_owned()),
        Ok(_) => None,
    }
}
