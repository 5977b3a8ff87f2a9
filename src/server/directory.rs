//! The directory of a server, for as long as it is the one that lies under its path.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::config::ReadableBy;
use super::opened::Opened;

/// The directory that was found first under a path, and no other.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Whether files without names may be used where the file system has them.
    may_be_unnamed: bool,
    readable_by: ReadableBy,
    opened: OnceLock<Arc<Opened>>,
    /// Why nothing is stored in it any more, once it was moved, removed or replaced.
    lost: OnceLock<String>,
}

impl Directory {
    /// The directory under `path`, which is opened when it is first needed.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            may_be_unnamed: true,
            readable_by: ReadableBy::Owner,
            opened: OnceLock::new(),
            lost: OnceLock::new(),
        }
    }

    /// The same, with files that these may read.
    #[must_use]
    pub(super) fn readable_by(self, readable_by: ReadableBy) -> Self {
        Self {
            readable_by,
            ..self
        }
    }

    /// Like [`Self::new`], as on a file system that has no files without names.
    #[cfg(test)]
    pub(super) fn with_names_only(path: &Path) -> Self {
        Self {
            may_be_unnamed: false,
            ..Self::new(path)
        }
    }

    /// The open directory, if it still lies under its path. Files that are stored in a directory
    /// that was moved are not where their readers look for them.
    pub(super) fn now(&self) -> io::Result<Arc<Opened>> {
        if let Some(lost) = self.lost() {
            return Err(io::Error::other(lost));
        }
        let there = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
        match (self.opened.get(), there) {
            (Some(opened), Ok(there)) if opened.id() == there => Ok(opened.clone()),
            (Some(opened), Ok(there)) if opened.id().0 != there.0 => {
                Err(self
                    .lose("moved to another file system, because one was mounted or unmounted,"))
            }
            (Some(_), Ok(_)) => Err(self.lose("was replaced by another one")),
            (Some(_), Err(error)) if is_gone(&error) => Err(self.lose("was moved or removed")),
            (_, Err(error)) => Err(about(&self.path.display(), &error)),
            (None, Ok(_)) => self
                .open()
                .map_err(|error| about(&self.path.display(), &error)),
        }
    }

    fn open(&self) -> io::Result<Arc<Opened>> {
        let new = Arc::new(Opened::open(
            &self.path,
            self.may_be_unnamed,
            self.readable_by,
        )?);
        Ok(self.opened.get_or_init(|| new).clone())
    }

    /// Gives the directory up, because of what happened to it: from now on nothing is stored in it.
    /// Returns the error for the caller. The first reason counts.
    pub(super) fn lose(&self, what: &str) -> io::Error {
        let path = self.path.display();
        let text = || {
            format!(
                "the directory {path} {what} while the server ran: nothing is stored in it any more"
            )
        };
        io::Error::other(self.lost.get_or_init(text).clone())
    }

    /// Why nothing is stored in it any more; `None` as long as it is in place.
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

/// Puts what an error is about before its text.
fn about(what: &dyn std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests;
