//! The directory that files are stored in, open as it is now, and how a file comes into it.
//!
//! Where the file system can, a file has no name until it has its final one: that is one change of
//! the directory for each file instead of three, and a crash leaves nothing behind. Elsewhere it is
//! written under a temporary name first.
//!
//! Whoever may write to the directory can put links, pipes and devices under any name. So
//! everything is reached from the open directory, no link is followed, and nothing is opened that
//! is no regular file.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, linkat, openat, renameat_with,
    statat, syncfs, unlinkat,
};
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

/// The directory under a path: the one that was found there first, and no other.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Whether files without names may be used at all.
    may_be_unnamed: bool,
    opened: OnceLock<Arc<Opened>>,
    /// What has become of it, if it is not there any more.
    lost: OnceLock<String>,
}

impl Directory {
    /// The directory that is found under `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            may_be_unnamed: true,
            opened: OnceLock::new(),
            lost: OnceLock::new(),
        }
    }

    /// The same, as on a file system that has no files without names.
    #[cfg(test)]
    pub(super) fn with_names_only(path: &Path) -> Self {
        Self {
            may_be_unnamed: false,
            ..Self::new(path)
        }
    }

    /// The directory, open, if it is still what lies under its path: what is stored in another is
    /// not where anybody looks for it.
    pub(super) fn now(&self) -> io::Result<Arc<Opened>> {
        if let Some(lost) = self.lost() {
            return Err(io::Error::other(lost));
        }
        let there = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
        match (self.opened.get(), there) {
            (Some(opened), Ok(there)) if opened.id == there => Ok(opened.clone()),
            (Some(opened), Ok(there)) if opened.id.0 != there.0 => Err(self
                .lose("is on another file system than before: something was mounted or unmounted")),
            (Some(_), Ok(_)) => Err(self.lose("was replaced by another one")),
            (Some(_), Err(error)) if is_gone(&error) => Err(self.lose("was moved or removed")),
            (_, Err(error)) => Err(about(&self.path.display(), &error)),
            (None, Ok(_)) => self
                .open()
                .map_err(|error| about(&self.path.display(), &error)),
        }
    }

    fn open(&self) -> io::Result<Arc<Opened>> {
        let new = Arc::new(Opened::open(&self.path, self.may_be_unnamed)?);
        Ok(self.opened.get_or_init(|| new).clone())
    }

    /// Says that it is not what it was: from now on nothing is stored in it. Gives the error for
    /// whoever wanted it.
    pub(super) fn lose(&self, what: &str) -> io::Error {
        let path = self.path.display();
        let text = || {
            format!(
                "the directory {path} {what} while the server ran, and nothing is stored in it any more"
            )
        };
        io::Error::other(self.lost.get_or_init(text).clone())
    }

    /// What has become of it, if it is not there any more.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The same error, with what it is about.
fn about(what: &dyn std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Device and inode: which file this is.
pub(super) type FileId = (u64, u64);

/// An open directory.
#[derive(Debug)]
pub(super) struct Opened {
    handle: File,
    /// The path under which it was found.
    path: PathBuf,
    id: FileId,
    /// How files without names get theirs, if the file system has such files.
    naming: Option<Naming>,
    /// Tells apart the temporary names of one number.
    attempts: AtomicU64,
}

impl Opened {
    fn open(path: &Path, may_be_unnamed: bool) -> io::Result<Self> {
        let handle = open_directory(path)?;
        let found = handle.metadata()?;
        let id = (found.dev(), found.ino());
        let mut opened = Self {
            handle,
            path: path.to_owned(),
            id,
            naming: None,
            attempts: AtomicU64::new(0),
        };
        if may_be_unnamed {
            opened.naming = opened.find_naming()?;
        }
        Ok(opened)
    }

    /// Tries out what the file system and the kernel can do: some take a file without a name and
    /// then cannot name it.
    fn find_naming(&self) -> io::Result<Option<Naming>> {
        let file = match self.unnamed() {
            Ok(file) => file,
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let name = self.part_name(0);
        let works = |naming: &Naming| self.name(&file, *naming, &name).is_ok();
        let found = [Naming::ByDescriptor, Naming::ByProc]
            .into_iter()
            .find(works);
        if found.is_some() {
            unlinkat(&self.handle, &*name, AtFlags::empty())?;
        }
        Ok(found)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn handle(&self) -> &File {
        &self.handle
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
            (Some(part), _) => {
                rename_new(&staged.begun_in().handle, part, &self.handle, name)?;
                // The temporary name may have been given to another file meanwhile.
                if self.id_of(name)? == staged.id()? {
                    Ok(())
                } else {
                    Err(self.not_ours(name, "another file"))
                }
            }
            (None, naming) => {
                Ok(self.name(staged.file(), naming.unwrap_or(Naming::ByProc), name)?)
            }
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

    /// All names in it.
    pub(super) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<CString>>> {
        let entries = Dir::read_from(&self.handle)?;
        Ok(entries.map(|entry| Ok(entry?.file_name().to_owned())))
    }

    /// What lies under a name, itself.
    pub(super) fn found(&self, name: &str) -> io::Result<Stat> {
        Ok(statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Which file lies under a name.
    pub(super) fn id_of(&self, name: &str) -> io::Result<FileId> {
        Ok(id(&self.found(name)?))
    }

    /// Opens a regular file to read it. What is none is refused with
    /// [`io::ErrorKind::InvalidInput`], and not opened: a link would lead elsewhere, a pipe keep us
    /// waiting.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// Opens a regular file to append to it.
    pub(super) fn append(&self, name: &str) -> io::Result<File> {
        self.open_regular(name, OFlags::WRONLY | OFlags::APPEND)
    }

    fn open_regular(&self, name: &str, how: OFlags) -> io::Result<File> {
        let kind = |found: &Stat| FileType::from_raw_mode(found.st_mode);
        self.refuse_unless_regular(name, kind(&self.found(name)?))?;
        let flags = how | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = File::from(openat(&self.handle, name, flags, Mode::empty())?);
        self.refuse_unless_regular(name, kind(&rustix::fs::fstat(&file)?))?;
        Ok(file)
    }

    fn refuse_unless_regular(&self, name: &str, kind: FileType) -> io::Result<()> {
        let what = match kind {
            FileType::RegularFile => return Ok(()),
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a named pipe",
            FileType::Directory => "a directory",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(self.not_ours(name, what))
    }

    /// What is told of something under one of our names that we did not put there.
    fn not_ours(&self, name: &str, what: &str) -> io::Error {
        let text = format!(
            "{} is {what}, not a regular file of this server: remove it",
            self.path.join(name).display()
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }

    /// Makes a file that was not there.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(&self.handle, name, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Gives a file another name, in place of whatever has that.
    pub(super) fn rename_over(&self, name: &str, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, name, &self.handle, new)?)
    }

    /// Gives a file another name that is free.
    pub(super) fn rename(&self, name: &str, new: &str) -> io::Result<()> {
        Ok(rename_new(&self.handle, name, &self.handle, new)?)
    }

    /// Gives a file one more name, which is free.
    pub(super) fn link(&self, name: &str, new: &str) -> io::Result<()> {
        Ok(linkat(
            &self.handle,
            name,
            &self.handle,
            new,
            AtFlags::empty(),
        )?)
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

/// Opens a directory, and nothing else.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    Ok(openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?
    .into())
}

/// Which file was found.
pub(super) fn id(found: &Stat) -> FileId {
    (found.st_dev, found.st_ino)
}

pub(super) fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// Renames, but never over another file.
fn rename_new(from: impl AsFd, name: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
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
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_has_its_final_name_or_none_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        for directory in [
            Directory::new(dir.path()),
            Directory::with_names_only(dir.path()),
        ] {
            let opened = directory.now().unwrap();
            let mut staged = opened.begin(7).unwrap();
            staged.write(b"whole").unwrap();
            assert!(
                names(dir.path())
                    .iter()
                    .all(|name| super::super::name::is_part(name))
            );
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
            // Not everybody may do the first, and not everywhere is there a `/proc`; what was found
            // must work.
            assert!(named.is_ok() || opened.naming != Some(naming), "{named:?}");
            if named.is_ok() {
                opened.remove("x").unwrap();
            }
        }
        assert!(names(dir.path()).is_empty(), "trying leaves nothing");
    }

    #[test]
    fn a_directory_that_is_lost_once_stays_so() {
        type Loss = (fn(&Path), &'static str);
        let losses: [Loss; 3] = [
            (
                |dir| fs::rename(dir, dir.with_extension("old")).unwrap(),
                "moved or removed",
            ),
            (
                |dir| {
                    fs::rename(dir, dir.with_extension("old")).unwrap();
                    fs::write(dir, "a file").unwrap();
                },
                "replaced by another one",
            ),
            (
                |dir| {
                    fs::rename(
                        dir.parent().unwrap(),
                        dir.parent().unwrap().with_extension("old"),
                    )
                    .unwrap()
                },
                "moved",
            ),
        ];
        for (lose, what) in losses {
            let around = tempfile::tempdir().unwrap();
            let path = around.path().join("parent/d");
            let directory = Directory::new(&path);
            assert_eq!(
                directory.now().unwrap_err().kind(),
                io::ErrorKind::NotFound,
                "not there yet is not lost"
            );
            fs::create_dir_all(&path).unwrap();
            let first = directory.now().unwrap();
            assert!(Arc::ptr_eq(&first, &directory.now().unwrap()) && directory.lost().is_none());
            lose(&path);
            let error = directory.now().unwrap_err().to_string();
            assert!(
                error.contains(what) && error.contains(path.to_str().unwrap()),
                "{error}"
            );
            let _ = fs::remove_file(&path);
            fs::create_dir_all(&path).unwrap();
            assert_eq!(directory.now().unwrap_err().to_string(), error);
            assert_eq!(directory.lost(), Some(&*error));
        }
    }

    /// Each would lead elsewhere, or keep whoever opens it waiting.
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Directory::new(dir.path()).now().unwrap();
        fs::write(dir.path().join("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        assert!(opened.read("file").is_ok() && opened.append("file").is_ok());
        for (name, what) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("directory", "directory"),
            ("pipe", "named pipe"),
        ] {
            for error in [
                opened.read(name).unwrap_err(),
                opened.append(name).unwrap_err(),
            ] {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
                assert!(
                    error.to_string().contains(&format!("{name} is a {what}")),
                    "{error}"
                );
            }
            assert_eq!(
                opened.create(name).unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
        }
        assert!(!dir.path().join("nowhere").exists());
    }
}
