//! Lists the files in the directories of servers, each with the hash of its content.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::VerifyError;
use crate::server::name::is_part;

/// Size of a read, in bytes.
const STEP: usize = 128 * 1024;

/// Prefix of the hidden files of servers.
const HIDDEN: &str = ".bilico";

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Index of its directory in [`Shelf::dirs`].
    pub dir: usize,
    /// Its name.
    pub name: OsString,
    /// The size of its content in bytes.
    pub size: u64,
    /// The hash of its content.
    pub hash: blake3::Hash,
}

/// The files in the directories of servers.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The directories.
    pub dirs: Vec<PathBuf>,
    /// The stored files in them.
    pub files: Vec<Stored>,
    /// The temporary files in them.
    pub parts: Vec<PathBuf>,
}

impl Shelf {
    /// Lists the directories and hashes every stored file in them. Anything that is not a regular
    /// file is skipped.
    pub fn read(dirs: &[PathBuf]) -> Result<Self, VerifyError> {
        let mut shelf = Self {
            dirs: dirs.to_vec(),
            ..Self::default()
        };
        let mut real = Vec::new();
        for (place, dir) in dirs.iter().enumerate() {
            let failed = |error| VerifyError::Dir {
                path: dir.clone(),
                error,
            };
            let canonical = fs::canonicalize(dir).map_err(failed)?;
            if real.contains(&canonical) {
                return Err(VerifyError::Twice(dir.clone()));
            }
            real.push(canonical);
            shelf.list(place, dir).map_err(failed)?;
        }
        shelf.hash()?;
        Ok(shelf)
    }

    /// Path of a stored file.
    pub fn path(&self, file: &Stored) -> PathBuf {
        path(&self.dirs, file)
    }

    fn list(&mut self, place: usize, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if is_part(&text) {
                self.parts.push(entry.path());
            } else if !text.starts_with(HIDDEN) && entry.file_type()?.is_file() {
                let hash = blake3::Hash::from_bytes([0; blake3::OUT_LEN]);
                self.files.push(Stored {
                    dir: place,
                    name,
                    size: 0,
                    hash,
                });
            }
        }
        Ok(())
    }

    /// Hashes all files, with one thread per processor.
    fn hash(&mut self) -> Result<(), VerifyError> {
        let Self { dirs, files, .. } = self;
        let threads = thread::available_parallelism()
            .map_or(2, NonZero::get)
            .clamp(2, 16);
        let queue = Mutex::new(files.iter_mut());
        let failed = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; STEP];
            while let Some(file) = lock(&queue).next() {
                let path = path(dirs, file);
                match hash(&path, &mut buffer) {
                    Ok(known) => (file.size, file.hash) = known,
                    Err(error) => *lock(&failed) = Some(VerifyError::File { path, error }),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(dirs: &[PathBuf], file: &Stored) -> PathBuf {
    dirs.get(file.dir)
        .map(|dir| dir.join(&file.name))
        .unwrap_or_default()
}

/// Size and hash of a file's content.
fn hash(path: &Path, buffer: &mut [u8]) -> io::Result<(u64, blake3::Hash)> {
    let mut file = open_regular(path)?;
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok((size, hasher.finalize())),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens a file that was a regular file when it was listed; an error if it is not one any more.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file any more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_files_place_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        rustix::fs::mkfifoat(CWD, at("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        let mut buffer = vec![0; STEP];
        assert_eq!(hash(&at("file"), &mut buffer).unwrap().0, 7);
        assert!(hash(&at("link"), &mut buffer).is_err() && hash(&at("pipe"), &mut buffer).is_err());
    }
}
