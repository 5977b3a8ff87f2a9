//! What an administrator does about users: over the admin listener, or to the file itself.

use super::book::{Book, BookError, Invitation, User};
use super::name::UserName;
use super::quota::Quota;
use super::token::{Hash, TokenId};
use crate::access::role::UserRole;

/// How long an invitation holds if nothing is said, in seconds.
pub const INVITATION_LIFE: u64 = 24 * 3600;

/// One order.
#[derive(Debug)]
pub enum UserOrder {
    /// A user with a password: on the balancer's machine only, where the first one is made.
    Add {
        /// Its name.
        name: UserName,
        /// What it is there for.
        role: UserRole,
        /// The hash of its password.
        password: String,
    },
    /// A user may register, or choose a new password.
    Invite {
        /// Its name.
        name: UserName,
        /// What it will be there for.
        role: UserRole,
        /// What it may take up.
        quota: Quota,
        /// The hash of the code.
        code: Hash,
        /// How long the code holds, in seconds.
        seconds: u64,
    },
    /// Something about a user changes.
    Change {
        /// Its name.
        name: UserName,
        /// What.
        change: Change,
    },
    /// A user goes, with its tokens and its invitation.
    Remove {
        /// Its name.
        name: UserName,
    },
    /// A token ends.
    Revoke {
        /// Its public name.
        id: TokenId,
    },
    /// All tokens of a user end.
    RevokeAll {
        /// The user.
        name: UserName,
    },
}

/// What changes about a user; the rest stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether it may do nothing.
    pub disabled: Option<bool>,
    /// What it is there for.
    pub role: Option<UserRole>,
    /// What it may take up.
    pub quota: Option<Quota>,
}

impl UserOrder {
    /// Carries it out. After an error nothing has changed.
    pub fn apply(self, book: &mut Book, now: u64) -> Result<(), BookError> {
        match self {
            Self::Add {
                name,
                role,
                password,
            } => book.add(
                name,
                User {
                    password,
                    role,
                    disabled: false,
                    created: now,
                    quota: Quota::default(),
                },
            ),
            Self::Invite {
                name,
                role,
                quota,
                code,
                seconds,
            } => book.invite(
                name,
                Invitation {
                    hash: code,
                    role,
                    quota,
                    expires: now.saturating_add(seconds),
                },
            ),
            Self::Change { name, change } => {
                let mut changed = book.clone();
                if let Some(disabled) = change.disabled {
                    changed.set_disabled(&name, disabled)?;
                }
                if let Some(role) = change.role {
                    changed.set_role(&name, role)?;
                }
                if let Some(quota) = change.quota {
                    changed.set_quota(&name, quota)?;
                }
                *book = changed;
                Ok(())
            }
            Self::Remove { name } => book.remove(&name),
            Self::Revoke { id } => book.revoke(&id, None).map(drop),
            Self::RevokeAll { name } => {
                book.user(&name)?;
                book.revoke_all(&name);
                Ok(())
            }
        }
    }

    /// Its name in the audit log.
    pub(in crate::access) fn event(&self) -> &'static str {
        match self {
            Self::Add { .. } => "user.added",
            Self::Invite { .. } => "user.invited",
            Self::Change { change, .. } => match change.disabled {
                Some(true) => "user.disabled",
                Some(false) => "user.enabled",
                None => "user.changed",
            },
            Self::Remove { .. } => "user.removed",
            Self::Revoke { .. } | Self::RevokeAll { .. } => "token.revoked",
        }
    }

    /// What it is about, for the audit log.
    pub(in crate::access) fn about(&self) -> String {
        match self {
            Self::Add { name, role, .. } | Self::Invite { name, role, .. } => {
                format!("{name} ({role})")
            }
            Self::Change { name, change } => match change.role {
                Some(role) => format!("{name} ({role})"),
                None => name.to_string(),
            },
            Self::Remove { name } => name.to_string(),
            Self::Revoke { id } => id.to_string(),
            Self::RevokeAll { name } => format!("all of {name}"),
        }
    }
}
