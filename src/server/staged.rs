//! A file on its way to its final name: it gets that when it is whole, and never in place of
//! another file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::Stat;

use super::name::beside;
use super::opened::{Opened, is_regular};
use crate::checksum;

/// How many names are tried for a file before it counts as one that cannot be stored.
const NAMES: u32 = 1000;

/// How many bytes are read at once of files that are compared.
const STEP: usize = 64 * 1024;

/// A file that is being written, under a temporary name or without one; dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    file: File,
    /// Its temporary name; `None` for a file without a name.
    part: Option<String>,
    begun_in: Arc<Opened>,
    size: u64,
}

/// How a file got its final name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It was given this name.
    As(String),
    /// A file with this name and the same content was there.
    Found(String),
}

impl Staged {
    /// Begins a file in `dir`. The number makes a temporary name recognizable.
    pub(super) fn begin(dir: &Arc<Opened>, number: u64) -> io::Result<Self> {
        let (file, part) = dir.begin(number)?;
        Ok(Self {
            file,
            part,
            begun_in: dir.clone(),
            size: 0,
        })
    }

    /// Appends to the file.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The number of bytes that were written to it.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Makes the content durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its final name, or the first free one beside it (see [`beside`]). A file that
    /// has one of these names and the same content takes its place, if `may_share` allows it.
    /// `taken` knows which names need not be tried.
    pub(super) fn publish(
        &mut self,
        dir: &Opened,
        name: &str,
        may_share: impl Fn(&str) -> bool,
        taken: &mut Taken,
    ) -> io::Result<Published> {
        let wanted = name;
        for n in taken.tries(wanted) {
            let name = candidate(wanted, n);
            let part = self.part.as_deref();
            match dir.publish(&self.file, part, &self.begun_in, &name) {
                Ok(()) => {
                    // The temporary name is gone: nothing is left to remove.
                    self.part = None;
                    taken.note(wanted, n);
                    return Ok(Published::As(name.into_owned()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if may_share(&name) && self.is_like(dir, &name)? {
                        return Ok(Published::Found(name.into_owned()));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        taken.note(wanted, NAMES);
        Err(io::Error::other(format!(
            "cannot name a file {wanted}: {NAMES} others have that name and those beside it"
        )))
    }

    /// Whether the file with this name is a copy of this one, and makes it durable if so. A file
    /// that cannot be read is not.
    fn is_like(&self, dir: &Opened, name: &str) -> io::Result<bool> {
        let is_copy = dir
            .found(name)
            .is_ok_and(|found| may_be_ours(&found, self.size));
        let Some(mut other) = is_copy.then(|| dir.read(name).ok()).flatten() else {
            return Ok(false);
        };
        let step = usize::try_from(self.size).unwrap_or(STEP).clamp(1, STEP);
        let mut our_buffer = vec![0; step];
        let mut other_buffer = vec![0; step];
        let mut offset = 0;
        loop {
            let read = self.file.read_at(&mut our_buffer, offset)?;
            let ours = our_buffer.get(..read).unwrap_or_default();
            let theirs = other_buffer.get_mut(..read).unwrap_or_default();
            if other.read_exact(theirs).is_err() || ours != theirs {
                return Ok(false);
            }
            if read == 0 {
                // Whoever wrote it may not have synced it.
                return other.sync_data().map(|()| true);
            }
            offset += read as u64;
        }
    }
}

/// Whether a file with this status can be one that was stored here. A file with a second name
/// cannot: its content could be changed through that name, or lie somewhere else.
fn may_be_ours(found: &Stat, size: u64) -> bool {
    is_regular(found) && found.st_nlink == 1 && u64::try_from(found.st_size) == Ok(size)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // If that fails, the store removes it when it opens again.
            let _ = self.begun_in.remove(part);
        }
    }
}

/// The name that is tried in the place `n` for a file, from 1 to [`NAMES`].
fn candidate(name: &str, n: u32) -> Cow<'_, str> {
    if n == 1 {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(beside(name, n))
    }
}

/// The names that are tried for a file, in this order.
fn candidates(name: &str) -> impl Iterator<Item = Cow<'_, str>> {
    (1..=NAMES).map(move |n| candidate(name, n))
}

/// Up to which place the names for a file are taken, of files that found many of them so: otherwise
/// each of a thousand files of one name would try the names of all before it.
#[derive(Debug, Default)]
pub(super) struct Taken(HashMap<Box<str>, u32>);

impl Taken {
    /// Names that are tried in any case: a file with one of them may be gone by now, or be the same.
    const ALWAYS: u32 = 8;

    /// The most names that are remembered.
    const MOST: usize = 4096;

    /// The places of the names to be tried.
    fn tries(&self, name: &str) -> impl Iterator<Item = u32> + use<> {
        let taken = self.0.get(name).copied().unwrap_or(0);
        (1..=Self::ALWAYS).chain(taken.max(Self::ALWAYS) + 1..=NAMES)
    }

    /// The names up to this place were taken, and so is this one now.
    fn note(&mut self, name: &str, n: u32) {
        if n <= Self::ALWAYS {
            // Most files: nothing was remembered, unless names have become free.
            if !self.0.is_empty() {
                self.0.remove(name);
            }
            return;
        }
        if self.0.len() >= Self::MOST && !self.0.contains_key(name) {
            self.0.clear();
        }
        self.0.insert(name.into(), n);
    }
}

/// Under which name a file of this size and CRC32C was published that should be called `name`;
/// `None` if it was not published.
pub(super) fn find_copy(dir: &Opened, name: &str, size: u64, crc32c: u32) -> Option<String> {
    for name in candidates(name) {
        match dir.found(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(found) if may_be_ours(&found, size) && has_sum(dir, &name, crc32c) => {
                return Some(name.into_owned());
            }
            _ => {}
        }
    }
    None
}

fn has_sum(dir: &Opened, name: &str, crc32c: u32) -> bool {
    // A file that cannot be read counts as another one.
    dir.read(name).and_then(sum).is_ok_and(|sum| sum == crc32c)
}

/// The CRC32C of a file's content.
pub(super) fn sum(mut file: impl Read) -> io::Result<u32> {
    let mut buffer = vec![0; STEP];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(read) => sum = checksum::append(sum, buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_of_one_name_try_few_names_each() {
        let mut taken = Taken::default();
        let mut used = 0;
        for _ in 0..NAMES {
            // Names are taken in the order in which they are tried.
            let mut tries = taken.tries("7_x");
            let found = tries.position(|n| n > used).unwrap();
            assert!(found <= Taken::ALWAYS as usize, "{found} tries");
            used += 1;
            taken.note("7_x", used);
        }
        assert_eq!(taken.tries("7_x").count(), Taken::ALWAYS as usize);
        assert_eq!(taken.tries("8_x").count(), NAMES as usize);
        // One of the first is free again, and so may be others.
        taken.note("7_x", 3);
        assert_eq!(taken.tries("7_x").count(), NAMES as usize);
    }

    #[test]
    fn few_names_are_remembered() {
        let mut taken = Taken::default();
        for name in 0..3 * Taken::MOST {
            taken.note(&name.to_string(), 9);
            assert!(taken.0.len() <= Taken::MOST);
        }
    }
}
