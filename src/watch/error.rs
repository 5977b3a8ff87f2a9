//! Why a folder cannot be watched.

use std::io;
use std::path::PathBuf;

use crate::client::ClientError;

/// Why a folder cannot be watched, or no longer can.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A folder cannot be used.
    #[error("{}: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process watches the folder, or uses the same state.
    #[error("{}: another `bilico watch` has it", .0.display())]
    Locked(PathBuf),
    /// The state cannot be read or written.
    #[error("the state in {} cannot be used: {source}", .path.display())]
    State {
        /// Its directory, or a file in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The state is not what a watcher wrote.
    #[error("{}:{line}: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Files cannot go to the balancer.
    #[error(transparent)]
    Balancer(#[from] ClientError),
}
