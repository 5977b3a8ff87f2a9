//! Who somebody is, and the proof that a right of theirs was looked at.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::right::{Purpose, Right, Rights};
use crate::protocol::{Refusal, RefusalCode};

/// Who somebody is, and what they may do. Only the [`Lock`](super::Lock) makes one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pass(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    rights: Rights,
    /// As the journal and the log name them.
    from: Arc<str>,
}

impl Pass {
    pub(super) fn new(from: impl Into<Arc<str>>, rights: Rights) -> Self {
        let from = from.into();
        Self(Arc::new(Holder { rights, from }))
    }

    /// What they may do.
    pub fn rights(&self) -> Rights {
        self.0.rights
    }

    /// Whether they have this right.
    pub fn check(&self, right: Right) -> Result<(), Denied> {
        if self.0.rights.contains(right) {
            return Ok(());
        }
        Err(Denied {
            from: self.0.from.clone(),
            right,
            rights: self.0.rights,
        })
    }

    /// The proof that they may do what takes a right, if they may.
    pub fn allow<P: Purpose>(&self) -> Result<Allowed<P>, Denied> {
        self.check(P::RIGHT)?;
        Ok(Allowed {
            pass: self.clone(),
            purpose: PhantomData,
        })
    }

    /// Where they are, as the journal and the log have it.
    pub fn from(&self) -> &Arc<str> {
        &self.0.from
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

/// Somebody lacks a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from} may not do this: it takes the right `{right}`, and this address has {rights}")]
pub struct Denied {
    from: Arc<str>,
    right: Right,
    rights: Rights,
}

impl Denied {
    /// What a native peer is told.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(RefusalCode::Forbidden, self.to_string())
    }
}
