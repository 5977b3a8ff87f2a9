//! What the journal needs of a disk, so that tests can give it one that crashes.
//!
//! A [`Disk`] is one flat directory. Nothing is durable until it is synced: a file's bytes by
//! [`DiskFile::sync`], names (created, renamed, removed) by [`Disk::sync_dir`].

use std::io;
use std::sync::Arc;

/// An entry of a [`Disk`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The entry's name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is a regular file; false for a link, a directory or a pipe.
    pub is_file: bool,
}

/// Identifies a file whatever its name is. While the file is open, no other has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The number of the file system.
    pub device: u64,
    /// The number of the file in it.
    pub inode: u64,
}

/// How much room a disk has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All room, used or not.
    pub total: u64,
    /// The room that is left.
    pub available: u64,
}

/// A flat directory. Links in it are not followed.
pub trait Disk: Send + Sync {
    /// All entries, in any order.
    fn list(&self) -> io::Result<Vec<DirEntry>>;

    /// Creates a file; an error if the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a regular file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles can go on reading it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Closes a file that was removed. Its room comes back with the last close of it, which takes long
    /// if it is large: a disk may do it later, beside other work.
    fn close(&self, removed: Arc<dyn DiskFile>) {
        drop(removed);
    }

    /// Makes durable which names exist.
    fn sync_dir(&self) -> io::Result<()>;

    /// How much room there is.
    fn space(&self) -> io::Result<Space>;

    /// Whether the path that the directory was opened by still leads to it, so that whoever opens
    /// that path next finds what was written.
    fn is_in_place(&self) -> io::Result<bool>;

    /// The file with this name at the path that the directory was opened by, which may lead to
    /// another directory by now; `None` if there is no such file.
    fn id_of(&self, name: &str) -> io::Result<Option<FileId>>;

    /// The directory's path for messages, and the path where it is now, if that can be told.
    fn describe(&self) -> (String, Option<String>) {
        ("the directory".to_owned(), None)
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes at `offset` some or all of `bytes`, and gives how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads at `offset` as many bytes as it can at once, and gives how many; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;

    /// Cuts it to this length, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// The identity of the file.
    fn id(&self) -> io::Result<FileId>;

    /// Makes it this long and takes the room for it on the disk, so that removing it gives that
    /// room back.
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

/// Reads at `offset` until `buffer` is full or the file ends, and gives how many bytes.
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
