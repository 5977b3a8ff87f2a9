//! The log of one role as one stream of lines, across its rotated files, and while it is written
//! and rotated.
//!
//! A file is identified by its device and inode, never by its name: `balancer.log` may be
//! `balancer.log.1` by the time it has been read. The file that is being read is held open, so its
//! inode cannot be reused.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::line::{self, Head};

/// The longest line, in bytes. The rest of a longer one counts as a continuation line.
const MAX_LINE: usize = 256 * 1024;

/// Size of a read, in bytes.
const READ: usize = 64 * 1024;

/// Highest number of a rotated file.
const MOST_ROTATED: usize = 100_000;

/// How often a file is looked for again that is renamed meanwhile.
const TRIES: usize = 100;

type Id = (u64, u64);

fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// The roles with log files in a directory: the files' names without `.log`.
pub(super) fn roles(dir: &Path) -> io::Result<Vec<String>> {
    let mut roles = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let role = name.strip_suffix(".log").or_else(|| {
            let (role, number) = name.rsplit_once(".log.")?;
            number.parse::<usize>().is_ok().then_some(role)
        });
        roles.extend(role.filter(|role| !role.is_empty()).map(str::to_owned));
    }
    roles.sort();
    roles.dedup();
    Ok(roles)
}

/// A line, or a part of one that is too long.
#[derive(Debug)]
pub(super) struct Line {
    /// The bytes of the file, with the line end if there is one.
    pub(super) bytes: Vec<u8>,
    /// `None` for a continuation of the line before.
    pub(super) head: Option<Head>,
}

/// The log of one role.
#[derive(Debug)]
pub(super) struct Source {
    /// The role, e.g. `server-5001`.
    pub(super) role: String,
    path: PathBuf,
    open: Option<Open>,
    /// Files that were read to their end and still exist.
    done: Vec<Id>,
    /// The next line.
    pub(super) next: Option<Line>,
    /// The time of the latest line that had one; the key for merging.
    pub(super) time_ms: i64,
    /// Whether the file was truncated since this was last read.
    pub(super) was_cut: bool,
}

#[derive(Debug)]
struct Open {
    reader: BufReader<File>,
    id: Id,
    /// How many bytes were read.
    position: u64,
    /// The start of a line whose end was not written yet.
    partial: Vec<u8>,
    /// Whether the next bytes continue a line that was too long.
    in_line: bool,
}

impl Source {
    /// The log of this role, from its first file that was written to at `since` or later.
    pub(super) fn new(dir: &Path, role: &str, since: Option<SystemTime>) -> Self {
        let path = dir.join(format!("{role}.log"));
        let mut source = Self {
            role: role.to_owned(),
            path,
            open: None,
            done: Vec::new(),
            next: None,
            time_ms: i64::MIN,
            was_cut: false,
        };
        if let Some(since) = since {
            let family = source.family().unwrap_or_default();
            let older = |found: &&Metadata| found.modified().is_ok_and(|modified| modified < since);
            source.done = family.values().rev().take_while(older).map(id).collect();
        }
        source
    }

    /// Reads the next line into `next` unless it has one. An incomplete line at the end of the
    /// newest file counts only with `to_the_end`.
    pub(super) fn fill(&mut self, to_the_end: bool) -> io::Result<()> {
        while self.next.is_none() {
            let Some(open) = &mut self.open else {
                if self.advance()? {
                    continue;
                }
                return Ok(());
            };
            if let Some(bytes) = open.line()? {
                self.take(bytes);
                continue;
            }
            // Look again after finding a newer file: lines may have been written to this one before
            // it was rotated.
            let newer = self.newer()?;
            let Some(open) = &mut self.open else { continue };
            if newer.is_some() || to_the_end {
                if let Some(bytes) = open.line()? {
                    self.take(bytes);
                } else if !open.partial.is_empty() {
                    let mut bytes = std::mem::take(&mut open.partial);
                    bytes.push(b'\n');
                    self.take(bytes);
                } else if let Some(newer) = newer {
                    self.done.push(open.id);
                    self.open = Some(newer);
                } else {
                    return Ok(());
                }
            } else {
                self.was_cut |= open.rewind_if_cut()?;
                if !open.has_more()? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: Vec<u8>) {
        let goes_on = !bytes.ends_with(b"\n");
        let is_rest = self
            .open
            .as_mut()
            .is_some_and(|open| std::mem::replace(&mut open.in_line, goes_on));
        let head = if is_rest { None } else { line::head(&bytes) };
        if let Some(head) = head {
            self.time_ms = self.time_ms.max(head.time_ms);
        }
        self.next = Some(Line { bytes, head });
    }

    /// Opens the first file; `false` if none exists.
    fn advance(&mut self) -> io::Result<bool> {
        self.open = self.newer()?;
        Ok(self.open.is_some())
    }

    /// The existing files by their number; the newest is number 0. `None` if they are renamed all
    /// the time.
    ///
    /// Listing a directory while files are renamed in it may show some of them twice, or not at
    /// all. So a listing counts only when a second one is equal.
    fn family(&self) -> Option<BTreeMap<usize, Metadata>> {
        let mut before = self.look();
        for _ in 0..TRIES {
            let now = self.look();
            let same = now.len() == before.len()
                && now
                    .iter()
                    .zip(&before)
                    .all(|(a, b)| a.0 == b.0 && id(a.1) == id(b.1));
            if same {
                return Some(now);
            }
            before = now;
        }
        None
    }

    fn look(&self) -> BTreeMap<usize, Metadata> {
        let (Some(dir), Some(name)) = (
            self.path.parent(),
            self.path.file_name().and_then(|name| name.to_str()),
        ) else {
            return BTreeMap::new();
        };
        let mut family = BTreeMap::new();
        // A directory that does not exist now counts as empty; it may come back.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let found = entry.file_name();
            let number = found
                .to_str()
                .and_then(|found| match found.strip_prefix(name)? {
                    "" => Some(0),
                    rest => rest
                        .strip_prefix('.')?
                        .parse()
                        .ok()
                        .filter(|number| (1..=MOST_ROTATED).contains(number)),
                });
            if let Some(number) = number
                && let Ok(metadata) = fs::metadata(entry.path())
                && metadata.is_file()
            {
                family.insert(number, metadata);
            }
        }
        family
    }

    fn path_of(&self, number: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        if number > 0 {
            path.push(format!(".{number}"));
        }
        path.into()
    }

    /// Opens the file after the open one, or the oldest unread one.
    fn newer(&mut self) -> io::Result<Option<Open>> {
        for _ in 0..TRIES {
            let Some(family) = self.family() else {
                return Ok(None);
            };
            self.done
                .retain(|done| family.values().any(|found| id(found) == *done));
            let ours = self.open.as_ref().map(|open| open.id);
            let place = family
                .iter()
                .find(|(_, found)| Some(id(found)) == ours)
                .map(|(number, _)| *number);
            let unread = |(_, found): &(&usize, &Metadata)| !self.done.contains(&id(found));
            let next = match place {
                Some(place) => family.range(..place).next_back(),
                None => family.iter().rev().find(unread),
            };
            let Some((number, expected)) = next else {
                return Ok(None);
            };
            match File::open(self.path_of(*number)) {
                Ok(file) => {
                    let found = file.metadata()?;
                    if id(&found) == id(expected) {
                        return Ok(Some(Open::new(file, id(&found))));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            // The file was rotated between the listing and the opening.
        }
        Ok(None)
    }
}

impl Open {
    fn new(file: File, id: Id) -> Self {
        let reader = BufReader::with_capacity(READ, file);
        Self {
            reader,
            id,
            position: 0,
            partial: Vec::new(),
            in_line: false,
        }
    }

    /// The next line, or [`MAX_LINE`] bytes of it. `None` if the file has no complete line now.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let room = MAX_LINE - self.partial.len();
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                return Ok(None);
            }
            let end = memchr::memchr(b'\n', buffer).map(|end| end + 1);
            let len = end.unwrap_or(buffer.len()).min(room);
            self.partial
                .extend_from_slice(buffer.get(..len).unwrap_or_default());
            self.reader.consume(len);
            self.position += len as u64;
            if self.partial.ends_with(b"\n") || self.partial.len() == MAX_LINE {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
        }
    }

    fn has_more(&mut self) -> io::Result<bool> {
        Ok(self.reader.get_ref().metadata()?.len() > self.position)
    }

    /// Starts again from the beginning if the file was truncated.
    fn rewind_if_cut(&mut self) -> io::Result<bool> {
        let is_cut = self.reader.get_ref().metadata()?.len() < self.position;
        if is_cut {
            self.reader.rewind()?;
            self.position = 0;
            self.partial.clear();
            self.in_line = false;
        }
        Ok(is_cut)
    }
}
