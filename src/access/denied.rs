//! Why somebody may not do something.

use std::time::Duration;

use super::right::{Right, Rights};
use crate::protocol::{Refusal, RefusalCode};

/// Somebody may not do something. Its text is for them; logs name the peer beside it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Denied {
    why: Why,
}

/// The reason. What a wrong secret is answered with does not tell what was wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    /// They are known, and may not.
    #[error("this takes the right `{right}`, and there is: {rights}")]
    Lacks {
        /// What it takes.
        right: Right,
        /// What there is.
        rights: Rights,
    },
    /// They have not said who they are.
    #[error("this takes a token with the right `{0}`: `bilico login` gets one")]
    Nobody(Right),
    /// Unknown, of another balancer, expired, revoked, of a disabled user, or from elsewhere.
    #[error("the token is not good here: `bilico login` gets a new one")]
    BadToken,
    /// Not the whole of a token.
    #[error("the token is misspelt or cut: copy the whole of it again")]
    Misspelt,
    /// The wrong password, an unknown user or a disabled one.
    #[error("the name or the password is wrong, or the user is disabled")]
    BadPassword,
    /// A wrong, used or old invitation.
    #[error("the name or the code is wrong, or the code was used or has expired")]
    BadCode,
    /// There are no users.
    #[error("there are no users here: this balancer runs without them (auth = \"off\")")]
    NoUsers,
    /// Others could have heard it.
    #[error(
        "tokens and passwords are taken over TLS or on this machine only: this connection is plain \
         text, so nothing was looked at"
    )]
    PlainText,
    /// They have guessed wrong too often.
    #[error("too many wrong attempts: try again in {} s", .0.as_secs().max(1))]
    TooEarly(Duration),
    /// Too many passwords wait to be checked.
    #[error("too many passwords wait to be checked: try again in a moment")]
    Busy,
    /// The token was good, and is no longer.
    #[error("the token has ended: it expired or was revoked, or its user may do less now")]
    Ended,
}

/// The kinds of reasons that are answered differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedKind {
    /// They have to show something else, or anything at all.
    Unauthorized,
    /// They may not.
    Forbidden,
    /// They may try again after this time.
    Later(Duration),
}

impl Denied {
    pub(super) fn new(why: Why) -> Self {
        Self { why }
    }

    pub(super) fn why(&self) -> &Why {
        &self.why
    }

    /// The kind of the reason.
    pub fn kind(&self) -> DeniedKind {
        match self.why {
            Why::Lacks { .. } | Why::NoUsers => DeniedKind::Forbidden,
            Why::TooEarly(wait) => DeniedKind::Later(wait),
            Why::Busy => DeniedKind::Later(Duration::from_secs(1)),
            _ => DeniedKind::Unauthorized,
        }
    }

    /// What a native peer is told.
    pub fn refusal(&self) -> Refusal {
        let code = match self.kind() {
            DeniedKind::Forbidden => RefusalCode::Forbidden,
            DeniedKind::Unauthorized => RefusalCode::Unauthorized,
            DeniedKind::Later(_) => RefusalCode::Busy,
        };
        Refusal::new(code, self.to_string())
    }
}
