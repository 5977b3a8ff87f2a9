//! What somebody asks about their own account, and what becomes of it.

use std::sync::Arc;

use super::account::{AccountAnswer, AccountRequest, TokenView, Wanted};
use super::account_error::AccountError;
use super::accounts::Accounts;
use super::at::At;
use super::audit;
use super::denied::{Denied, Why};
use super::pass::Pass;
use super::password::{check_password, hash_password, is_password};
use super::right::Right;
use super::users::{BookError, Known, NewToken, Token, TokenId, UserName, read_code, seconds};
use crate::secret::Secret;
use crate::transport::Source;

/// How long a token lives if nothing is said, in seconds.
const TOKEN_LIFE: u64 = 30 * 24 * 3600;

/// The longest life of a token, in seconds.
pub const MAX_TOKEN_LIFE: u64 = 90 * 24 * 3600;

impl Accounts {
    /// Does what somebody asks for.
    pub async fn answer(
        self: &Arc<Self>,
        at: At,
        pass: &Pass,
        request: AccountRequest,
    ) -> Result<AccountAnswer, AccountError> {
        match request {
            AccountRequest::Register {
                user,
                password,
                code,
            } => self.register(at, &user, password, &code).await,
            AccountRequest::Login {
                user,
                password,
                token,
            } => self.login(at, &user, password, token).await,
            AccountRequest::ChangePassword {
                user,
                password,
                new_password,
            } => {
                let name = self.check(at, &user, password).await?;
                check_password(&name, &new_password)?;
                let changed = name.clone();
                self.change_own(move |users| {
                    let hash = hash_password(&new_password)?;
                    Ok(users.change(|book| book.set_password(&changed, hash))?)
                })
                .await?;
                audit::attempt("password.changed", at, name.text(), Ok(()));
                Ok(AccountAnswer::Done)
            }
            AccountRequest::Whoami => known_of(pass).map(|_| you(pass)),
            AccountRequest::Logout => {
                let id = known_of(pass)?.id.clone();
                self.revoke(pass, id).await
            }
            AccountRequest::Tokens => {
                let name = user_of(pass)?;
                let mut tokens = self.users.tokens();
                tokens.retain(|token| token.user == name);
                Ok(AccountAnswer::Tokens { tokens })
            }
            AccountRequest::CreateToken { token } => self.create(pass, token).await,
            AccountRequest::RevokeToken { id } => self.revoke(pass, id).await,
        }
    }

    async fn register(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
        code: &Secret,
    ) -> Result<AccountAnswer, AccountError> {
        let registered = async {
            let name = self.may_try(at, user).await?;
            let wrong = || AccountError::from(Denied::new(Why::BadCode));
            let (Some(name), Ok(code)) = (name, read_code(code)) else {
                return Err(wrong());
            };
            // Before the password is hashed: a code cannot be guessed, and a wrong one must cost
            // nothing.
            let now = seconds();
            if !self.users.book(|book| book.is_invited(&name, &code, now)) {
                return Err(wrong());
            }
            check_password(&name, &password)?;
            let invited = name.clone();
            self.change_own(move |users| {
                let hash = hash_password(&password)?;
                Ok(users.change(|book| book.register(&invited, &code, hash, now))?)
            })
            .await
            .map_err(|error| match error {
                AccountError::Book(BookError::BadCode) => wrong(),
                other => other,
            })?;
            self.guesses().was_right(Source::of(at.address()), &name);
            Ok(AccountAnswer::Done)
        };
        let registered = registered.await;
        tell("user.registered", at, user, &registered);
        registered
    }

    async fn login(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
        wanted: Wanted,
    ) -> Result<AccountAnswer, AccountError> {
        let issued = async {
            let name = self.check(at, user, password).await?;
            let (token, about) = self.issue(name, wanted, None).await?;
            Ok(AccountAnswer::Token { token, about })
        };
        let issued = issued.await;
        tell("login", at, user, &issued);
        issued
    }

    /// Whose name and password these are. Users who are not there take as long.
    pub(super) async fn check(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
    ) -> Result<UserName, AccountError> {
        let name = self.may_try(at, user).await?;
        let hash = self.users.book(|book| {
            let user = name.as_ref().and_then(|name| book.user(name).ok());
            user.map(|user| (user.password.clone(), user.disabled))
        });
        let is_enabled = hash.as_ref().is_some_and(|(_, disabled)| !disabled);
        let hash = hash.map_or_else(|| self.nobodys.clone(), |(hash, _)| hash);
        let checked = self
            .clerks
            .check(move || is_password(&password, &hash))
            .await;
        let is_right = checked.map_err(|_| Denied::new(Why::Busy))?;
        match name {
            Some(name) if is_right && is_enabled => {
                self.guesses().was_right(Source::of(at.address()), &name);
                Ok(name)
            }
            _ => Err(Denied::new(Why::BadPassword).into()),
        }
    }

    async fn create(
        self: &Arc<Self>,
        pass: &Pass,
        wanted: Wanted,
    ) -> Result<AccountAnswer, AccountError> {
        let maker = known_of(pass)?.clone();
        let name = maker.member.name.clone();
        let (token, about) = self.issue(name, wanted, Some(&maker)).await?;
        audit::done("token.created", pass, &about.id.to_string());
        Ok(AccountAnswer::Token { token, about })
    }

    /// Makes a token for a user who has shown the password, or another token.
    pub(super) async fn issue(
        self: &Arc<Self>,
        user: UserName,
        wanted: Wanted,
        maker: Option<&Known>,
    ) -> Result<(Secret, TokenView), AccountError> {
        let now = seconds();
        let user_has = self
            .users
            .book(|book| book.user(&user).map(|user| user.role.rights()));
        let had = match maker {
            Some(maker) => maker.rights,
            None => user_has.map_err(AccountError::Book)?,
        };
        let rights = wanted.rights.unwrap_or(had);
        if rights.is_empty() {
            return Err(AccountError::Invalid(
                "a token needs one right at least".to_owned(),
            ));
        }
        if !rights.are_among(had) {
            let error = BookError::TooManyRights {
                wanted: rights,
                had,
            };
            return Err(AccountError::Book(error));
        }
        let expires = life(&wanted, maker, now)?;
        let NewToken { id, text, hash } = NewToken::make();
        let token = Token {
            user,
            name: wanted.name,
            hash,
            rights,
            created: now,
            expires: Some(expires),
            from: wanted.from,
        };
        let is_login = maker.is_none();
        let about = TokenView::of(&id, &token, None);
        let _turn = self.turn_of(&token.user).await;
        self.change_own(move |users| {
            let issued = users.change(|book| {
                if is_login {
                    book.log_in(id, token, now)
                } else {
                    book.issue(id, token, now)
                }
            });
            Ok(issued?)
        })
        .await?;
        Ok((text, about))
    }

    /// Ends a token of whoever asks.
    async fn revoke(
        self: &Arc<Self>,
        pass: &Pass,
        id: TokenId,
    ) -> Result<AccountAnswer, AccountError> {
        let known = known_of(pass)?;
        let is_own = known.id == id;
        if is_own {
            known.set_parting(true);
        }
        let (named, of) = (id.to_string(), known.member.name.clone());
        let _turn = self.turn_of(&of).await;
        let revoked = self
            .change_own(move |users| Ok(users.change(|book| book.revoke(&id, Some(&of)))?))
            .await;
        if revoked.is_err() && is_own {
            known.set_parting(false);
        }
        revoked?;
        audit::done("token.revoked", pass, &named);
        Ok(AccountAnswer::Done)
    }
}

/// When a new token ends. One that is made with another ends no later.
fn life(wanted: &Wanted, maker: Option<&Known>, now: u64) -> Result<u64, AccountError> {
    let latest = maker.and_then(|maker| maker.expires);
    match wanted.seconds {
        Some(0) => Err(AccountError::Invalid(
            "a token must live for a while".to_owned(),
        )),
        Some(seconds) if seconds > MAX_TOKEN_LIFE => Err(AccountError::Invalid(
            "a token lives for 90 days at the most".to_owned(),
        )),
        Some(seconds) if latest.is_some_and(|latest| now + seconds > latest) => {
            Err(AccountError::Book(BookError::OutlivesMaker))
        }
        Some(seconds) => Ok(now + seconds),
        None => Ok(latest.map_or(now + TOKEN_LIFE, |latest| latest.min(now + TOKEN_LIFE))),
    }
}

/// Who somebody is.
pub(super) fn you(pass: &Pass) -> AccountAnswer {
    AccountAnswer::You {
        user: pass.user().cloned(),
        rights: pass.rights(),
        token: pass.token().cloned(),
        expires: pass.known().and_then(|known| known.expires),
    }
}

fn known_of(pass: &Pass) -> Result<&Arc<Known>, AccountError> {
    pass.known().ok_or_else(|| no_user(pass))
}

fn user_of(pass: &Pass) -> Result<UserName, AccountError> {
    pass.user().cloned().ok_or_else(|| no_user(pass))
}

/// Why somebody has no account here.
fn no_user(pass: &Pass) -> AccountError {
    match pass.check(Right::ReadOwn) {
        Err(denied) => denied.into(),
        Ok(()) => Denied::new(Why::NoUsers).into(),
    }
}

pub(super) fn tell<T>(event: &'static str, at: At, user: &str, result: &Result<T, AccountError>) {
    match result {
        Ok(_) => audit::attempt(event, at, user, Ok(())),
        Err(AccountError::Denied(denied)) => audit::attempt(event, at, user, Err(denied)),
        // Who they are was right, or is not known: nothing was guessed.
        Err(_) => {}
    }
}
