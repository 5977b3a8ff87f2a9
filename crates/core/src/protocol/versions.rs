//! Which versions of the native protocol a side speaks, and which one two sides have in common.
//!
//! Invariant: preface and `hello` are laid out the same in all versions, so that two sides without a
//! version in common can say so.

use std::fmt;

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    oldest: u16,
    newest: u16,
}

impl Versions {
    /// What this program speaks.
    pub const SPOKEN: Self = Self {
        oldest: 1,
        newest: 1,
    };

    /// What a peer speaks whose `hello` names no versions: releases before the range was there.
    pub const UNNAMED: Self = Self {
        oldest: 1,
        newest: 1,
    };

    /// The versions from `oldest` to `newest`; `None` if there are none, or if version 0, which
    /// never was, is among them.
    pub fn new(oldest: u16, newest: u16) -> Option<Self> {
        (1 <= oldest && oldest <= newest).then_some(Self { oldest, newest })
    }

    /// The oldest one, which opens a connection in the preface.
    pub const fn oldest(self) -> u16 {
        self.oldest
    }

    /// The newest one.
    pub const fn newest(self) -> u16 {
        self.newest
    }

    /// The version that two sides speak with each other: the newest that both have.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.oldest, self.newest) {
            (oldest, u16::MAX) => write!(f, "version {oldest} and later"),
            (oldest, newest) if oldest == newest => write!(f, "version {oldest}"),
            (oldest, newest) => write!(f, "versions {oldest} to {newest}"),
        }
    }
}

/// Why two sides cannot talk, in words that are true for both.
pub(super) fn nothing_in_common(ours: Versions, theirs: Versions) -> String {
    let (older, newer) = if ours.newest < theirs.oldest {
        (ours, theirs)
    } else {
        (theirs, ours)
    };
    format!(
        "no version of the native protocol in common: one side speaks {older}, the other {newer}; \
         upgrade the side that speaks {older}, by way of a release that speaks both"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(oldest: u16, newest: u16) -> Versions {
        Versions::new(oldest, newest).unwrap()
    }

    #[test]
    fn the_newest_version_that_both_have() {
        for (one, other, common) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(1, 3), range(3, 3), Some(3)),
            (range(2, 4), range(1, 9), Some(4)),
            (range(1, 2), range(3, 4), None),
            (range(7, u16::MAX), range(1, 6), None),
        ] {
            assert_eq!(one.common(other), common, "{one} and {other}");
            assert_eq!(other.common(one), common, "{other} and {one}");
        }
    }

    #[test]
    fn there_is_no_version_0_and_no_empty_range() {
        assert_eq!(Versions::new(0, 3), None);
        assert_eq!(Versions::new(3, 2), None);
    }

    #[test]
    fn both_sides_say_the_same_and_name_the_one_to_upgrade() {
        let old = range(1, 2);
        let new = range(3, 4);
        let text = nothing_in_common(old, new);
        assert_eq!(nothing_in_common(new, old), text);
        assert_eq!(
            text,
            "no version of the native protocol in common: one side speaks versions 1 to 2, the other versions 3 to \
             4; upgrade the side that speaks versions 1 to 2, by way of a release that speaks both"
        );
    }
}
