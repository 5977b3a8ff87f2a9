//! Whether an upload gets a head start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balancer::head_start::{Ahead, HeadStart};
use crate::queue::disk::DiskFile;

/// How many bytes show whether an upload is fast.
const SHOWN: u64 = 1024 * 1024;

/// A fast upload brings them in this time. Of a slower one, sending it on takes a small part of the
/// time that it takes itself.
const FAST: Duration = Duration::from_millis(100);

/// How many bytes have to be left: less is sent on about as quickly as a connection is made for it.
const LEFT: u64 = 4 * 1024 * 1024;

/// The link hears of this many bytes at once.
const STEP: u64 = 1024 * 1024;

/// The head start of one upload.
pub(super) enum Lead {
    /// It may get one, once it is fast.
    Open {
        /// The size of the whole file in bytes.
        size: u64,
        /// Since when it is watched.
        since: Option<Instant>,
        /// Bytes that came since then.
        came: u64,
    },
    /// It has one.
    Given(HeadStart),
    /// It gets none.
    No,
}

impl Lead {
    /// For an upload of a file of this size, if that is known.
    pub(super) fn new(size: Option<u64>) -> Self {
        size.map_or(Self::No, |size| Self::Open {
            size,
            since: None,
            came: 0,
        })
    }

    /// `bytes` were written, and the part is `len` bytes long now. Gives the head start that begins
    /// with them.
    pub(super) fn wrote(
        &mut self,
        bytes: u64,
        len: u64,
        file: &Arc<dyn DiskFile>,
    ) -> Option<Ahead> {
        match self {
            Self::Open { size, since, came } => {
                let now = Instant::now();
                let since = since.get_or_insert(now);
                *came += bytes;
                if size.saturating_sub(len) < LEFT {
                    *self = Self::No;
                    return None;
                }
                if *came < SHOWN {
                    return None;
                }
                if now.saturating_duration_since(*since) > FAST {
                    (*since, *came) = (now, 0);
                    return None;
                }
                let (head_start, ahead) = HeadStart::new(file.clone(), *size, len);
                *self = Self::Given(head_start);
                Some(ahead)
            }
            Self::Given(head_start) => {
                if len - head_start.told() >= STEP {
                    head_start.tell(len);
                }
                None
            }
            Self::No => None,
        }
    }

    /// All of the file is in the part, which is `len` bytes long.
    pub(super) fn all_came(&self, len: u64) {
        if let Self::Given(head_start) = self {
            head_start.tell(len);
        }
    }

    /// The head start, for the file.
    pub(super) fn take(&mut self) -> Option<HeadStart> {
        match std::mem::replace(self, Self::No) {
            Self::Given(head_start) => Some(head_start),
            Self::Open { .. } | Self::No => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::RealDisk;
    use crate::queue::disk::Disk;

    const MIB: u64 = 1024 * 1024;

    fn file() -> (tempfile::TempDir, Arc<dyn DiskFile>) {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk::open(dir.path()).unwrap().create("part").unwrap();
        (dir, file)
    }

    /// How much of a file of so many MiB has come when its head start begins.
    fn begins(mib: u64) -> Option<u64> {
        let (_dir, file) = file();
        let mut lead = Lead::new(Some(mib * MIB));
        let steps = (1..=mib * 4).map(|step| step * MIB / 4);
        let mut begun = steps.filter_map(|len| {
            let ahead = lead.wrote(MIB / 4, len, &file)?;
            assert_eq!(*ahead.written.borrow(), len);
            Some(len)
        });
        begun.next()
    }

    #[test]
    fn a_fast_upload_begins_early_and_a_small_or_unknown_one_never() {
        assert_eq!(begins(64), Some(MIB));
        assert_eq!(begins(5), Some(MIB));
        assert_eq!(begins(4), None);
        let (_dir, file) = file();
        let mut unknown = Lead::new(None);
        assert!((1..100).all(|len| unknown.wrote(MIB, len * MIB, &file).is_none()));
    }

    #[test]
    fn a_slow_upload_begins_once_it_is_fast_and_its_link_hears_how_far_it_is() {
        let (_dir, file) = file();
        let mut lead = Lead::new(Some(64 * MIB));
        assert!(lead.wrote(1, 1, &file).is_none());
        std::thread::sleep(FAST * 2);
        assert!(lead.wrote(MIB, 1 + MIB, &file).is_none(), "it is slow");
        let mut len = 1 + MIB;
        let ahead = loop {
            len += MIB;
            if let Some(ahead) = lead.wrote(MIB, len, &file) {
                break ahead;
            }
            assert!(len < 60 * MIB, "it is fast now");
        };
        assert!(lead.wrote(MIB - 1, len + MIB - 1, &file).is_none());
        assert_eq!(*ahead.written.borrow(), len, "less than a step is not told");
        lead.wrote(1, len + MIB, &file);
        assert_eq!(*ahead.written.borrow(), len + MIB);
        lead.all_came(64 * MIB);
        assert_eq!(*ahead.written.borrow(), 64 * MIB);
        let head_start = lead.take().unwrap();
        assert!(ahead.written.has_changed().is_ok());
        drop((head_start, lead));
        assert!(ahead.written.has_changed().is_err(), "it is over");
    }
}
