//! Core: the users, their tokens and the open invitations, and what can be changed about them.
//!
//! Knows no file and no clock: it is told what time it is, in seconds since 1970. Secrets come in
//! as hashes. A change that is refused has changed nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::UserName;
use super::quota::Quota;
use super::token::{Hash, TokenId};
use crate::access::right::Rights;
use crate::access::role::UserRole;

/// The most users, and the most invitations.
pub const MAX_USERS: usize = 10_000;

/// The most tokens of one user.
pub const MAX_TOKENS: usize = 32;

/// The longest name of a token, in bytes.
const MAX_TOKEN_NAME: usize = 64;

/// The version of the file's format.
const VERSION: u32 = 1;

/// All that is kept about users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    version: u32,
    users: BTreeMap<UserName, User>,
    tokens: BTreeMap<TokenId, Token>,
    invitations: BTreeMap<UserName, Invitation>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            version: VERSION,
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            invitations: BTreeMap::new(),
        }
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The hash of the password, as a PHC string.
    pub password: String,
    /// What the user is there for.
    pub role: UserRole,
    /// Whether it may do nothing at the moment.
    #[serde(default)]
    pub disabled: bool,
    /// When it registered.
    pub created: u64,
    /// What it may take up.
    #[serde(default)]
    pub quota: Quota,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is.
    pub user: UserName,
    /// What its owner calls it.
    pub name: String,
    /// The hash of its secret.
    pub hash: Hash,
    /// What it is good for, as far as its user may do so.
    pub rights: Rights,
    /// When it was made.
    pub created: u64,
    /// When it ends; `None` if it does not.
    pub expires: Option<u64>,
    /// Where it may come from; from anywhere if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<ipnet::IpNet>,
}

/// A user who may register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The hash of the code.
    pub hash: Hash,
    /// What the user will be there for.
    pub role: UserRole,
    /// What it may take up.
    #[serde(default)]
    pub quota: Quota,
    /// Until when it holds.
    pub expires: u64,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// The user is not there.
    #[error("there is no user `{0}`: `bilico user list` lists them")]
    NoUser(UserName),
    /// The user is there already.
    #[error("there is a user `{0}` already")]
    UserExists(UserName),
    /// The token is not there.
    #[error("there is no token `{0}`: `bilico token list` lists them")]
    NoToken(TokenId),
    /// There are too many.
    #[error("there are {MAX_USERS} users or invitations already: remove some first")]
    TooManyUsers,
    /// There are too many.
    #[error("`{0}` has {MAX_TOKENS} tokens already: revoke one first")]
    TooManyTokens(UserName),
    /// A token may do no more than whoever makes it.
    #[error("a token cannot have {wanted}: whoever makes it has {had}")]
    TooManyRights {
        /// What it was to have.
        wanted: Rights,
        /// What it can have.
        had: Rights,
    },
    /// The name of a token is for people.
    #[error("the name of a token has {0} bytes: at most {MAX_TOKEN_NAME} are taken")]
    TokenName(usize),
    /// A token lives no longer than the one it was made with.
    #[error("a token cannot outlive the one that it is made with, which ends earlier")]
    OutlivesMaker,
    /// The code is wrong, used or too old, or is for another user.
    #[error("the name or the code is wrong, or the code was used or has expired")]
    BadCode,
    /// Nobody could let others in again.
    #[error("`{0}` is the last administrator who is not disabled: make another one first")]
    LastAdmin(UserName),
}

impl Book {
    /// Whether this program reads the format.
    pub fn is_known(&self) -> bool {
        self.version == VERSION
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = (&UserName, &User)> {
        self.users.iter()
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenId, &Token)> {
        self.tokens.iter()
    }

    /// All invitations.
    pub fn invitations(&self) -> impl Iterator<Item = (&UserName, &Invitation)> {
        self.invitations.iter()
    }

    /// The user of this name.
    pub fn user(&self, name: &UserName) -> Result<&User, BookError> {
        self.users
            .get(name)
            .ok_or_else(|| BookError::NoUser(name.clone()))
    }

    /// Adds a user with a password.
    pub fn add(&mut self, name: UserName, user: User) -> Result<(), BookError> {
        if self.users.contains_key(&name) {
            return Err(BookError::UserExists(name));
        }
        if self.users.len() >= MAX_USERS {
            return Err(BookError::TooManyUsers);
        }
        self.users.insert(name, user);
        Ok(())
    }

    /// Invites a user to register. For one who is there, it is the way to a new password. An earlier
    /// invitation of that name ends.
    pub fn invite(&mut self, name: UserName, invitation: Invitation) -> Result<(), BookError> {
        if !self.invitations.contains_key(&name) && self.invitations.len() >= MAX_USERS {
            return Err(BookError::TooManyUsers);
        }
        self.invitations.insert(name, invitation);
        Ok(())
    }

    /// Whether this code is good for registering under this name now.
    pub fn is_invited(&self, name: &UserName, code: &Hash, now: u64) -> bool {
        self.invitations
            .get(name)
            .is_some_and(|invited| invited.hash == *code && invited.expires > now)
    }

    /// Registers a user by invitation, or gives a user who is there a new password and ends all its
    /// tokens. The code is used up.
    pub fn register(
        &mut self,
        name: &UserName,
        code: &Hash,
        password: String,
        now: u64,
    ) -> Result<(), BookError> {
        if !self.is_invited(name, code, now) {
            return Err(BookError::BadCode);
        }
        if !self.users.contains_key(name) && self.users.len() >= MAX_USERS {
            return Err(BookError::TooManyUsers);
        }
        let Some(invited) = self.invitations.remove(name) else {
            return Err(BookError::BadCode);
        };
        self.revoke_all(name);
        let known = self.users.remove(name);
        let user = match known {
            Some(user) => User { password, ..user },
            None => User {
                password,
                role: invited.role,
                disabled: false,
                created: now,
                quota: invited.quota,
            },
        };
        self.users.insert(name.clone(), user);
        Ok(())
    }

    /// Gives a user another password, and ends all its tokens.
    pub fn set_password(&mut self, name: &UserName, password: String) -> Result<(), BookError> {
        self.user_mut(name)?.password = password;
        self.revoke_all(name);
        Ok(())
    }

    /// Disables or enables a user. Its tokens stay, and are good for nothing meanwhile.
    pub fn set_disabled(&mut self, name: &UserName, disabled: bool) -> Result<(), BookError> {
        self.user(name)?;
        if disabled {
            self.check_another_admin(name)?;
        }
        self.user_mut(name)?.disabled = disabled;
        Ok(())
    }

    /// Gives a user another role.
    pub fn set_role(&mut self, name: &UserName, role: UserRole) -> Result<(), BookError> {
        self.user(name)?;
        if role != UserRole::Admin {
            self.check_another_admin(name)?;
        }
        self.user_mut(name)?.role = role;
        Ok(())
    }

    /// Bounds what a user may take up.
    pub fn set_quota(&mut self, name: &UserName, quota: Quota) -> Result<(), BookError> {
        self.user_mut(name)?.quota = quota;
        Ok(())
    }

    /// Removes a user, its tokens and its invitation.
    pub fn remove(&mut self, name: &UserName) -> Result<(), BookError> {
        let invited = self.invitations.contains_key(name);
        if !invited {
            self.user(name)?;
        }
        self.check_another_admin(name)?;
        self.invitations.remove(name);
        self.users.remove(name);
        self.revoke_all(name);
        Ok(())
    }

    /// Adds a token for somebody who has shown the password: if there are too many, the one that ends
    /// first makes way, since whoever cannot log in cannot revoke one.
    pub fn log_in(&mut self, id: TokenId, token: Token, now: u64) -> Result<(), BookError> {
        let is_good = |other: &Token| other.expires.is_none_or(|expires| expires > now);
        let of_user = self.tokens.iter();
        let of_user = of_user.filter(|(_, other)| other.user == token.user && is_good(other));
        let mut ends: Vec<_> = of_user
            .map(|(id, other)| (other.expires.unwrap_or(u64::MAX), id.clone()))
            .collect();
        if ends.len() >= MAX_TOKENS {
            ends.sort();
            for (_, first) in ends.iter().take(ends.len() + 1 - MAX_TOKENS) {
                self.tokens.remove(first);
            }
        }
        self.issue(id, token, now)
    }

    /// Adds a token. Expired ones go.
    pub fn issue(&mut self, id: TokenId, token: Token, now: u64) -> Result<(), BookError> {
        let had = self.user(&token.user)?.role.rights();
        let wanted = token.rights;
        if !wanted.are_among(had) {
            return Err(BookError::TooManyRights { wanted, had });
        }
        if token.name.len() > MAX_TOKEN_NAME {
            return Err(BookError::TokenName(token.name.len()));
        }
        let is_over = |token: &Token| token.expires.is_some_and(|expires| expires <= now);
        let of_user = self
            .tokens
            .values()
            .filter(|other| other.user == token.user);
        if of_user.filter(|other| !is_over(other)).count() >= MAX_TOKENS {
            return Err(BookError::TooManyTokens(token.user));
        }
        self.tokens.retain(|_, token| !is_over(token));
        self.invitations.retain(|_, invited| invited.expires > now);
        self.tokens.insert(id, token);
        Ok(())
    }

    /// Ends a token; of this user only, if one is named.
    pub fn revoke(&mut self, id: &TokenId, of: Option<&UserName>) -> Result<Token, BookError> {
        let is_theirs = |token: &Token| of.is_none_or(|user| token.user == *user);
        if !self.tokens.get(id).is_some_and(is_theirs) {
            return Err(BookError::NoToken(id.clone()));
        }
        let revoked = self.tokens.remove(id);
        revoked.ok_or_else(|| BookError::NoToken(id.clone()))
    }

    /// Ends all tokens of a user.
    pub fn revoke_all(&mut self, user: &UserName) {
        self.tokens.retain(|_, token| token.user != *user);
    }

    fn user_mut(&mut self, name: &UserName) -> Result<&mut User, BookError> {
        let user = self.users.get_mut(name);
        user.ok_or_else(|| BookError::NoUser(name.clone()))
    }

    /// Whether somebody else could let others in, unless this user could not either.
    fn check_another_admin(&self, name: &UserName) -> Result<(), BookError> {
        let is_admin = |user: &User| user.role == UserRole::Admin && !user.disabled;
        let mut others = self.users.iter().filter(|(other, _)| *other != name);
        if self.users.get(name).is_some_and(is_admin) && !others.any(|(_, user)| is_admin(user)) {
            return Err(BookError::LastAdmin(name.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::right::Right;
    use crate::access::users::token::{NewCode, NewToken};

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn book(users: &[(&str, UserRole)]) -> Book {
        let mut book = Book::default();
        for (user, role) in users {
            let user = (name(user), *role);
            let of = User {
                password: String::new(),
                role: user.1,
                disabled: false,
                created: 0,
                quota: Quota::default(),
            };
            book.add(user.0, of).unwrap();
        }
        book
    }

    fn token(user: &str, rights: &[Right], expires: Option<u64>) -> Token {
        Token {
            user: name(user),
            name: String::new(),
            hash: NewToken::make().hash,
            rights: Rights::of(rights),
            created: 0,
            expires,
            from: Vec::new(),
        }
    }

    #[test]
    fn a_code_is_good_once_for_its_user_and_its_time() {
        let mut book = Book::default();
        let (code, other) = (NewCode::make(), NewCode::make());
        let invitation = Invitation {
            hash: code.hash,
            role: UserRole::Viewer,
            quota: Quota::default(),
            expires: 100,
        };
        book.invite(name("anna"), invitation.clone()).unwrap();
        for (user, code, now) in [("bob", &code, 0), ("anna", &other, 0), ("anna", &code, 100)] {
            let refused = book.register(&name(user), &code.hash, "p".into(), now);
            assert_eq!(refused, Err(BookError::BadCode), "{user} at {now}");
        }
        book.register(&name("anna"), &code.hash, "p".into(), 99)
            .unwrap();
        assert_eq!(book.user(&name("anna")).unwrap().role, UserRole::Viewer);
        let again = book.register(&name("anna"), &code.hash, "q".into(), 99);
        assert_eq!(again, Err(BookError::BadCode));
        // A second invitation is the way to another password. It ends all tokens, and the role stays.
        let id = NewToken::make().id;
        book.issue(id.clone(), token("anna", &[Right::Read], None), 0)
            .unwrap();
        let second = Invitation {
            role: UserRole::Admin,
            hash: other.hash,
            ..invitation
        };
        book.invite(name("anna"), second).unwrap();
        book.register(&name("anna"), &other.hash, "q".into(), 99)
            .unwrap();
        let anna = book.user(&name("anna")).unwrap();
        assert_eq!((&*anna.password, anna.role), ("q", UserRole::Viewer));
        assert_eq!(book.tokens().count(), 0);
    }

    #[test]
    fn a_token_has_no_more_rights_than_its_user_and_no_user_too_many_tokens() {
        let mut book = book(&[("anna", UserRole::Sender)]);
        let refused = book.issue(
            NewToken::make().id,
            token("anna", &[Right::Send, Right::Read], None),
            0,
        );
        assert!(matches!(refused, Err(BookError::TooManyRights { .. })));
        for expires in 0..MAX_TOKENS as u64 {
            let token = token("anna", &[Right::Send], Some(100 + expires));
            book.issue(NewToken::make().id, token, 0).unwrap();
        }
        let one_more = || token("anna", &[Right::Send], None);
        let refused = book.issue(NewToken::make().id, one_more(), 99);
        assert_eq!(refused, Err(BookError::TooManyTokens(name("anna"))));
        book.issue(NewToken::make().id, one_more(), 100).unwrap();
        assert_eq!(book.tokens().count(), MAX_TOKENS, "an expired one has gone");
        // Whoever knows the password gets in all the same.
        let id = NewToken::make().id;
        book.log_in(id.clone(), one_more(), 100).unwrap();
        assert_eq!(book.tokens().count(), MAX_TOKENS);
        assert!(book.tokens().any(|(other, _)| *other == id));
        assert!(
            book.tokens().all(|(_, token)| token.expires != Some(101)),
            "the first to end"
        );
    }

    #[test]
    fn others_tokens_are_not_there() {
        let mut book = book(&[("anna", UserRole::Sender), ("bob", UserRole::Sender)]);
        let id = NewToken::make().id;
        book.issue(id.clone(), token("anna", &[Right::Send], None), 0)
            .unwrap();
        let refused = book.revoke(&id, Some(&name("bob")));
        assert_eq!(refused, Err(BookError::NoToken(id.clone())));
        book.revoke(&id, Some(&name("anna"))).unwrap();
    }

    #[test]
    fn the_last_administrator_stays() {
        let mut book = book(&[("anna", UserRole::Admin), ("bob", UserRole::Admin)]);
        let (anna, bob) = (name("anna"), name("bob"));
        book.set_disabled(&bob, true).unwrap();
        let last = Err(BookError::LastAdmin(anna.clone()));
        assert_eq!(book.set_disabled(&anna, true), last);
        assert_eq!(book.set_role(&anna, UserRole::Operator), last);
        assert_eq!(book.remove(&anna), last);
        book.set_disabled(&bob, false).unwrap();
        book.remove(&anna).unwrap();
        assert_eq!(book.remove(&bob), Err(BookError::LastAdmin(bob)));
    }
}
