//! An open directory, and how a file comes into it.
//!
//! Where the file system can, a file has no name until it gets its final one: that changes the
//! directory once for each file instead of three times, and a crash leaves nothing behind.
//! Elsewhere the file is written under a temporary name first.
//!
//! Whoever may write to the directory can put links, pipes and devices under any name. So every
//! file is reached from the open directory, no link is followed, and only regular files are opened.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, linkat, openat, renameat_with,
    statat, syncfs, unlinkat,
};
use rustix::io::Errno;

use super::config::ReadableBy;
use super::name::part_name;

/// How a file without a name gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// By its descriptor. Old kernels allow that only with a capability.
    ByDescriptor,
    /// By the name of its descriptor in `/proc`.
    ByProc,
}

/// Device and inode of a file.
pub(super) type FileId = (u64, u64);

/// An open directory.
#[derive(Debug)]
pub(super) struct Opened {
    handle: File,
    /// The path under which it was found.
    path: PathBuf,
    id: FileId,
    /// How files without names get theirs; `None` where there are no such files.
    naming: Option<Naming>,
    /// The mode of files that are stored in it.
    mode: Mode,
    /// Tells apart the temporary names of one number.
    attempts: AtomicU64,
}

impl Opened {
    pub(super) fn open(
        path: &Path,
        may_be_unnamed: bool,
        readable_by: ReadableBy,
    ) -> io::Result<Self> {
        let handle = open_directory(path)?;
        let found = handle.metadata()?;
        let id = (found.dev(), found.ino());
        let mut opened = Self {
            handle,
            path: path.to_owned(),
            id,
            naming: None,
            mode: Mode::from_raw_mode(readable_by.file_mode()),
            attempts: AtomicU64::new(0),
        };
        if may_be_unnamed {
            opened.naming = opened.find_naming()?;
        }
        Ok(opened)
    }

    /// Tries out what the file system and the kernel can do: some create a file without a name and
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

    /// Device and inode of the directory.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn handle(&self) -> &File {
        &self.handle
    }

    /// Creates an empty file, and returns it with its temporary name if it has to have one.
    pub(super) fn begin(&self, number: u64) -> io::Result<(File, Option<String>)> {
        if self.naming.is_some() {
            return Ok((self.unnamed()?, None));
        }
        let part = self.part_name(number);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.handle, &*part, flags, self.mode)?;
        Ok((file.into(), Some(part)))
    }

    fn unnamed(&self) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(openat(&self.handle, ".", flags, self.mode)?.into())
    }

    fn part_name(&self, number: u64) -> String {
        part_name(number, self.attempts.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives a file its final name; fails with [`io::ErrorKind::AlreadyExists`] if that is taken.
    /// The file was begun in the directory `from`, under the temporary name `part` if it has one.
    pub(super) fn publish(
        &self,
        file: &File,
        part: Option<&str>,
        from: &Self,
        name: &str,
    ) -> io::Result<()> {
        let Some(part) = part else {
            let naming = from.naming.unwrap_or(Naming::ByProc);
            return Ok(self.name(file, naming, name)?);
        };
        rename_new(&from.handle, part, &self.handle, name)?;
        // Another file may have taken the temporary name meanwhile.
        let metadata = file.metadata()?;
        if self.id_of(name)? == (metadata.dev(), metadata.ino()) {
            Ok(())
        } else {
            Err(self.not_ours(name, "another file"))
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

    /// The names of all files in it.
    pub(super) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<CString>>> {
        let entries = Dir::read_from(&self.handle)?;
        Ok(entries.map(|entry| Ok(entry?.file_name().to_owned())))
    }

    /// The status of a file, or of the link itself if the name is a link.
    pub(super) fn found(&self, name: &str) -> io::Result<Stat> {
        Ok(statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Device and inode of the file with this name.
    pub(super) fn id_of(&self, name: &str) -> io::Result<FileId> {
        Ok(id(&self.found(name)?))
    }

    /// Opens a regular file for reading. Anything else is refused with
    /// [`io::ErrorKind::InvalidInput`].
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
        // The name may lead to another file by now: `NONBLOCK` so that a pipe cannot block us.
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

    /// The error about a file under one of our names that this server did not create.
    fn not_ours(&self, name: &str, what: &str) -> io::Error {
        let text = format!(
            "{} is {what}, not a regular file of this server: remove it",
            self.path.join(name).display()
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }

    /// Creates a file of the server's own; fails if the name is taken.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(&self.handle, name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// Renames a file, over any file that has the new name.
    pub(super) fn rename_over(&self, name: &str, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, name, &self.handle, new)?)
    }

    /// Renames a file; fails if the new name is taken.
    pub(super) fn rename(&self, name: &str, new: &str) -> io::Result<()> {
        Ok(rename_new(&self.handle, name, &self.handle, new)?)
    }

    /// Gives a file a second name; fails if that is taken.
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

    /// Makes all names in the directory durable.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Makes everything on the file system durable.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        Ok(syncfs(&self.handle)?)
    }
}

/// Opens a directory; fails for anything else.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    Ok(openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?
    .into())
}

/// Device and inode of the file with this status.
pub(super) fn id(found: &Stat) -> FileId {
    (found.st_dev, found.st_ino)
}

pub(super) fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// Renames a file, but never over another one.
fn rename_new(from: impl AsFd, name: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
        // This file system has no such rename. A link to a name that exists fails, too.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(&from, name, &to, new, AtFlags::empty())?;
            unlinkat(&from, name, AtFlags::empty())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
