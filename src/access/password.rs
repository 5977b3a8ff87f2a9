//! Passwords: what is kept of one, and whether another is the same.

use std::cell::RefCell;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::RngExt;

use super::users::UserName;
use crate::protocol::limits::MAX_TOKEN;
use crate::secret::Secret;

/// The shortest password, in characters.
const SHORTEST: usize = 10;

/// Bytes of salt.
const SALT: usize = 16;

const ALGORITHM: Algorithm = Algorithm::Argon2id;

const VERSION: Version = Version::V0x13;

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

thread_local! {
    /// The memory of hashes, which this thread needs again for the next one: 19 MiB that come and go
    /// leave holes in the process's memory.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// What is kept of a password: its argon2id hash with 19 MiB, two passes and one lane, as a PHC
/// string. It takes tens of milliseconds of a processor.
pub fn hash_password(password: &Secret) -> Result<String, HashError> {
    let params = Params::default();
    let salt: [u8; SALT] = rand::rng().random();
    let hash = PasswordHash {
        algorithm: ALGORITHM.ident(),
        version: Some(VERSION.into()),
        hash: Some(output(password, &salt, &params).ok_or(HashError)?),
        params: (&params).try_into().map_err(|_| HashError)?,
        salt: Some(Salt::new(&salt).map_err(|_| HashError)?),
    };
    Ok(hash.to_string())
}

/// The system has no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password could not be hashed: the system has no memory")]
pub struct HashError;

/// Whether a password is the one of this hash. It takes as long for a wrong one. A hash that would
/// cost more than ours is none of ours.
pub(super) fn is_password(password: &Secret, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    let (Ok(params), Some(salt), Some(kept)) = (Params::try_from(&hash), hash.salt, hash.hash)
    else {
        return false;
    };
    let ours = Params::default();
    let is_ours = hash.algorithm == ALGORITHM.ident()
        && params.block_count() <= ours.block_count()
        && params.t_cost() <= ours.t_cost();
    is_ours && output(password, salt.as_ref(), &params).is_some_and(|output| output == kept)
}

fn output(password: &Secret, salt: &[u8], params: &Params) -> Option<Output> {
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    let argon2 = Argon2::new(ALGORITHM, VERSION, params.clone());
    MEMORY.with_borrow_mut(|memory| {
        memory.resize(params.block_count(), Block::default());
        let password = password.reveal().as_bytes();
        let hashed = argon2.hash_password_into_with_memory(password, salt, &mut out, memory);
        hashed.ok()
    })?;
    Output::new(&out).ok()
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
        let dear = hash.replace("m=19456", "m=4000000");
        assert!(!is_password(&password, &dear), "it is not computed");
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
