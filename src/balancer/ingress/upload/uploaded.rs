//! Content that came whole.

use std::sync::Arc;

use super::parts::PartLease;
use crate::balancer::head_start::HeadStart;
use crate::queue::content;
use crate::queue::disk::Disk;

/// Durable content in a file of its own. If it is dropped before it is admitted (its connection
/// broke just then), no file will ever name it, and it is removed.
pub(in crate::balancer::ingress) struct Uploaded {
    pub(in crate::balancer::ingress) id: u64,
    pub(in crate::balancer::ingress) crc32c: u32,
    /// Its head start, if it has one.
    pub(in crate::balancer::ingress) head_start: Option<HeadStart>,
    disk: Arc<dyn Disk>,
    is_admitted: bool,
    /// Kept until the file is admitted, so that an upload that waits for the lease finds the key
    /// known.
    _lease: Option<PartLease>,
}

impl Uploaded {
    pub(super) fn new(id: u64, crc32c: u32, disk: Arc<dyn Disk>, lease: Option<PartLease>) -> Self {
        Self {
            id,
            crc32c,
            head_start: None,
            disk,
            is_admitted: false,
            _lease: lease,
        }
    }

    /// The same with its head start.
    pub(super) fn with(mut self, head_start: Option<HeadStart>) -> Self {
        self.head_start = head_start;
        self
    }

    /// The hub has the file: its content is the journal's now.
    pub(in crate::balancer::ingress) fn admitted(mut self) {
        self.is_admitted = true;
    }
}

impl Drop for Uploaded {
    fn drop(&mut self) {
        if !self.is_admitted {
            // If it cannot be removed, the next recovery does it.
            let _ = self.disk.remove(&content::name(self.id));
        }
    }
}
