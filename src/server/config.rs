//! How a file server is configured, and why it ends.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::ClusterDoor;
use crate::access::Lock;
use crate::durability::Durability;
use crate::protocol::limits::{DEFAULT_MAX_JSON, IDLE_TIMEOUT, STALL_TIMEOUT};
use crate::units::Margin;

/// Configuration of a file server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where files are stored.
    pub dir: PathBuf,
    /// What a file must survive before it is acknowledged.
    pub durability: Durability,
    /// Who may read the files that it stores.
    pub readable_by: ReadableBy,
    /// Whether the `.json` files in the directory are removed at the start.
    pub clean: bool,
    /// The growth of the process's memory since its start that makes the server overloaded.
    pub overload_margin: Margin,
    /// How long the work takes for each letter A.
    pub work_delay: Duration,
    /// The most bytes of content that are kept in memory for the work.
    pub work_memory: u64,
    /// How long a peer may make no progress in the middle of a message.
    pub stall: Duration,
    /// How long a connection may be silent between two objects.
    pub idle: Duration,
    /// The largest object at the JSON doorway, in bytes.
    pub max_json: u64,
    /// The most connections at once.
    pub max_connections: usize,
    /// How long a stopping server goes on acknowledging the files it has.
    pub grace: Duration,
    /// Who may do what.
    pub access: Lock,
    /// Whether it answers `status` with a line of status, as servers of the first monitoring system
    /// do.
    pub old_status: bool,
    /// TLS of the port, where the server belongs to a cluster: then it decides who may store.
    pub cluster: Option<ClusterDoor>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("json_files_1"),
            durability: Durability::Disk,
            readable_by: ReadableBy::Owner,
            clean: false,
            overload_margin: Margin::Bytes(512 * 1024 * 1024),
            work_delay: Duration::ZERO,
            work_memory: 1024 * 1024 * 1024,
            stall: STALL_TIMEOUT,
            idle: IDLE_TIMEOUT,
            max_json: DEFAULT_MAX_JSON,
            max_connections: 1024,
            grace: Duration::from_secs(5),
            access: Lock::off_at_server(),
            old_status: false,
            cluster: None,
        }
    }
}

/// Who may read the files that a server stores, beside the user that it runs as. The server's own
/// files are for that user only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadableBy {
    /// Nobody else.
    Owner,
    /// The group of the server's process.
    Group,
    /// Everybody on the machine.
    All,
}

impl ReadableBy {
    /// The mode of a stored file.
    pub fn file_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
            Self::All => 0o644,
        }
    }

    /// The mode of a directory that the server creates.
    pub fn directory_mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Group => 0o750,
            Self::All => 0o755,
        }
    }
}

/// Why a file server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its directory was moved, removed or replaced.
    #[error("{0}")]
    Lost(String),
    /// Anything else, such as a failed thread.
    #[error(transparent)]
    Io(#[from] io::Error),
}
