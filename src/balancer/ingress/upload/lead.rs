//! Whether an upload gets a head start.

use std::time::{Duration, Instant};

use crate::balancer::head_start::{Ahead, HeadStart};
use crate::queue::content::Part;

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

    /// `bytes` were written to the part. Gives the head start that begins with them.
    pub(super) fn wrote(&mut self, bytes: u64, part: &Part, now: Instant) -> Option<Ahead> {
        let len = part.len();
        match self {
            Self::Open { size, since, came } => {
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
                let (head_start, ahead) = HeadStart::new(part.file().clone(), *size, len);
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
    use crate::queue::sim::SimDisk;
    use std::sync::Arc;

    const MIB: u64 = 1024 * 1024;

    /// A file of this size whose upload has begun, with the time for each write.
    struct Upload {
        part: Part,
        lead: Lead,
        now: Instant,
    }

    impl Upload {
        fn of(size: Option<u64>) -> Self {
            Self {
                part: Part::create(Arc::new(SimDisk::new()), 1).unwrap(),
                lead: Lead::new(size),
                now: Instant::now(),
            }
        }

        /// So many bytes come, and take so long.
        fn comes(&mut self, bytes: u64, millis: u64) -> Option<Ahead> {
            self.now += Duration::from_millis(millis);
            let bytes = vec![0; usize::try_from(bytes).unwrap()];
            self.part.write(&bytes).unwrap();
            self.lead.wrote(bytes.len() as u64, &self.part, self.now)
        }
    }

    /// How much of a file of so many MiB has come when its head start begins.
    fn begins(mib: u64, millis: u64) -> Option<u64> {
        let mut upload = Upload::of(Some(mib * MIB));
        for _ in 0..mib * 4 {
            if let Some(ahead) = upload.comes(MIB / 4, millis) {
                assert_eq!(*ahead.written.borrow(), upload.part.len());
                return Some(upload.part.len());
            }
        }
        None
    }

    #[test]
    fn a_fast_upload_begins_early_and_a_small_slow_or_unknown_one_never() {
        assert_eq!(begins(16, 1), Some(MIB));
        assert_eq!(begins(5, 33), Some(MIB));
        assert_eq!(begins(4, 1), None);
        assert_eq!(begins(16, 34), None);
        let mut unknown = Upload::of(None);
        assert!((0..16).all(|_| unknown.comes(MIB, 1).is_none()));
    }

    #[test]
    fn a_slow_upload_begins_once_it_is_fast_and_its_link_hears_how_far_it_is() {
        let mut upload = Upload::of(Some(16 * MIB));
        assert!(upload.comes(1, 0).is_none());
        assert!(upload.comes(MIB, 200).is_none(), "it is slow");
        let ahead = upload.comes(MIB, 50).unwrap();
        let len = upload.part.len();
        assert!(upload.comes(MIB - 1, 1).is_none());
        assert_eq!(*ahead.written.borrow(), len, "less than a step is not told");
        upload.comes(1, 1);
        assert_eq!(*ahead.written.borrow(), len + MIB);
        upload.lead.all_came(16 * MIB);
        assert_eq!(*ahead.written.borrow(), 16 * MIB);
        let head_start = upload.lead.take().unwrap();
        assert!(ahead.written.has_changed().is_ok());
        drop((head_start, upload));
        assert!(ahead.written.has_changed().is_err(), "it is over");
    }
}
