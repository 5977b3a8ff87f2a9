//! Who somebody is, and the proof that a right of theirs was looked at.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::denied::{Denied, Why};
use super::right::{Purpose, Right, Rights};
use super::users::{Known, TokenId, UserName};

/// Who somebody is, and what they may do. Only the [`Lock`](super::Lock) makes one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pass(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    rights: Rights,
    /// As the journal and the log name them.
    from: Arc<str>,
    who: Who,
}

/// What makes somebody who they are.
#[derive(Debug)]
pub(super) enum Who {
    /// The place they are at.
    Place,
    /// Nothing yet: they have shown no token.
    Nobody,
    /// What they have shown was refused.
    Refused(Why),
    /// A token.
    User(Arc<Known>),
}

/// Stands between a user and a key of theirs; no name of a user has it.
const OF_USER: char = '\u{1f}';

/// A key as its client knows it.
pub fn shown_key(key: &str) -> &str {
    key.split_once(OF_USER).map_or(key, |(_, key)| key)
}

impl Pass {
    pub(super) fn new(from: impl Into<Arc<str>>, rights: Rights, who: Who) -> Self {
        Self(Arc::new(Holder {
            rights,
            from: from.into(),
            who,
        }))
    }

    /// What they may do.
    pub fn rights(&self) -> Rights {
        self.0.rights
    }

    /// Whether they have this right.
    pub fn check(&self, right: Right) -> Result<(), Denied> {
        let holder = &*self.0;
        let why = match &holder.who {
            Who::User(known) if known.live.is_cancelled() => Why::Ended,
            _ if holder.rights.contains(right) => return Ok(()),
            Who::Nobody => Why::Nobody(right),
            Who::Refused(why) => why.clone(),
            Who::Place | Who::User(_) => Why::Lacks {
                right,
                rights: holder.rights,
            },
        };
        Err(Denied::new(why))
    }

    /// The proof that they may do what takes a right, if they may.
    pub fn allow<P: Purpose>(&self) -> Result<Allowed<P>, Denied> {
        self.check(P::RIGHT)?;
        Ok(Allowed {
            pass: self.clone(),
            purpose: PhantomData,
        })
    }

    /// Where they are, and who, as the journal and the log have it.
    pub fn from(&self) -> &Arc<str> {
        &self.0.from
    }

    /// The user, if there are users and a token was shown.
    pub fn user(&self) -> Option<&UserName> {
        self.known().map(|known| &known.member.name)
    }

    /// Whether they must say who they are before they may do anything.
    pub fn is_nobody(&self) -> bool {
        matches!(self.0.who, Who::Nobody)
    }

    /// A client's key as the balancer knows it: two users never have the same one, whatever they
    /// call theirs.
    pub fn own_key(&self, key: Arc<str>) -> Arc<str> {
        match self.user() {
            Some(user) => format!("{user}{OF_USER}{key}").into(),
            None => key,
        }
    }

    /// The token that was shown.
    pub fn token(&self) -> Option<&TokenId> {
        self.known().map(|known| &known.id)
    }

    /// Waits until they may do nothing any more: their token has ended. For somebody without one
    /// that is never.
    pub async fn ended(&self) -> Denied {
        match self.known() {
            Some(known) => known.ended().await,
            None => std::future::pending().await,
        }
        Denied::new(Why::Ended)
    }

    pub(super) fn known(&self) -> Option<&Arc<Known>> {
        match &self.0.who {
            Who::User(known) => Some(known),
            _ => None,
        }
    }
}

/// The proof that somebody's right was looked at. Only [`Pass::allow`] makes one.
pub struct Allowed<P> {
    pass: Pass,
    purpose: PhantomData<P>,
}

impl<P> Allowed<P> {
    /// Who has it.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }
}

impl<P> Clone for Allowed<P> {
    fn clone(&self) -> Self {
        Self {
            pass: self.pass.clone(),
            purpose: PhantomData,
        }
    }
}

impl<P: Purpose> fmt::Debug for Allowed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allowed({}, {})", P::RIGHT, self.pass.from())
    }
}
