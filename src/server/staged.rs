//! A file on its way to its final name: written under a temporary one, then renamed, never over another file.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::name::{beside, part_name};

/// How many names are tried for a file whose name another file has.
const NAMES: u32 = 1000;

/// How much is read at once of files that are compared.
const STEP: usize = 64 * 1024;

/// A file that is written under a temporary name; dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    file: File,
    path: PathBuf,
    size: u64,
    kept: bool,
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
    /// Creates an empty file under a temporary name.
    pub(super) fn create(dir: &Path, number: u64, attempt: u64) -> io::Result<Self> {
        let path = dir.join(part_name(number, attempt));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, size: 0, kept: false })
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

    /// Gives the file its final name, or the first one beside it that no other file has. A file that is there
    /// already with the same content is as good, if it `may_share` it.
    pub(super) fn publish(
        &mut self,
        dir: &Path,
        name: &str,
        may_share: impl Fn(&str) -> bool,
    ) -> io::Result<Published> {
        for name in candidates(name) {
            let target = dir.join(&*name);
            match rename_new(&self.path, &target) {
                Ok(()) => {
                    self.kept = true;
                    return Ok(Published::As(name.into_owned()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if may_share(&name) && same_content(&self.path, &target)? {
                        return Ok(Published::Found(name.into_owned()));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{NAMES} other files are called like {name}")))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed when the store opens again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The names that are tried for a file, one after the other.
fn candidates(name: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let others = (2..=NAMES).map(move |n| Cow::Owned(beside(name, n)));
    std::iter::once(Cow::Borrowed(name)).chain(others)
}

/// The name under which a file of this size and CRC32C was published that was to be called `name`, if it was.
pub(super) fn find_copy(dir: &Path, name: &str, size: u64, crc32c: u32) -> Option<String> {
    for name in candidates(name) {
        match fs::symlink_metadata(dir.join(&*name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(found) if found.is_file() && found.len() == size && has_sum(&dir.join(&*name), crc32c) => {
                return Some(name.into_owned());
            }
            _ => {}
        }
    }
    None
}

fn has_sum(path: &Path, crc32c: u32) -> bool {
    let sum = || -> io::Result<u32> {
        let (mut file, mut buffer, mut sum) = (File::open(path)?, vec![0; STEP], 0);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(sum),
                read => sum = crc32c::crc32c_append(sum, buffer.get(..read).unwrap_or_default()),
            }
        }
    };
    // What cannot be read cannot be claimed.
    sum().is_ok_and(|sum| sum == crc32c)
}

/// Renames, but never over another file.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This file system cannot rename so; a link to a name that exists fails, too.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut buffers = (vec![0; STEP], vec![0; STEP]);
    loop {
        let read = one.read(&mut buffers.0)?;
        let (a, b) = (buffers.0.get(..read).unwrap_or_default(), buffers.1.get_mut(..read).unwrap_or_default());
        other.read_exact(b)?;
        if a != b {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}
