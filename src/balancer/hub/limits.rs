//! The bounds that the hub works with. Tests pass smaller ones.

/// Bounds on what the hub keeps in memory and reads at once.
#[derive(Debug, Clone, Copy)]
pub(in crate::balancer) struct HubLimits {
    /// Content of waiting files in memory, in bytes. Further content is read from the journal when
    /// its file is sent.
    pub(in crate::balancer) memory: u64,
    /// Ready files whose description is in memory. While there are so many, new files go to the
    /// backlog.
    pub(in crate::balancer) ready: usize,
    /// Files that are read back from the journal at once. Reading starts when fewer than this many
    /// are ready.
    pub(in crate::balancer) read_back_files: usize,
    /// About how many bytes of records are read back at once.
    pub(in crate::balancer) read_back_bytes: u64,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            memory: 16 * 1024 * 1024,
            ready: 8192,
            read_back_files: 4096,
            read_back_bytes: 4 * 1024 * 1024,
        }
    }
}
