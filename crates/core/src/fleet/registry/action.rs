//! What the registry wants done, and what it has to tell.

use std::fmt;
use std::sync::Arc;

/// What the registry wants done about a server of the balancer, or tells.
///
/// These are levels, not steps: each says how a server is to be from now on, and doing one twice
/// does no harm. None of them asks for a server of the configuration to be added or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The balancer is to have this server with this weight. If it has it already, the weight and the
    /// directory are set. It comes only when the member is kept on disk.
    Add {
        /// The server.
        address: Arc<str>,
        /// Its weight.
        weight: u32,
        /// The directory that registered there: who answers with another one gets nothing.
        directory: Option<Arc<str>>,
    },
    /// The server that registered at the one address is at the other one now, which is added or about
    /// to be. The former one gets nothing new, and is to be removed once nothing is in doubt there: a
    /// [`Remove`](Self::Remove) comes then.
    Moved {
        /// Where it was.
        from: Arc<str>,
        /// Where it is.
        to: Arc<str>,
        /// Its directory.
        directory: Option<Arc<str>>,
    },
    /// The server gets nothing new. When that is so, `in_doubt` is to be told anew: what was told
    /// before may be older than the last file.
    Drain {
        /// The server.
        address: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The server is no longer drained by the registry. A drain that an operator ordered stays.
    Undrain {
        /// The server.
        address: Arc<str>,
    },
    /// The balancer is to forget this server: nothing is in flight to it and nothing in doubt
    /// there, as far as was told. When it is done, `removed` is to be told.
    Remove {
        /// The server.
        address: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Something that operators should hear.
    Notice(Notice),
}

/// Something that operators should hear of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A member registered for the first time.
    Joined {
        /// The member's name.
        member: Arc<str>,
        /// Its address.
        address: Arc<str>,
    },
    /// A member has another address.
    Moved {
        /// The member's name.
        member: Arc<str>,
        /// Where it was.
        from: Arc<str>,
        /// Where it is.
        to: Arc<str>,
    },
    /// Nothing was heard of a registered member for as long as its lease lasts.
    Expired {
        /// The member's name.
        member: Arc<str>,
        /// Why that may be.
        reason: Arc<str>,
    },
    /// A member whose lease had expired is heard of again.
    Back {
        /// The member's name.
        member: Arc<str>,
    },
    /// A member leaves, in order.
    Leaving {
        /// The member's name.
        member: Arc<str>,
        /// What it says, or what was ordered.
        reason: Arc<str>,
    },
    /// A member has left: nothing is in flight to it and nothing in doubt there.
    Left {
        /// The member's name.
        member: Arc<str>,
    },
    /// A member is forgotten.
    Forgotten {
        /// The member's name.
        member: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Two live servers have one directory's identity: one directory is a copy.
    Copied {
        /// The member's name.
        member: Arc<str>,
        /// The server that counts.
        first: Arc<str>,
        /// The one that gets nothing.
        second: Arc<str>,
    },
    /// Many leases expired together: nobody is removed.
    Preserving {
        /// How many expired.
        lost: usize,
        /// Of how many.
        of: usize,
    },
    /// Enough of them are back, or forgotten: members are removed again.
    PreservingEnded {
        /// How many are there.
        back: usize,
        /// Of how many.
        of: usize,
    },
    /// Members are refused, since there are as many as there can be.
    Full {
        /// How many there are.
        members: usize,
    },
}

impl Notice {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Joined { .. } => "member_joined",
            Self::Moved { .. } => "member_moved",
            Self::Expired { .. } => "member_expired",
            Self::Back { .. } => "member_back",
            Self::Leaving { .. } => "member_leaving",
            Self::Left { .. } => "member_left",
            Self::Forgotten { .. } => "member_forgotten",
            Self::Copied { .. } => "member_copied",
            Self::Preserving { .. } => "fleet_preserving",
            Self::PreservingEnded { .. } => "fleet_preserving_ended",
            Self::Full { .. } => "fleet_full",
        }
    }

    /// Whether somebody should look after it.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Expired { .. }
                | Self::Copied { .. }
                | Self::Preserving { .. }
                | Self::Full { .. }
        )
    }

    /// The name of the member that it is about, if it is about one.
    pub fn member(&self) -> Option<&Arc<str>> {
        match self {
            Self::Joined { member, .. }
            | Self::Moved { member, .. }
            | Self::Expired { member, .. }
            | Self::Back { member }
            | Self::Leaving { member, .. }
            | Self::Left { member }
            | Self::Forgotten { member, .. }
            | Self::Copied { member, .. } => Some(member),
            Self::Preserving { .. } | Self::PreservingEnded { .. } | Self::Full { .. } => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { member, address } => {
                write!(f, "{member} has registered at {address}")
            }
            Self::Moved { member, from, to } => write!(f, "{member} moved from {from} to {to}"),
            Self::Expired { member, reason } => write!(f, "the lease of {member} ended: {reason}"),
            Self::Back { member } => write!(f, "{member} is back"),
            Self::Leaving { member, reason } => write!(f, "{member} leaves: {reason}"),
            Self::Left { member } => write!(f, "{member} has left"),
            Self::Forgotten { member, reason } => write!(f, "{member} is forgotten: {reason}"),
            Self::Copied {
                member,
                first,
                second,
            } => write!(
                f,
                "{second} has the same directory as {first}, and both are there: one is a copy. \
                 {first} counts as {member}, {second} gets no files. Stop one of them, and remove \
                 its directory if it was copied"
            ),
            Self::Preserving { lost, of } => write!(
                f,
                "{lost} of {of} leases ended together: the network of this balancer is the likely \
                 cause, so no member is removed until three quarters are back or `bilico fleet \
                 forget` names those that are gone"
            ),
            Self::PreservingEnded { back, of } => write!(
                f,
                "{back} of {of} members are there: members that stay away are removed again"
            ),
            Self::Full { members } => write!(
                f,
                "there are {members} members, the most that a balancer keeps: new ones are refused"
            ),
        }
    }
}
