//! Looks at the files of a folder.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::Found;
use super::folder::How;
use super::rules::{OWN, Rules, is_own};

/// The folder, and what of it is looked at.
#[derive(Debug)]
pub(super) struct Ground {
    /// The folder.
    pub(super) root: PathBuf,
    /// Whether folders in it are looked at as well.
    pub(super) recursive: bool,
    /// Folders that are never entered: where files are moved to, and the state.
    pub(super) closed: Vec<PathBuf>,
    /// Which files are taken.
    pub(super) rules: Rules,
}

/// What was found under a path.
#[derive(Debug)]
pub(super) enum Thing {
    /// A file to take, the place of its rule, and how it was found.
    File(Found, usize, How),
    /// A file that was put aside by a watcher that was killed.
    Aside(Found),
    /// A folder in the folder, which is looked at as well.
    Folder(Arc<Path>),
    /// It is left alone, and people should know why.
    Skipped(PathBuf, String),
}

impl Ground {
    /// The path itself.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// Looks at the whole folder. Says whether all of it could be read.
    pub(super) fn walk(&self, mut tell: impl FnMut(Thing)) -> io::Result<bool> {
        let mut waiting = vec![PathBuf::new()];
        let mut is_whole = true;
        while let Some(dir) = waiting.pop() {
            match self.walk_one(&dir, &mut tell, &mut waiting) {
                Ok(()) => {}
                Err(error) if dir.as_os_str().is_empty() => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::NotFound => is_whole = false,
                Err(error) => {
                    is_whole = false;
                    tell(Thing::Skipped(
                        dir,
                        format!("the folder cannot be read: {error}"),
                    ));
                }
            }
        }
        Ok(is_whole)
    }

    fn walk_one(
        &self,
        dir: &Path,
        tell: &mut impl FnMut(Thing),
        waiting: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        let markers = self.markers(dir)?;
        for entry in fs::read_dir(self.at(dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    tell(Thing::Skipped(path, error.to_string()));
                    continue;
                }
            };
            if kind.is_dir() {
                if self.enters(&path) {
                    tell(Thing::Folder(path.as_path().into()));
                    waiting.push(path);
                }
                continue;
            }
            let is_marked = || {
                markers
                    .as_ref()
                    .is_none_or(|names| names.contains(&entry.file_name()))
            };
            let is_aside = is_aside(&path);
            if !is_aside && (self.rules.place(&path).is_none() || !is_marked()) {
                continue;
            }
            if !kind.is_file() {
                tell(Thing::Skipped(path, what(kind)));
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(thing) = self.thing(&path.into(), &metadata, How::There) {
                tell(thing);
            }
        }
        Ok(())
    }

    /// Whether a folder in the folder is looked at.
    fn enters(&self, path: &Path) -> bool {
        self.recursive && self.rules.is_open(path) && !self.closed.contains(&self.at(path))
    }

    /// The names of the files that have a marker, if files need one.
    fn markers(&self, dir: &Path) -> io::Result<Option<HashSet<OsString>>> {
        if self.rules.marker.is_none() {
            return Ok(None);
        }
        let mut names = HashSet::new();
        for entry in fs::read_dir(self.at(dir))? {
            let marked = self.rules.marked_by(Path::new(&entry?.file_name()));
            names.extend(marked.map(PathBuf::into_os_string));
        }
        Ok(Some(names))
    }

    /// Looks at one path below the folder, of which something was told. `None` if there is nothing
    /// to take; an error if there is nothing at all.
    pub(super) fn look(&self, path: &Path, how: How) -> io::Result<Option<Thing>> {
        let its_file = self.rules.marked_by(path);
        let path = its_file.as_deref().unwrap_or(path);
        let full = self.at(path);
        let metadata = fs::symlink_metadata(&full)?;
        if metadata.is_dir() {
            return Ok(self.enters(path).then(|| Thing::Folder(path.into())));
        }
        if self.rules.place(path).is_none() {
            return Ok(None);
        }
        let marker = self.rules.marker_of(path);
        if marker.is_some_and(|marker| fs::symlink_metadata(self.at(&marker)).is_err()) {
            return Ok(None);
        }
        if !metadata.is_file() {
            return Ok(Some(Thing::Skipped(
                path.to_owned(),
                what(metadata.file_type()),
            )));
        }
        Ok(self.thing(&path.into(), &metadata, how))
    }

    fn thing(&self, path: &Arc<Path>, metadata: &Metadata, how: How) -> Option<Thing> {
        let place = self.rules.place(path);
        let found = Found::new(Arc::clone(path), metadata);
        match place {
            Some(place) => {
                let how = if self.rules.marker.is_some() {
                    How::Whole
                } else {
                    how
                };
                Some(Thing::File(found, place, how))
            }
            None => is_aside(path).then_some(Thing::Aside(found)),
        }
    }
}

/// Whether a file was put aside to be deleted.
fn is_aside(path: &Path) -> bool {
    is_own(path.file_name()) && aside_of(path).is_some()
}

/// The entry for which a file was put aside.
pub(super) fn aside_of(path: &Path) -> Option<(u64, &str)> {
    let rest = path.file_name()?.to_str()?.strip_prefix(OWN)?;
    let (n, name) = rest.strip_prefix("taken-")?.split_once('-')?;
    Some((n.parse().ok()?, name))
}

fn what(kind: FileType) -> String {
    let what = if kind.is_symlink() {
        "a symbolic link, which is not followed"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    format!("not a regular file but {what}")
}
