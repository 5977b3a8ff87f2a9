//! Passwords: what is kept of one, and whether another is the same.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use super::users::UserName;
use crate::protocol::limits::MAX_TOKEN;
use crate::secret::Secret;

/// The shortest password, in characters.
const SHORTEST: usize = 10;

/// A password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// It is too short to hold against guessing, or too long to be kept.
    #[error("a password has {SHORTEST} characters at least and {MAX_TOKEN} bytes at most")]
    Length,
    /// It is the first that anybody guesses.
    #[error("a password must not be the name of its user")]
    Name,
}

/// Whether a user may have this password.
pub fn check_password(user: &UserName, password: &Secret) -> Result<(), WeakPassword> {
    let password = password.reveal();
    if password.chars().count() < SHORTEST || password.len() > MAX_TOKEN {
        return Err(WeakPassword::Length);
    }
    if password.eq_ignore_ascii_case(user.text()) {
        return Err(WeakPassword::Name);
    }
    Ok(())
}

/// What is kept of a password: its argon2id hash with 19 MiB, two passes and one lane, as a PHC
/// string. It takes tens of milliseconds of a processor.
pub fn hash_password(password: &Secret) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.reveal().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|_| HashError)
}

/// The system gave no random bytes or no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password could not be hashed: the system has no memory or no random bytes")]
pub struct HashError;

/// Whether a password is the one of this hash. It takes as long for a wrong one.
pub(super) fn is_password(password: &Secret, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        let checked = Argon2::default().verify_password(password.reveal().as_bytes(), &hash);
        checked.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recognised_by_its_hash() {
        let password = Secret::from("correct horse");
        let hash = hash_password(&password).unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(is_password(&password, &hash));
        assert!(!is_password(&Secret::from("correct horsf"), &hash));
        assert!(!is_password(&password, ""));
        assert_ne!(hash_password(&password).unwrap(), hash, "the salt differs");
    }

    #[test]
    fn short_and_obvious_passwords_are_refused() {
        let user = UserName::parse("alessandra").unwrap();
        let check = |password: &str| check_password(&user, &Secret::from(password));
        assert_eq!(check("123456789"), Err(WeakPassword::Length));
        assert_eq!(check(&"x".repeat(129)), Err(WeakPassword::Length));
        assert_eq!(check("Alessandra"), Err(WeakPassword::Name));
        assert_eq!(check("1234567890"), Ok(()));
    }
}
