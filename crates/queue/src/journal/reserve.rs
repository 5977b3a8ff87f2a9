//! The reserve: room on the disk that is kept back, so that deliveries can be recorded when others
//! have filled the disk.

use crate::disk::Space;

use super::log::Journal;

/// The file whose room is kept back.
pub(crate) const RESERVE: &str = "reserve";

impl Journal {
    /// How many bytes the reserve takes.
    fn reserve_len(&self) -> u64 {
        self.segment_size / 4
    }

    /// Looks for a reserve that is there already. A crash may have left one that takes no room.
    pub(super) fn find_reserve(&mut self) {
        let file = self.disk.open(RESERVE).and_then(|file| file.len());
        self.has_reserve = file.is_ok_and(|len| len >= self.reserve_len());
    }

    /// Gives the reserve's room to what must be written. False when it is used up.
    pub fn release_reserve(&mut self) -> bool {
        let had = std::mem::take(&mut self.has_reserve);
        had && self.disk.remove(RESERVE).is_ok()
    }

    /// Takes room for the reserve again, if there is plenty.
    pub fn restore_reserve(&mut self) {
        let is_plenty = |space: Space| space.available > 4 * self.segment_size;
        if self.has_reserve || !self.disk.space().is_ok_and(is_plenty) {
            return;
        }
        // A file of this name that is there takes too little room.
        let _ = self.disk.remove(RESERVE);
        let made = self
            .disk
            .create(RESERVE)
            .and_then(|file| file.allocate(self.reserve_len()));
        self.has_reserve = made.is_ok();
        if made.is_err() {
            let _ = self.disk.remove(RESERVE);
        }
    }
}
