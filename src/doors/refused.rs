//! Why a message of an agent is not taken.

use crate::fleet::NotTaken;

/// The reason in a few fixed words: metrics and the log have it. Nothing in it is from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str);

impl Refused {
    pub(super) const TOO_LONG: Self = Self("too long");
    pub(super) const NO_JSON: Self = Self("no JSON object");
    pub(super) const TOO_DEEP: Self = Self("nested too deeply");
    pub(super) const WRONG_TYPE: Self = Self("a field of the wrong type");
    pub(super) const IMPOSSIBLE: Self = Self("an impossible figure");
    pub(super) const NO_FIGURES: Self = Self("no figures");
    pub(super) const NOT_ALLOWED: Self = Self("from a network that is not allowed");
    pub(super) const TOO_OFTEN: Self = Self("too often");
    pub(super) const TOO_MANY_SOURCES: Self = Self("too many sources");
    pub(super) const TOO_MANY_MEMBERS: Self = Self("too many members");
    pub(super) const SUPERSEDED: Self = Self("a registration that counts no longer");
}

impl From<NotTaken> for Refused {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Fact(_) => Self::IMPOSSIBLE,
            NotTaken::Full(_) => Self::TOO_MANY_MEMBERS,
            NotTaken::Superseded => Self::SUPERSEDED,
        }
    }
}
