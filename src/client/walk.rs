//! The files that paths lead to, and what is left out of folders.
//!
//! Invariant: every entry of a folder is either among the files or told as left out, whatever it is
//! and whatever fails meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::source::{Form, Source};
use crate::numbers::plural;
use crate::text::{listed, printable_path};

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Those in folders are left out, as something that failed: they may lead anywhere.
    #[default]
    Tell,
    /// All are left out, because that is wanted.
    Skip,
    /// All are followed.
    Follow,
}

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A symbolic link that was not followed, or that leads nowhere.
    Link,
    /// A symbolic link back to a folder that it is in, whose files are among the others.
    Circle,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// A folder that cannot be read, or that has gone.
    Folder,
    /// Something else, or an entry that has gone.
    Entry,
}

impl Kind {
    /// Its name in the singular, in the plural, and as JSON has it.
    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Link => ("link", "links", "link"),
            Self::Circle => (
                "link back to its own directory",
                "links back to their own directories",
                "circle",
            ),
            Self::Fifo => ("fifo", "fifos", "fifo"),
            Self::Socket => ("socket", "sockets", "socket"),
            Self::Device => ("device", "devices", "device"),
            Self::Folder => (
                "unreadable directory",
                "unreadable directories",
                "directory",
            ),
            Self::Entry => ("unreadable entry", "unreadable entries", "entry"),
        }
    }

    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        self.names().2
    }

    /// Whether it is a link that could be followed or skipped.
    pub const fn is_link(self) -> bool {
        matches!(self, Self::Link)
    }

    /// What an entry is that is neither a file nor a folder.
    fn of(kind: FileType) -> Self {
        match kind {
            kind if kind.is_symlink() => Self::Link,
            kind if kind.is_fifo() => Self::Fifo,
            kind if kind.is_socket() => Self::Socket,
            kind if kind.is_block_device() || kind.is_char_device() => Self::Device,
            _ => Self::Entry,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Link => "it is a symbolic link",
            Self::Circle => "it leads back to a directory that it is in",
            Self::Fifo => "it is a fifo",
            Self::Socket => "it is a socket",
            Self::Device => "it is a device",
            Self::Folder | Self::Entry => "it is neither a file nor a directory",
        }
    }
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Why it was left out.
    pub reason: String,
    /// Whether that was wanted, or loses nothing.
    pub is_fine: bool,
}

/// A path leads to a folder, and folders were not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is a directory", printable_path(.0))]
pub struct IsFolder(pub PathBuf);

/// What paths lead to.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The files.
    pub sources: Vec<Source>,
    /// What was left out of folders.
    pub left_out: Vec<LeftOut>,
}

impl Found {
    /// Adds what is at a path that somebody named: a file, or with `recursive` all files in a folder.
    /// A link is followed then, unless all are skipped. A missing or unreadable file is added, too:
    /// its trouble is told when its turn comes. Blocks.
    pub fn add(
        &mut self,
        path: &Path,
        form: Form,
        links: Links,
        recursive: bool,
    ) -> Result<(), IsFolder> {
        if links == Links::Skip && is_link(path) {
            self.leave_out(path, Kind::Link, Kind::Link.reason(), true);
        } else if !fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            self.sources.push(Source::named(path, form));
        } else if recursive {
            self.add_folder(path, form, links);
        } else {
            return Err(IsFolder(path.to_owned()));
        }
        Ok(())
    }

    /// Adds all files in a folder and below it, by name. What cannot be read is left out, and the
    /// rest goes on. Blocks.
    pub fn add_folder(&mut self, folder: &Path, form: Form, links: Links) {
        let walk = WalkDir::new(folder)
            .follow_links(links == Links::Follow)
            .sort_by_file_name();
        for entry in walk {
            match entry {
                Ok(entry) => self.add_entry(folder, &entry, form, links),
                Err(error) => self.add_error(folder, error),
            }
        }
    }

    fn add_entry(&mut self, folder: &Path, entry: &DirEntry, form: Form, links: Links) {
        let kind = entry.file_type();
        if kind.is_file() {
            self.sources.push(Source::below(folder, entry.path(), form));
        } else if !kind.is_dir() && entry.path() != folder {
            let kind = Kind::of(kind);
            let is_fine = kind == Kind::Link && links == Links::Skip;
            self.leave_out(entry.path(), kind, kind.reason(), is_fine);
        }
    }

    fn add_error(&mut self, folder: &Path, error: walkdir::Error) {
        let path = error.path().unwrap_or(folder).to_owned();
        if error.loop_ancestor().is_some() {
            self.leave_out(&path, Kind::Circle, Kind::Circle.reason(), true);
            return;
        }
        let reason = error.into_io_error().map_or_else(
            || Kind::Entry.reason().to_owned(),
            |error| error.to_string(),
        );
        match fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_symlink() => {
                let reason = format!("{}, and what it leads to: {reason}", Kind::Link.reason());
                self.leave_out(&path, Kind::Link, &reason, false);
            }
            Ok(kind) if kind.is_dir() => self.leave_out(&path, Kind::Folder, &reason, false),
            _ => self.leave_out(&path, Kind::Entry, &reason, false),
        }
    }

    fn leave_out(&mut self, path: &Path, kind: Kind, reason: &str, is_fine: bool) {
        self.left_out.push(LeftOut {
            path: path.to_owned(),
            kind,
            reason: reason.to_owned(),
            is_fine,
        });
    }

    /// Those that were left out against the wish of whoever asked for them.
    pub fn missed(&self) -> impl Iterator<Item = &LeftOut> {
        self.left_out.iter().filter(|entry| !entry.is_fine)
    }
}

/// Counts by kind: `3 links and 1 fifo`. Empty if there are none.
pub fn count<'a>(left_out: impl Iterator<Item = &'a LeftOut>) -> String {
    let mut counts = BTreeMap::<Kind, usize>::new();
    for entry in left_out {
        *counts.entry(entry.kind).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(kind, count)| plural(count, kind.names().0, kind.names().1))
        .collect();
    listed(&counts)
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
