//! What a user may take up.

use serde::{Deserialize, Serialize};

/// The bounds of one user beside those of all; `None` is without such a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Connections at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// Files that wait in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_files: Option<u64>,
    /// Their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_bytes: Option<u64>,
    /// Files handed over each second, on average over ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_per_second: Option<u64>,
    /// The size of one file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_file: Option<u64>,
}
