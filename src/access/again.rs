//! The last token that each user got for a program, which gets it again.
//!
//! Programs ask for a token at each start, and a user has few. Were each a new one, a program that
//! starts often would push out the tokens of its user's other programs and end their connections, and
//! have the users written to disk each time. The tokens are in memory only, and whoever is given one
//! has shown the password.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Wanted;
use super::account_error::AccountError;
use super::accounts::{Accounts, is_from};
use super::at::At;
use super::requests::tell;
use super::users::{MAX_USERS, UserName, read_token, seconds};
use crate::secret::Secret;

/// The last token of each user.
#[derive(Debug, Default)]
pub(super) struct Again(Mutex<HashMap<UserName, Secret>>);

impl Again {
    fn all(&self) -> MutexGuard<'_, HashMap<UserName, Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, user: &UserName) -> Option<Secret> {
        self.all().get(user).cloned()
    }

    fn keep(&self, user: UserName, token: Secret) {
        let mut all = self.all();
        if all.len() >= MAX_USERS {
            all.clear();
        }
        all.insert(user, token);
    }
}

impl Accounts {
    /// Gives a program a token for its user's password: the last one again while it has more than half
    /// of its life. All programs want the same of their tokens. Says for how many seconds it is good.
    pub(super) async fn program_login(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
        wanted: Wanted,
        life: u64,
    ) -> Result<(Secret, u64), AccountError> {
        let issued = async {
            let name = self.check(at, user, password).await?;
            if let Some(again) = self.last_of(at, &name, &wanted, life) {
                return Ok(again);
            }
            let wanted = Wanted {
                seconds: Some(life),
                ..wanted
            };
            let (token, _) = self.issue(name.clone(), wanted, None).await?;
            self.again.keep(name, token.clone());
            Ok((token, life))
        };
        let issued = issued.await;
        tell("login", at, user, &issued);
        issued
    }

    /// The last token of a user, if it is still good and not too old.
    fn last_of(
        &self,
        at: At,
        user: &UserName,
        wanted: &Wanted,
        life: u64,
    ) -> Option<(Secret, u64)> {
        let token = self.again.of(user)?;
        let (id, hash) = read_token(&token).ok()?;
        let known = self.users.known(&id, &hash)?;
        let left = known.expires?.saturating_sub(seconds());
        let is_enough = wanted
            .rights
            .is_none_or(|rights| rights.are_among(known.rights));
        (is_enough && left > life / 2 && is_from(&known, at)).then_some((token, left))
    }
}
