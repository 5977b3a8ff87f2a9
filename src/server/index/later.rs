//! What the directory says beyond its index: files that are missing, newer, or copies. It is
//! logged, for a person to act on.

use std::io;

use super::super::name::number_of;
use super::super::opened::Opened;
use super::live::Index;
use super::place::Moved;

/// The most entries whose files are looked for when the index is opened.
const MAX_LOOKED_FOR: usize = 100_000;

/// The most names in the directory that are looked at when the index is opened.
const MAX_LISTED: usize = 1_000_000;

/// The most names of missing files in a log line.
const MAX_NAMED: usize = 5;

impl Index {
    /// Logs whether the directory, or the index alone, is a copy of the one that was here, and
    /// which files are missing.
    pub(super) fn report_moved(&self, moved: Moved) {
        let dir = self.dir.path().display();
        let identity = &*self.identity;
        match moved {
            Moved::Directory => tracing::warn!(
                %dir,
                identity,
                "the directory was copied, restored or moved from another file system since it \
                 was last used. If it is a copy, and the original is still in use: stop this \
                 server and remove .bilico-index from the copy, because two servers of one \
                 identity are taken for one. If it was restored: files that were stored since \
                 are not here, and `bilico verify` finds them"
            ),
            Moved::File => tracing::warn!(
                %dir,
                identity,
                "the index was copied or restored since it was last used: files that were stored \
                 meanwhile are not in it, and a balancer that has no acknowledgement of them has \
                 them stored a second time. `bilico verify` finds such files"
            ),
            Moved::No => {}
        }
        self.report_missing(moved);
    }

    /// Logs which entries have no file. Their consumers may have taken the files, so nothing else
    /// follows from it.
    fn report_missing(&self, moved: Moved) {
        let entries = || self.table.iter().take(MAX_LOOKED_FOR);
        let mut gone = entries()
            .filter(|(.., entry)| self.is_missing(&entry.name))
            .map(|(.., entry)| &*entry.name);
        let names: Vec<&str> = gone.by_ref().take(MAX_NAMED).collect();
        if names.is_empty() {
            return;
        }
        let missing = names.len() + gone.count();
        let of = entries().count();
        let names = names.join(", ");
        if moved == Moved::Directory {
            tracing::warn!(
                missing,
                of,
                names,
                "files that count as stored are not here: taken, or not copied"
            );
        } else {
            tracing::info!(
                missing,
                of,
                names,
                "files that are not confirmed yet are not here any more: taken"
            );
        }
    }

    /// Logs which files are here that have higher numbers than the index knows, and records the
    /// highest of them.
    pub(super) fn report_later(&mut self, log: bool) -> io::Result<()> {
        let later = Later::than(&self.dir, self.seen.highest())?;
        if later.files == 0 {
            return Ok(());
        }
        if log {
            tracing::warn!(
                dir = %self.dir.path().display(),
                files = later.files,
                highest = later.highest,
                known = self.seen.highest(),
                "files are here that are newer than all that the index knows: the index was \
                 restored, or another program put them here. Balancers are not told of them; \
                 `bilico verify` finds those that are stored twice"
            );
        }
        self.note(later.highest);
        Ok(())
    }

    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.dir
            .found(name)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// The stored files with numbers above a given one.
pub(super) struct Later {
    pub(super) files: u64,
    pub(super) highest: u64,
}

impl Later {
    /// Counts the stored files with numbers above `number`, and finds the highest number.
    pub(super) fn than(dir: &Opened, number: u64) -> io::Result<Self> {
        let mut later = Self {
            files: 0,
            highest: number,
        };
        for name in dir.names()?.take(MAX_LISTED) {
            let found = number_of(name?.to_bytes()).unwrap_or(0);
            later.files += u64::from(found > number);
            later.highest = later.highest.max(found);
        }
        Ok(later)
    }
}
