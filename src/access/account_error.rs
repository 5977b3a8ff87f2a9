//! Why something about accounts is not done.

use std::io;

use super::account::AccountAnswer;
use super::denied::Denied;
use super::password::{HashError, WeakPassword};
use super::users::{BookError, ChangeError, UsersFileError};
use crate::protocol::RefusalCode;

/// Why accounts cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The file of the users.
    #[error(transparent)]
    File(#[from] UsersFileError),
    /// The system refuses the threads.
    #[error("cannot start the threads that check passwords: {0}")]
    Threads(#[from] io::Error),
    /// The first hash failed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Why something about an account was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// They may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What they ask for is not possible.
    #[error(transparent)]
    Book(BookError),
    /// The password is not taken.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// What they ask for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The disk or the system fails.
    #[error("{0}")]
    Failed(String),
}

impl From<ChangeError> for AccountError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Book(error) => Self::Book(error),
            ChangeError::File(error) => Self::Failed(error.to_string()),
        }
    }
}

impl From<HashError> for AccountError {
    fn from(error: HashError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl AccountError {
    /// The kind of refusal.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Denied(denied) => denied.refusal().code,
            Self::Book(_) => RefusalCode::Conflict,
            Self::Weak(_) | Self::Invalid(_) => RefusalCode::Malformed,
            Self::Failed(_) => RefusalCode::Storage,
        }
    }

    /// The answer to whoever asked.
    pub fn answer(&self) -> AccountAnswer {
        AccountAnswer::Refused {
            code: self.code(),
            error: self.to_string(),
        }
    }
}
