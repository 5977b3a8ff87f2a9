//! A directory of the operating system, as the journal uses it.
//!
//! The directory is opened once, and everything is done relative to that handle, so that two
//! directories are never mixed, whatever is moved, replaced or mounted meanwhile. Links are not
//! followed, and only regular files are opened.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, Stat};

use super::closer::Closer;
use super::disk::{DirEntry, Disk, DiskFile, FileId, Space};

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    dir: File,
    id: FileId,
    /// Absolute, so that it does not depend on the working directory.
    path: PathBuf,
    is_read_only: bool,
    closer: Closer,
}

impl RealDisk {
    /// The directory `dir`, which must exist.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Self::with(dir, false)
    }

    /// The same for reading only, which needs no permission to write.
    pub fn read_only(dir: &Path) -> io::Result<Self> {
        Self::with(dir, true)
    }

    fn with(dir: &Path, is_read_only: bool) -> io::Result<Self> {
        let opened = open_dir(dir)?;
        let id = id_of(&opened)?;
        // Without permission for a directory above, only the relative path can be used.
        let absolute = std::path::absolute(dir)
            .ok()
            .filter(|path| fs::metadata(path).is_ok());
        Ok(Self {
            dir: opened,
            id,
            path: absolute.unwrap_or_else(|| dir.to_owned()),
            is_read_only,
            closer: Closer::default(),
        })
    }

    /// The identity of the directory.
    pub fn id(&self) -> FileId {
        self.id
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // `NONBLOCK`, so that a pipe of this name cannot block us.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            &self.dir,
            name,
            flags,
            // Files of others wait in it.
            Mode::from_raw_mode(0o600),
        )?))
    }
}

/// Opens a directory.
pub(super) fn open_dir(dir: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(
        CWD,
        dir,
        flags,
        Mode::empty(),
    )?))
}

/// The identity of a file or directory.
pub(super) fn id_of(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok(FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::useless_conversion, reason = "not so on every platform")
)]
fn id_in(stat: &Stat) -> FileId {
    FileId {
        device: stat.st_dev.into(),
        inode: stat.st_ino.into(),
    }
}

/// Whether the error says that a path leads nowhere.
fn is_gone(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE
    )
}

/// The error for a name that is not a regular file.
pub(super) fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let entry = |name: &CStr| {
            // Our own names are UTF-8.
            let Ok(name) = name.to_str() else {
                return Ok(None);
            };
            match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                    let len = u64::try_from(stat.st_size).unwrap_or(0);
                    Ok(Some(DirEntry {
                        name: name.to_owned(),
                        len,
                        is_file,
                    }))
                }
                // Beside a running balancer files come and go.
                Err(rustix::io::Errno::NOENT) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        let found = Dir::read_from(&self.dir)?.map(|found| entry(found?.file_name()));
        let named = |entry: &DirEntry| entry.name != "." && entry.name != "..";
        Ok(found
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .filter(named)
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mode = if self.is_read_only {
            OFlags::RDONLY
        } else {
            OFlags::RDWR
        };
        let opened = self
            .open_file(name, mode)
            .map_err(|error| match error.raw_os_error() {
                // A link, a directory, a socket or a device without a driver.
                Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => not_regular(),
                _ => error,
            })?;
        if opened.metadata()?.is_file() {
            Ok(Arc::new(RealFile(opened)))
        } else {
            Err(not_regular())
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn close(&self, removed: Arc<dyn DiskFile>) {
        self.closer.close(removed);
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::fstatvfs(&self.dir)?;
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn is_in_place(&self) -> io::Result<bool> {
        match rustix::fs::stat(&self.path) {
            Ok(stat) => Ok(id_in(&stat) == self.id),
            Err(error) if is_gone(error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        match rustix::fs::lstat(self.path.join(name)) {
            Ok(stat) => Ok(Some(id_in(&stat))),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn describe(&self) -> (String, Option<String>) {
        let now = fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd())).ok();
        // The path of a directory that was unmounted or mounted over leads nowhere or elsewhere.
        let leads_there = |path: &PathBuf| {
            fs::metadata(path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (self.id.device, self.id.inode))
        };
        let now = now
            .filter(leads_there)
            .map(|path| path.display().to_string());
        (self.path.display().to_string(), now)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn id(&self) -> io::Result<FileId> {
        id_of(&self.0)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(
            &self.0,
            FallocateFlags::empty(),
            0,
            len,
        )?)
    }
}
