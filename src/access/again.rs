//! The last token that each user got for a program, which gets it again.
//!
//! Programs ask for a token at each start, and a user has few. Were each a new one, a program that
//! starts often would push out the tokens of its user's other programs and end their connections, and
//! have the users written to disk each time. The tokens are in memory only, and whoever is given one
//! has shown the password.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::users::{MAX_USERS, UserName};
use crate::secret::Secret;

/// The last token of each user.
#[derive(Debug, Default)]
pub(super) struct Again(Mutex<HashMap<UserName, Secret>>);

impl Again {
    fn all(&self) -> MutexGuard<'_, HashMap<UserName, Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, user: &UserName) -> Option<Secret> {
        self.all().get(user).cloned()
    }

    pub(super) fn keep(&self, user: UserName, token: Secret) {
        let mut all = self.all();
        if all.len() >= MAX_USERS {
            all.clear();
        }
        all.insert(user, token);
    }
}
