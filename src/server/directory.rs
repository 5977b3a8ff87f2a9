//! The directory that files are stored in, open as it is now, and how a file comes into it.
//!
//! Where the file system can, a file has no name until it has its final one: that is one change of the directory for each
//! file instead of three, and a crash leaves nothing behind. Elsewhere it is written under a temporary name first.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, syncfs, unlinkat};
use rustix::io::Errno;

use super::name::part_name;
use super::staged::Staged;

/// How a file without a name is given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// By its descriptor, which old kernels grant to few.
    ByDescriptor,
    /// By what `/proc` calls its descriptor.
    ByProc,
}

/// The directory under a path, whichever that is at the time.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Whether files without names may be used at all.
    may_be_unnamed: bool,
    opened: Mutex<Option<Arc<Opened>>>,
}

impl Directory {
    /// The directory that is found under `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), may_be_unnamed: true, opened: Mutex::default() }
    }

    /// The same, as on a file system that has no files without names.
    #[cfg(test)]
    pub(super) fn with_names_only(path: &Path) -> Self {
        Self { may_be_unnamed: false, ..Self::new(path) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory as it is now, open; it may have been replaced since it was opened last.
    pub(super) fn now(&self) -> io::Result<Arc<Opened>> {
        let there = std::fs::metadata(&self.path)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.as_ref().filter(|opened| opened.id == (there.dev(), there.ino())) {
            return Ok(opened.clone());
        }
        *opened = None;
        let new = Arc::new(Opened::open(&self.path, self.may_be_unnamed)?);
        Ok(opened.insert(new).clone())
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Opened {
    handle: File,
    /// Device and inode.
    id: (u64, u64),
    /// How files without names get theirs, if the file system has such files.
    naming: Option<Naming>,
    /// Tells apart the temporary names of one number.
    attempts: AtomicU64,
}

impl Opened {
    fn open(path: &Path, may_be_unnamed: bool) -> io::Result<Self> {
        let handle = File::open(path)?;
        let found = handle.metadata()?;
        let id = (found.dev(), found.ino());
        let mut opened = Self { handle, id, naming: None, attempts: AtomicU64::new(0) };
        if may_be_unnamed {
            opened.naming = opened.find_naming()?;
        }
        Ok(opened)
    }

    /// Tries out what the file system and the kernel can do: some take a file without a name and then cannot name it.
    fn find_naming(&self) -> io::Result<Option<Naming>> {
        let file = match self.unnamed() {
            Ok(file) => file,
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let name = self.part_name(0);
        let works = |naming: &Naming| self.name(&file, *naming, &name).is_ok();
        let found = [Naming::ByDescriptor, Naming::ByProc].into_iter().find(works);
        if found.is_some() {
            unlinkat(&self.handle, &*name, AtFlags::empty())?;
        }
        Ok(found)
    }

    /// Begins a file.
    pub(super) fn begin(self: &Arc<Self>, number: u64) -> io::Result<Staged> {
        if self.naming.is_some() {
            return Ok(Staged::new(self.unnamed()?, None, self.clone()));
        }
        let part = self.part_name(number);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.handle, &*part, flags, Mode::from_raw_mode(0o666))?;
        Ok(Staged::new(file.into(), Some(part), self.clone()))
    }

    fn unnamed(&self) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(openat(&self.handle, ".", flags, Mode::from_raw_mode(0o666))?.into())
    }

    fn part_name(&self, number: u64) -> String {
        part_name(number, self.attempts.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives a file its final name, unless another file has that.
    pub(super) fn publish(&self, staged: &Staged, name: &str) -> io::Result<()> {
        match (staged.part(), staged.begun_in().naming) {
            (Some(part), _) => Ok(rename_new(&staged.begun_in().handle, part, &self.handle, name)?),
            (None, naming) => Ok(self.name(staged.file(), naming.unwrap_or(Naming::ByProc), name)?),
        }
    }

    fn name(&self, file: &File, naming: Naming, name: &str) -> Result<(), Errno> {
        match naming {
            Naming::ByDescriptor => linkat(file, "", &self.handle, name, AtFlags::EMPTY_PATH),
            Naming::ByProc => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(CWD, path, &self.handle, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }

    /// Opens a file to read it; one that is none does not keep us waiting.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat(&self.handle, name, flags, Mode::empty())?.into())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Makes lasting which names there are.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Makes all of the file system lasting.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        Ok(syncfs(&self.handle)?)
    }
}

/// Renames, but never over another file.
pub(super) fn rename_new(from: impl AsFd, name: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
        // This file system cannot rename so; a link to a name that exists fails, too.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(&from, name, &to, new, AtFlags::empty())?;
            unlinkat(&from, name, AtFlags::empty())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_final_name_or_none_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        for directory in [Directory::new(dir.path()), Directory::with_names_only(dir.path())] {
            let opened = directory.now().unwrap();
            let mut staged = opened.begin(7).unwrap();
            staged.write(b"whole").unwrap();
            assert!(names(dir.path()).iter().all(|name| super::super::name::is_part(name)));
            opened.publish(&staged, "7_x").unwrap();
            staged.keep();
            assert_eq!(
                (names(dir.path()), fs::read(dir.path().join("7_x")).unwrap()),
                (vec!["7_x".into()], b"whole".into())
            );
            let other = opened.begin(8).unwrap();
            let error = opened.publish(&other, "7_x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            drop(other);
            opened.remove("7_x").unwrap();
            assert!(names(dir.path()).is_empty());
        }
    }

    #[test]
    fn both_ways_to_name_a_file_do_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Directory::new(dir.path()).now().unwrap();
        if opened.naming.is_none() {
            return;
        }
        for naming in [Naming::ByDescriptor, Naming::ByProc] {
            let file = opened.unnamed().unwrap();
            let named = opened.name(&file, naming, "x");
            // Not everybody may do the first, and not everywhere is there a `/proc`; what was found must work.
            assert!(named.is_ok() || opened.naming != Some(naming), "{named:?}");
            if named.is_ok() {
                opened.remove("x").unwrap();
            }
        }
        assert!(names(dir.path()).is_empty(), "trying leaves nothing");
    }

    #[test]
    fn a_directory_that_was_replaced_is_opened_anew() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("d");
        fs::create_dir(&path).unwrap();
        let directory = Directory::new(&path);
        let first = directory.now().unwrap();
        assert!(Arc::ptr_eq(&first, &directory.now().unwrap()));
        fs::rename(&path, parent.path().join("old")).unwrap();
        assert_eq!(directory.now().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&path).unwrap();
        assert!(!Arc::ptr_eq(&first, &directory.now().unwrap()));
    }
}
