//! Why the journal cannot go on.

use bilico_core::os_error::{is_full, is_shortage};
use std::io;

/// Why the journal cannot be opened, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("cannot {action} {name} in the journal: {source}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file concerned.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no directory that a journal can be kept in.
    #[error("cannot keep a journal in {path}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The disk could not make lasting what it had taken. Trying again does not help: the next sync
    /// can succeed without having written it.
    #[error("cannot sync {name} in the journal: {source}")]
    Sync {
        /// The file concerned, or the directory.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another balancer has the journal.
    #[error("the journal {path} is in use by another balancer{}", pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The journal's directory.
        path: String,
        /// The other balancer's process, if it said.
        pid: Option<String>,
    },
    /// It was written in a format that this version does not know.
    #[error("{name} has version {version} of the journal's format; this program knows version {}", super::segment::MAGIC[7])]
    Version {
        /// The segment.
        name: String,
        /// Its version.
        version: u8,
    },
    /// A segment of another journal lies among ours.
    #[error("{name} belongs to another journal: it must not lie in this directory")]
    Foreign {
        /// The segment.
        name: String,
    },
    /// There are segments, but none says which journal this is, and nothing else does.
    #[error(
        "no segment of the journal has a readable header, and the file `journal-id` is missing or damaged"
    )]
    NoIdentity,
    /// It was a journal once, and no segment is left. A first start makes a segment before it gives
    /// `journal-id` its name.
    #[error(
        "the journal's segments are gone: there is `{left}`, and no segment with a readable header beside it"
    )]
    SegmentsGone {
        /// What is left of it.
        left: String,
    },
    /// What servers know the journal by cannot be read.
    #[error(
        "the second line of `{}`, which says what servers know this journal by, is damaged",
        super::identity::IDENTITY
    )]
    NameLost,
    /// Something that is no file has the name of one.
    #[error("{name} in the journal is not a regular file")]
    NotRegular {
        /// The name.
        name: String,
    },
    /// A file is there that only this program could have made, and it did not.
    #[error("another program writes to this journal: {name} is there already")]
    Intruder {
        /// The file.
        name: String,
    },
    /// The journal's directory is not where it was opened.
    #[error("the journal's directory {path} was moved, removed, replaced or unmounted while the balancer ran{}", lies(now.as_deref()))]
    Moved {
        /// Where it was opened.
        path: String,
        /// Where it lies now, if that can be told.
        now: Option<String>,
    },
    /// A segment that is written to has lost its name.
    #[error("{name} was removed or replaced in the journal {path} while the balancer wrote to it")]
    Removed {
        /// The segment.
        name: String,
        /// The journal's directory.
        path: String,
    },
    /// What was sound when the journal was opened is not any longer.
    #[error("{name} is damaged at byte {offset}, after it was found sound at the start")]
    Damaged {
        /// The segment.
        name: String,
        /// Where.
        offset: u64,
    },
}

impl JournalError {
    /// Whether there is no room on the disk, or the system is short of something else: trying again
    /// can help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source) || is_shortage(source))
    }
}

fn lies(now: Option<&str>) -> String {
    now.map_or_else(String::new, |now| format!("; it is {now} now"))
}

/// Says what was to be done with which file when the disk failed.
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

/// Says which file could not be synced.
pub(super) fn unsynced(name: &str) -> impl FnOnce(io::Error) -> JournalError + '_ {
    move |source| JournalError::Sync {
        name: name.to_owned(),
        source,
    }
}

/// Says that the names in the directory could not be synced.
pub(super) fn unsynced_names(source: io::Error) -> JournalError {
    JournalError::Sync {
        name: "the directory".to_owned(),
        source,
    }
}
