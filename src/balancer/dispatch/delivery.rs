//! What the dispatcher keeps beside a queued file.

use super::blame::Record;
use super::event::LinkId;
use crate::file::Meta;
use crate::protocol::json::{self, NotOldStyle};
use crate::schedule::Slot;

/// What the dispatcher keeps beside a queued file, around what its caller keeps there.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The caller's.
    pub tag: T,
    /// The link over which its content went ahead, if it did and the file was not sent yet.
    pub(super) ahead: Option<LinkId>,
    /// Why the file waits, if it does for a reason of its own.
    pub(super) waits: Option<String>,
    /// Why no old-style server can read the file, once the link to one has said so.
    pub(super) unfit: Option<NotOldStyle>,
    /// The servers that refused the file and would refuse it again.
    pub(super) refused_by: Vec<Slot>,
    /// The servers that were tried since the file last waited.
    pub(super) tried: Vec<Slot>,
    /// How many times no eligible server could take the file.
    pub(super) delays: u32,
    /// What its refusals say of the file.
    pub(super) record: Record,
}

impl<T> Delivery<T> {
    /// A file that has not been sent yet.
    pub fn new(tag: T) -> Self {
        Self {
            tag,
            ahead: None,
            waits: None,
            unfit: None,
            refused_by: Vec::new(),
            tried: Vec::new(),
            delays: 0,
            record: Record::default(),
        }
    }

    /// Why only a native server can take the file with this description. `None`: an old-style one
    /// may be able to read it, and the link to it finds out.
    pub(super) fn why_native_only(&self, meta: &Meta) -> Option<NotOldStyle> {
        let is_too_large = json::is_too_large_for_old_style(&meta.title, meta.size);
        self.unfit.or(is_too_large.then_some(NotOldStyle::TooLarge))
    }

    /// Whether any server may take the file, as far as its refusals tell.
    pub(super) fn is_unrefused(&self) -> bool {
        self.refused_by.is_empty() && self.tried.is_empty()
    }

    /// Whether the server has refused the file for good, or since it last waited.
    pub(super) fn is_refused_by(&self, slot: Slot) -> bool {
        self.refused_by.contains(&slot) || self.tried.contains(&slot)
    }

    /// Forgets what a server did that is gone.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.refused_by.retain(|by| *by != slot);
        self.tried.retain(|by| *by != slot);
        self.record.forget(slot);
    }
}
