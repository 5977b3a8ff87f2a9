//! Removing a stored file that another server has, too: only what is surely that file, and nobody
//! else's.

use std::io;

use super::directory::{Opened, id, is_regular};
use super::index::IndexEntry;
use super::staged::sum;
use crate::protocol::Expected;

/// Removes the file of an entry, and tells whether the entry has to go. A file that is not what was
/// stored any more, or not what its balancer means, stays, and so does its entry; one that may be
/// somebody else's as well stays without it.
pub(super) fn unlink(
    dir: &Opened,
    number: u64,
    entry: &IndexEntry,
    expected: Option<Expected>,
) -> io::Result<bool> {
    let name = &*entry.name;
    let stored = Expected {
        size: entry.size,
        crc32c: entry.crc32c,
    };
    if let Some(expected) = expected.filter(|expected| *expected != stored) {
        let sums =
            [expected, stored].map(|it| format!("{} bytes with CRC32C {:08x}", it.size, it.crc32c));
        let [expected, stored] = &sums;
        tracing::error!(
            number,
            name,
            expected,
            stored,
            "a balancer orders to drop a file, but its number is another file's here, which is kept: the balancer's \
             journal, or this directory, is a copy or was restored. Find out which, and let only one of them run"
        );
        return Ok(false);
    }
    let found = match dir.found(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(
                number,
                name,
                reason = "another server has it",
                "to be dropped, and already gone"
            );
            return Ok(true);
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
        return Ok(true);
    }
    let changed = if is_regular(&found) {
        difference(dir, entry)
    } else {
        Some("it is no regular file".to_owned())
    };
    // Another file may have taken its place while it was read.
    let changed = match changed {
        None if dir.id_of(name)? != id(&found) => Some("it was replaced".to_owned()),
        changed => changed,
    };
    if let Some(reason) = changed {
        tracing::warn!(
            number,
            name,
            reason,
            "not dropped, though another server has it: it was changed since it was stored"
        );
        return Ok(false);
    }
    dir.remove(name)?;
    tracing::info!(number, name, reason = "another server has it", "dropped");
    Ok(true)
}

/// In what the file differs from what was stored. One that cannot be read may be anything.
fn difference(dir: &Opened, entry: &IndexEntry) -> Option<String> {
    let read = || {
        let file = dir.read(&entry.name)?;
        let size = file.metadata()?.len();
        // No reading what is too long or too short anyway.
        Ok(if size == entry.size {
            (size, Some(sum(&file)?))
        } else {
            (size, None)
        })
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
