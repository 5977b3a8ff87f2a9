//! What the journal needs of a disk, so that tests can give it one that crashes.
//!
//! A [`Disk`] is one flat directory. Nothing is lasting until it is synced: a file's bytes by [`DiskFile::sync`], names
//! (created, renamed, removed) by [`Disk::sync_dir`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::statvfs;

/// A file in a [`Disk`], as [`Disk::list`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// How much room a disk has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it, used or not.
    pub total: u64,
    /// What can still be written.
    pub available: u64,
}

/// What a file must outlive before it counts as accepted, or as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// Once it is synced to disk: then it survives kills, crashes and power cuts
    Disk,
    /// Once the system has it: then it survives the process's death, not the machine's
    Os,
}

/// A flat directory.
pub trait Disk: Send + Sync {
    /// The files in it, in any order.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Makes a file that does not exist yet.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to be read and written.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name; a file that had it is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. It can be read on through handles that are open.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes lasting which names there are.
    fn sync_dir(&self) -> io::Result<()>;

    /// How much room there is.
    fn space(&self) -> io::Result<Space>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes at `offset`, perhaps not all of `bytes`, and says how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads at `offset`, perhaps less than fits, and says how many bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes its bytes and its length lasting.
    fn sync(&self) -> io::Result<()>;

    /// Cuts it, or fills it up with zeros, to this length.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Makes it this long and takes the room for it on the disk, so that removing it surely gives some back.
    fn allocate(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < len {
            let step = usize::try_from(len - offset).unwrap_or(usize::MAX).min(zeros.len());
            write_all_with(|bytes, at| self.write_at(bytes, at), zeros.get(..step).unwrap_or_default(), offset)?;
            offset += step as u64;
        }
        Ok(())
    }

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Writes all of `bytes` at `offset`.
pub fn write_all_at(file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_all_with(|bytes, offset| file.write_at(bytes, offset), bytes, offset)
}

fn write_all_with(
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
    mut bytes: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads at `offset` until `buffer` is full or the file ends, and says how many bytes.
pub fn read_full_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A directory of the system's.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    /// Held open, so that names can be made lasting when there are no more descriptors.
    handle: OnceLock<File>,
    is_read_only: bool,
}

impl RealDisk {
    /// The directory `dir`, which must exist.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), is_read_only: false, handle: OnceLock::new() }
    }

    /// The same, only to be read: that takes no leave to write.
    pub fn read_only(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), is_read_only: true, handle: OnceLock::new() }
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // What is no file, or not named by us, is none of ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, len: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create_new(true).open(self.dir.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(!self.is_read_only).open(self.dir.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        if let Some(handle) = self.handle.get() {
            return handle.sync_all();
        }
        let opened = File::open(&self.dir)?;
        self.handle.get_or_init(|| opened).sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let found = statvfs(&self.dir)?;
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
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

    fn allocate(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len)?)
    }
}
