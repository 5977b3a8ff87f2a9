//! Errors of the journal.

use bilico_core::os_error::{is_full, is_shortage};
use std::io;

/// The file that says which journal this is.
pub const IDENTITY: &str = "journal-id";

/// Why the journal cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("cannot {action} {name} in the journal: {source}")]
    Io {
        /// What was tried, such as `write to`.
        action: &'static str,
        /// The file concerned.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The directory cannot hold a journal.
    #[error("cannot keep a journal in {path}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A sync failed. Trying again does not help: the next sync can succeed without having written
    /// what this one should have.
    #[error("cannot sync {name} in the journal: {source}")]
    Sync {
        /// The file concerned, or the directory.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another balancer holds the journal.
    #[error("the journal {path} is in use by another balancer{}", in_brackets(pid.as_deref()))]
    Locked {
        /// The journal's directory.
        path: String,
        /// The other balancer's process, if the lock file tells.
        pid: Option<String>,
    },
    /// A segment has a format that this version does not know.
    #[error(
        "{name} has version {version} of the journal's format: this program reads version {}; \
         use the version of Bilico that wrote it, or a later one",
        super::segment::MAGIC[7]
    )]
    Version {
        /// The segment.
        name: String,
        /// The version that its header names.
        version: u8,
    },
    /// A segment of another journal is among ours.
    #[error("{name} belongs to another journal: move it out of this directory")]
    Foreign {
        /// The segment.
        name: String,
    },
    /// There are segments, but nothing tells which journal they belong to.
    #[error(
        "no segment of the journal has a readable header, and the file `journal-id` is missing or \
         damaged"
    )]
    NoIdentity,
    /// All segments of a journal are gone. A first start makes a segment before it gives
    /// `journal-id` its name, so this is not a journal that was only begun.
    #[error(
        "the journal's segments are gone: there is `{left}`, and no segment with a readable header \
         beside it"
    )]
    SegmentsGone {
        /// The file that is left of the journal.
        left: String,
    },
    /// The identity that servers know the journal by cannot be read.
    #[error(
        "the second line of `{}`, which says what servers know this journal by, is damaged",
        IDENTITY
    )]
    NameLost,
    /// Something that is not a regular file has the name of one of ours.
    #[error("{name} in the journal is not a regular file")]
    NotRegular {
        /// Its name.
        name: String,
    },
    /// A segment that was to be created is there already: another program made it.
    #[error("another program writes to this journal: {name} is there already")]
    Intruder {
        /// The file.
        name: String,
    },
    /// The path that the journal's directory was opened by does not lead to it any more.
    #[error(
        "the journal's directory {path} was moved, removed, replaced or unmounted while the \
         balancer ran{}",
        it_is_now(now.as_deref())
    )]
    Moved {
        /// The path that it was opened by.
        path: String,
        /// The path where it is now, if that can be told.
        now: Option<String>,
    },
    /// The segment that is written to has lost its name.
    #[error("{name} was removed or replaced in the journal {path} while the balancer wrote to it")]
    Removed {
        /// The segment.
        name: String,
        /// The journal's directory.
        path: String,
    },
    /// A record was sound when the journal was opened and is damaged now.
    #[error("{name} is damaged at byte {offset}, after it was found sound at the start")]
    Damaged {
        /// The segment.
        name: String,
        /// The place in it.
        offset: u64,
    },
}

impl JournalError {
    /// Whether the disk has no room, or the system is short of descriptors or memory: trying again
    /// can help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source) || is_shortage(source))
    }
}

fn in_brackets(pid: Option<&str>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn it_is_now(now: Option<&str>) -> String {
    now.map_or_else(String::new, |now| format!("; it is {now} now"))
}

/// An error of the disk, with what was tried on which file.
pub(super) fn failed<'a>(
    action: &'static str,
    name: &'a str,
) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError::Io {
        action,
        name: name.to_owned(),
        source,
    }
}

/// A failed sync of this file.
pub(super) fn unsynced(name: &str) -> impl FnOnce(io::Error) -> JournalError + '_ {
    move |source| JournalError::Sync {
        name: name.to_owned(),
        source,
    }
}

/// A failed sync of the directory.
pub(super) fn unsynced_names(source: io::Error) -> JournalError {
    JournalError::Sync {
        name: "the directory".to_owned(),
        source,
    }
}
