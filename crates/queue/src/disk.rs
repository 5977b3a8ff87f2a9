//! What the journal needs of a disk, so that tests can give it one that crashes.
//!
//! A [`Disk`] is one flat directory. Nothing is lasting until it is synced: a file's bytes by
//! [`DiskFile::sync`], names (created, renamed, removed) by [`Disk::sync_dir`].

use std::io;
use std::sync::Arc;

pub use super::real::RealDisk;

/// What has a name in a [`Disk`], as [`Disk::list`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is a regular file, and not a link, a directory or a pipe.
    pub is_file: bool,
}

/// Which file it is, whatever its name: no other has the same while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
}

/// How much room a disk has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it, used or not.
    pub total: u64,
    /// What can still be written.
    pub available: u64,
}

/// A flat directory. Links in it are not followed.
pub trait Disk: Send + Sync {
    /// All that it holds, in any order.
    fn list(&self) -> io::Result<Vec<DirEntry>>;

    /// Makes a file; an error if the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a regular file to be read and written.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name; a file that had it is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. It can be read on through handles that are open.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes lasting which names there are.
    fn sync_dir(&self) -> io::Result<()>;

    /// How much room there is.
    fn space(&self) -> io::Result<Space>;

    /// Whether the directory still lies where it was opened: who opens it next finds there what was
    /// written.
    fn is_in_place(&self) -> io::Result<bool>;

    /// Which file has this name where the directory was opened, also if another lies there now;
    /// `None` if none has.
    fn id_of(&self, name: &str) -> io::Result<Option<FileId>>;

    /// What the directory is called in messages, and where it lies now, if that can be told.
    fn describe(&self) -> (String, Option<String>) {
        ("the directory".to_owned(), None)
    }
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

    /// Which file it is.
    fn id(&self) -> io::Result<FileId>;

    /// Makes it this long and takes the room for it on the disk, so that removing it surely gives
    /// some back.
    fn allocate(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < len {
            let step = usize::try_from(len - offset)
                .unwrap_or(usize::MAX)
                .min(zeros.len());
            write_all_with(
                |bytes, at| self.write_at(bytes, at),
                zeros.get(..step).unwrap_or_default(),
                offset,
            )?;
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
