//! The index's files in the directory.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::opened::{FileId, Opened};
use super::line::{self, Fate};
use super::owners::Owners;
use super::place::WrittenIn;
use super::replay::LoadError;
use super::seen::Seen;
use super::table::Table;

/// The name of the index in its directory. No stored file's name begins like it.
pub(super) const NAME: &str = ".bilico-index";

/// The name under which the index is rewritten.
pub(super) const PART: &str = ".bilico-index.part";

/// How many names are tried for an index that is set aside.
const MAX_ASIDE: u64 = 1000;

/// An index that was just written, open for reading and locked.
pub(super) struct Written {
    pub(super) file: File,
    pub(super) id: FileId,
    /// Its length in bytes.
    pub(super) len: u64,
    pub(super) lines: u64,
}

/// All that an index keeps.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    pub(super) table: &'a Table,
    pub(super) seen: &'a Seen,
    pub(super) owners: &'a Owners,
}

/// Device and inode of an open file.
pub(super) fn id_of(file: &File) -> io::Result<FileId> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// Writes an index under the name [`PART`] and syncs it.
pub(super) fn write_whole(dir: &Opened, identity: &str, kept: Kept<'_>) -> io::Result<Written> {
    remove_part(dir)?;
    let file = dir.create(PART)?;
    lock(&file)?;
    let lines = write_lines(dir, &file, identity, kept)?;
    file.sync_all()?;
    let id = id_of(&file)?;
    drop(file);
    let file = dir.read(PART)?;
    if id_of(&file)? != id {
        return Err(io::Error::other(format!("{PART} was replaced")));
    }
    lock(&file)?;
    let len = file.metadata()?.len();
    Ok(Written {
        file,
        id,
        len,
        lines,
    })
}

/// Writes all lines of an index, and returns their number.
fn write_lines(
    dir: &Opened,
    file: &File,
    identity: &str,
    Kept {
        table,
        seen,
        owners,
    }: Kept<'_>,
) -> io::Result<u64> {
    let mut writer = BufWriter::with_capacity(256 * 1024, file);
    let mut out = Vec::new();
    line::push_identity(&mut out, identity);
    line::push_written_in(&mut out, WrittenIn::of(dir.handle(), file)?);
    line::push_complete(&mut out, seen.is_complete);
    let mut lines = 3;
    // Before the entries, since a `confirmed` removes what was stored before it.
    for (journal, number) in seen.oldest_first() {
        lines += line::push_fate(&mut out, Fate::Confirmed, journal, &[number]);
    }
    for (journal, balancer) in owners.iter() {
        line::push_owner(&mut out, balancer, journal);
        lines += 1;
    }
    for (journal, number, entry) in table.iter() {
        line::push_storing(&mut out, journal, number, entry);
        let fate = if entry.shared {
            Fate::Shared
        } else {
            Fate::Stored
        };
        lines += 1 + line::push_fate(&mut out, fate, journal, &[number]);
        writer.write_all(&out)?;
        out.clear();
    }
    writer.write_all(&out)?;
    writer.flush()?;
    Ok(lines)
}

/// Removes what an interrupted attempt has left. Anything that this server cannot have written
/// stays, and is an error.
fn remove_part(dir: &Opened) -> io::Result<()> {
    let part = match dir.read(PART) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // It need not be readable to be removed.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return dir.remove(PART),
        part => part?,
    };
    lock(&part)?;
    dir.remove(PART)
}

pub(super) fn open_file(dir: &Opened) -> Result<File, LoadError> {
    match dir.read(NAME) {
        Ok(file) => {
            lock(&file)?;
            Ok(file)
        }
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => LoadError::Missing,
            io::ErrorKind::PermissionDenied => LoadError::Damaged(error.to_string()),
            _ => error.into(),
        }),
    }
}

/// Keeps other servers from using this index, even if the directory was replaced while two servers
/// ran.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other(
            "another server uses this directory's index",
        )),
        _ => Ok(()),
    }
}

/// Renames an index that cannot be read, and returns its new path.
pub(super) fn set_aside(dir: &Opened) -> io::Result<PathBuf> {
    aside(dir, |name| dir.rename(NAME, name))
}

/// Puts a damaged index under a free name, where an operator can look at it.
pub(super) fn aside(dir: &Opened, put: impl Fn(&str) -> io::Result<()>) -> io::Result<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let names = (now..now + MAX_ASIDE).map(|time| format!("{NAME}.damaged-{time}"));
    for name in names {
        match put(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| dir.path().join(name)),
        }
    }
    Err(io::Error::other(format!(
        "{MAX_ASIDE} damaged indexes have names like {NAME}.damaged-{now}: remove them"
    )))
}
