//! Programs that ask for a token at each start, by their user's password.

use std::sync::Arc;

use super::account::Wanted;
use super::account_error::AccountError;
use super::accounts::{Accounts, is_from};
use super::at::At;
use super::requests::tell;
use super::users::{UserName, read_token, seconds};
use crate::secret::Secret;

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
