//! How much may be in flight to a server, by its weight.

use super::event::LinkId;

/// The bounds on what is in flight to the heaviest server. The windows of the others are smaller by
/// their weights: when all windows are full, a server is picked as often as it acknowledges, so the
/// windows have to keep the shares.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Files in flight.
    pub files: usize,
    /// Bytes in flight. A file counts as a quarter of them at most: small files can go beside a few
    /// large ones, which have a connection of their own.
    pub bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            files: 1024,
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// A head start, which reserves its server for a file.
#[derive(Debug)]
pub(super) struct Reservation {
    /// The server's link.
    pub(super) link: LinkId,
    /// What it takes of the server's window of bytes, as long as its file is not accepted.
    pub(super) part: u64,
}

/// The part of the bytes that a file takes at most: one in so many.
const LARGEST_PART: u64 = 4;

/// The smallest window of a server, however light it is.
pub(super) const LEAST_WINDOW: Window = Window {
    files: 16,
    bytes: 1024 * 1024,
};

impl Window {
    /// The bytes of the window that a file of this size takes.
    pub(super) fn part(self, size: u64) -> u64 {
        size.min(self.bytes.div_ceil(LARGEST_PART))
    }

    /// The window of a server of this weight beside one of the `heaviest`.
    pub(super) fn scaled(self, weight: u32, heaviest: u32) -> Self {
        let scale = |most: u64, least: u64| {
            let scaled = match most.checked_mul(weight.into()) {
                Some(product) => product / u64::from(heaviest.max(1)),
                // The product needs more than 64 bits; for bounds that large the order of the two
                // operations makes no difference that counts.
                None => (most / u64::from(heaviest.max(1))).saturating_mul(weight.into()),
            };
            scaled.clamp(least.min(most), most)
        };
        let files = scale(self.files as u64, LEAST_WINDOW.files as u64);
        let bytes = scale(self.bytes, LEAST_WINDOW.bytes);
        Self {
            files: usize::try_from(files).unwrap_or(self.files),
            bytes,
        }
    }
}
