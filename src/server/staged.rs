//! A file on its way to its final name, which it gets when it is whole, and never in place of
//! another file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::fs::Stat;

use super::directory::{FileId, Opened, is_regular};
use super::name::beside;

/// How many names are tried for a file whose name another file has.
const NAMES: u32 = 1000;

/// How much is read at once of files that are compared.
const STEP: usize = 64 * 1024;

/// A file that is written under no name, or a temporary one; dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    file: File,
    /// Its temporary name, if it has one.
    part: Option<String>,
    begun_in: Arc<Opened>,
    size: u64,
}

/// How a file came by its final name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It was given this one.
    As(String),
    /// A file of this name with the same content was there.
    Found(String),
}

impl Staged {
    /// An empty file, just made.
    pub(super) fn new(file: File, part: Option<String>, begun_in: Arc<Opened>) -> Self {
        Self {
            file,
            part,
            begun_in,
            size: 0,
        }
    }

    /// Appends to the file.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes were written to it.
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

    /// Which file it is.
    pub(super) fn id(&self) -> io::Result<FileId> {
        let found = self.file.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    pub(super) fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    pub(super) fn begun_in(&self) -> &Opened {
        &self.begun_in
    }

    /// Its temporary name is gone: nothing is left to remove.
    pub(super) fn keep(&mut self) {
        self.part = None;
    }

    /// Gives the file its final name, or the first one beside it that nothing has. A file that is
    /// there already with the same content is as good, if it `may_share` it.
    pub(super) fn publish(
        &mut self,
        dir: &Opened,
        name: &str,
        may_share: impl Fn(&str) -> bool,
    ) -> io::Result<Published> {
        for name in candidates(name) {
            match dir.publish(self, &name) {
                Ok(()) => {
                    self.keep();
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
        Err(io::Error::other(format!(
            "{NAMES} other files are called like {name}"
        )))
    }

    /// Whether what has this name is a copy of the file, and makes it durable if so. What cannot be
    /// read is none.
    fn is_like(&self, dir: &Opened, name: &str) -> io::Result<bool> {
        let is_copy = dir
            .found(name)
            .is_ok_and(|found| may_be_ours(&found, self.size));
        let Some(mut other) = is_copy.then(|| dir.read(name).ok()).flatten() else {
            return Ok(false);
        };
        let (mut buffers, mut offset) = ((vec![0; STEP], vec![0; STEP]), 0);
        loop {
            let read = self.file.read_at(&mut buffers.0, offset)?;
            let (a, b) = (
                buffers.0.get(..read).unwrap_or_default(),
                buffers.1.get_mut(..read).unwrap_or_default(),
            );
            if other.read_exact(b).is_err() || a != b {
                return Ok(false);
            }
            if read == 0 {
                // Whoever wrote it may not have done this.
                return other.sync_data().map(|()| true);
            }
            offset += read as u64;
        }
    }
}

/// Whether what was found can be a file that was stored here: its content lies in this directory
/// and under no other name, through which it could be changed or that only makes it look as if it
/// was here.
fn may_be_ours(found: &Stat, size: u64) -> bool {
    is_regular(found) && found.st_nlink == 1 && u64::try_from(found.st_size) == Ok(size)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // What cannot be removed now is removed when the store opens again.
            let _ = self.begun_in.remove(part);
        }
    }
}

/// The names that are tried for a file, one after the other.
fn candidates(name: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let others = (2..=NAMES).map(move |n| Cow::Owned(beside(name, n)));
    std::iter::once(Cow::Borrowed(name)).chain(others)
}

/// The name under which a file of this size and CRC32C was published that was to be called `name`,
/// if it was.
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
    // What cannot be read cannot be claimed.
    dir.read(name).and_then(sum).is_ok_and(|sum| sum == crc32c)
}

/// The CRC32C of all that can be read from a file.
pub(super) fn sum(mut file: impl Read) -> io::Result<u32> {
    let (mut buffer, mut sum) = (vec![0; STEP], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(read) => sum = crc32c::crc32c_append(sum, buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
