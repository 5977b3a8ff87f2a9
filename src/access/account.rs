//! What somebody can ask about their account, and the answers: JSON, the same over HTTP and in the
//! native `account` message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::right::Rights;
use super::role::UserRole;
use super::users::{Book, Quota, Token, TokenId, UserName};
use crate::protocol::RefusalCode;
use crate::secret::Secret;

/// What somebody asks for. Names of users and tokens come as they were typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AccountRequest {
    /// To become a user, or to get a new password, by an invitation.
    Register {
        /// The user's name.
        user: String,
        /// The password from now on.
        #[serde(serialize_with = "Secret::send")]
        password: Secret,
        /// The code of the invitation.
        #[serde(serialize_with = "Secret::send")]
        code: Secret,
    },
    /// For a token, by the password.
    Login {
        /// The user's name.
        user: String,
        /// Its password.
        #[serde(serialize_with = "Secret::send")]
        password: Secret,
        /// What the token is to be.
        #[serde(default)]
        token: Wanted,
    },
    /// For another password. All tokens end.
    ChangePassword {
        /// The user's name.
        user: String,
        /// Its password so far.
        #[serde(serialize_with = "Secret::send")]
        password: Secret,
        /// Its password from now on.
        #[serde(serialize_with = "Secret::send")]
        new_password: Secret,
    },
    /// Who they are.
    Whoami,
    /// That the token that they have shown ends.
    Logout,
    /// For the list of their tokens.
    Tokens,
    /// For another token, which can do no more and lives no longer than the one they have shown.
    CreateToken {
        /// What it is to be.
        #[serde(default)]
        token: Wanted,
    },
    /// That one of their tokens ends.
    RevokeToken {
        /// Its public name.
        id: TokenId,
    },
}

impl AccountRequest {
    /// Whether it says a secret.
    pub fn has_secret(&self) -> bool {
        match self {
            Self::Register { .. } | Self::Login { .. } | Self::ChangePassword { .. } => true,
            Self::Whoami
            | Self::Logout
            | Self::Tokens
            | Self::CreateToken { .. }
            | Self::RevokeToken { .. } => false,
        }
    }
}

/// What a token is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// What it is good for; all that its user may do, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Rights>,
    /// How long it lives, in seconds; 30 days, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The networks that it may come from; any, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<ipnet::IpNet>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum AccountAnswer {
    /// It is done.
    Done,
    /// A new token. It is told this once.
    Token {
        /// What to show from now on.
        #[serde(serialize_with = "Secret::send")]
        token: Secret,
        /// What is known about it.
        #[serde(flatten)]
        about: TokenView,
    },
    /// Who they are.
    You {
        /// Their user; `None` without users.
        user: Option<UserName>,
        /// What they may do.
        rights: Rights,
        /// The token that they have shown.
        token: Option<TokenId>,
        /// When it ends, in seconds since 1970.
        expires: Option<u64>,
    },
    /// Their tokens.
    Tokens {
        /// The oldest first.
        tokens: Vec<TokenView>,
    },
    /// They may not, or it is not possible.
    Refused {
        /// The kind of refusal.
        code: RefusalCode,
        /// The reason.
        error: String,
    },
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its public name.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserName,
    /// What people call it.
    pub name: String,
    /// What it is good for.
    pub rights: Rights,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// When it was last shown, in seconds since 1970; `None` if it was not since the balancer
    /// started.
    pub last_used: Option<u64>,
    /// The networks that it may come from; any, if there is none.
    #[serde(default)]
    pub from: Vec<ipnet::IpNet>,
}

impl TokenView {
    pub(super) fn of(id: &TokenId, token: &Token, last_used: Option<u64>) -> Self {
        Self {
            id: id.clone(),
            user: token.user.clone(),
            name: token.name.clone(),
            rights: token.rights,
            created: token.created,
            expires: token.expires,
            last_used,
            from: token.from.clone(),
        }
    }
}

/// A user, for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: UserName,
    /// What the user is there for.
    pub role: UserRole,
    /// Whether it may do nothing at the moment.
    pub disabled: bool,
    /// When it registered, in seconds since 1970; `None` if it was invited and has not yet.
    pub created: Option<u64>,
    /// Until when it may register, or choose a new password, by a code.
    pub invited_until: Option<u64>,
    /// How many tokens it has.
    pub tokens: usize,
    /// What it may take up.
    pub quota: Quota,
}

/// All users and invitations of a book, by name.
pub fn user_views(book: &Book) -> Vec<UserView> {
    let mut views: BTreeMap<&UserName, UserView> = BTreeMap::new();
    for (name, user) in book.users() {
        let view = UserView {
            name: name.clone(),
            role: user.role,
            disabled: user.disabled,
            created: Some(user.created),
            invited_until: None,
            tokens: 0,
            quota: user.quota,
        };
        views.insert(name, view);
    }
    for (name, invited) in book.invitations() {
        let view = views.entry(name).or_insert_with(|| UserView {
            name: name.clone(),
            role: invited.role,
            disabled: false,
            created: None,
            invited_until: None,
            tokens: 0,
            quota: invited.quota,
        });
        view.invited_until = Some(invited.expires);
    }
    for (_, token) in book.tokens() {
        if let Some(view) = views.get_mut(&token.user) {
            view.tokens += 1;
        }
    }
    views.into_values().collect()
}
