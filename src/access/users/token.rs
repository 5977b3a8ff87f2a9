//! Tokens and invitation codes: how they are made, written and recognised.
//!
//! Both are 256 random bits that only their owner has; the balancer keeps their hash. A fast hash
//! is right for that: what is random in all its bits cannot be guessed, however fast guesses are
//! checked. A checksum at the end tells a typing error from a wrong token without a look-up.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::secret::Secret;

/// How a token begins, so that scanners for leaked secrets know it.
pub const TOKEN: &str = "bil_";

/// How an invitation code begins.
const CODE: &str = "bile_";

/// The random bytes of a token or a code.
const RANDOM: usize = 32;

/// Characters of an identity.
const ID: usize = 8;

/// The public name of a token: lists and logs have it, and it is revoked by it. 8 of `a-z` and
/// `0-9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(Box<str>);

impl TokenId {
    /// What stands for it where a network takes the place of a token.
    pub(super) fn of_network() -> Self {
        Self("oldstyle".into())
    }
}

/// What is kept of a token or a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(blake3::Hash);

/// The characters of a MAC.
pub const MAC_HEX: usize = 2 * blake3::OUT_LEN;

/// What the datagrams of a token are signed with. It is derived from the hash of the token, so whoever
/// has the token and whoever keeps the hash have the same one.
#[derive(Clone)]
pub struct DatagramKey([u8; blake3::KEY_LEN]);

impl DatagramKey {
    /// The public name of a token, and its key.
    pub fn of_token(token: &Secret) -> Result<(TokenId, Self), Misspelt> {
        let (id, hash) = read_token(token)?;
        Ok((id, Self::of(&hash)))
    }

    pub(super) fn of(hash: &Hash) -> Self {
        let context = "bilico 2026-11 datagram";
        Self(blake3::derive_key(context, hash.0.as_bytes()))
    }

    /// The MAC of these bytes, as [`MAC_HEX`] characters.
    pub fn mac(&self, bytes: &[u8]) -> String {
        let mac = blake3::keyed_hash(&self.0, bytes);
        mac.to_hex().as_str().to_owned()
    }

    /// Whether this is the MAC of these bytes. Takes as long whatever is wrong with it.
    pub fn has_made(&self, bytes: &[u8], mac: &[u8]) -> bool {
        let mac = blake3::Hash::from_hex(mac);
        mac.is_ok_and(|mac| mac == blake3::keyed_hash(&self.0, bytes))
    }
}

impl fmt::Debug for DatagramKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramKey(…)")
    }
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// Its public name.
    pub id: TokenId,
    /// What its owner is told, once.
    pub text: Secret,
    /// What is kept.
    pub hash: Hash,
}

/// An invitation code that was just made.
#[derive(Debug)]
pub struct NewCode {
    /// What the user is told, once.
    pub text: Secret,
    /// What is kept.
    pub hash: Hash,
}

/// A text is no token, code, identity or hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is misspelt or cut: copy the whole of it again")]
pub struct Misspelt;

impl NewToken {
    /// Makes one.
    pub fn make() -> Self {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut rng = rand::rng();
        let id: String = (0..ID)
            .filter_map(|_| letters.get(rng.random_range(0..letters.len())))
            .map(|letter| char::from(*letter))
            .collect();
        let (body, hash) = secret();
        Self {
            text: Secret::from(format!("{TOKEN}{id}_{}", body.reveal())),
            id: TokenId(id.into()),
            hash,
        }
    }
}

impl NewCode {
    /// Makes one.
    pub fn make() -> Self {
        let (body, hash) = secret();
        Self {
            text: Secret::from(format!("{CODE}{}", body.reveal())),
            hash,
        }
    }
}

/// The identity and the hash of a token.
pub(in crate::access) fn read_token(token: &Secret) -> Result<(TokenId, Hash), Misspelt> {
    let rest = token.reveal().strip_prefix(TOKEN).ok_or(Misspelt)?;
    let (id, body) = rest.split_at_checked(ID).ok_or(Misspelt)?;
    let id = TokenId::try_from(id.to_owned())?;
    Ok((id, read_body(body.strip_prefix('_').ok_or(Misspelt)?)?))
}

/// The hash of an invitation code.
pub(in crate::access) fn read_code(code: &Secret) -> Result<Hash, Misspelt> {
    read_body(code.reveal().strip_prefix(CODE).ok_or(Misspelt)?)
}

/// 32 random bytes and their checksum as text, and their hash.
fn secret() -> (Secret, Hash) {
    let random: [u8; RANDOM] = rand::rng().random();
    let mut bytes = random.to_vec();
    bytes.extend_from_slice(&checksum::crc32c(&random).to_be_bytes());
    let text = Secret::from(Base64UrlUnpadded::encode_string(&bytes));
    (text, Hash(blake3::hash(&random)))
}

fn read_body(body: &str) -> Result<Hash, Misspelt> {
    let bytes = Base64UrlUnpadded::decode_vec(body).map_err(|_| Misspelt)?;
    let (random, sum) = bytes.split_at_checked(RANDOM).ok_or(Misspelt)?;
    if sum == checksum::crc32c(random).to_be_bytes() {
        Ok(Hash(blake3::hash(random)))
    } else {
        Err(Misspelt)
    }
}

impl TryFrom<String> for TokenId {
    type Error = Misspelt;

    fn try_from(text: String) -> Result<Self, Misspelt> {
        let fits = text.len() == ID
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(Misspelt)
        }
    }
}

impl std::str::FromStr for TokenId {
    type Err = Misspelt;

    fn from_str(text: &str) -> Result<Self, Misspelt> {
        Self::try_from(text.to_owned())
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = Misspelt;

    fn try_from(text: String) -> Result<Self, Misspelt> {
        blake3::Hash::from_hex(text).map(Self).map_err(|_| Misspelt)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0.to_hex().as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_recognised_and_nothing_else() {
        let (one, other) = (NewToken::make(), NewToken::make());
        assert_eq!(read_token(&one.text).unwrap(), (one.id, one.hash));
        assert_ne!(one.hash, other.hash);
        let text = one.text.reveal();
        assert_eq!(text.len(), 61);
        for wrong in [
            "",
            "bil_",
            &text[1..],
            &text[..60],
            &format!("{text}A"),
            &text.replace("bil_", "bile_"),
            &text.to_uppercase(),
        ] {
            assert_eq!(read_token(&Secret::from(wrong)), Err(Misspelt), "{wrong}");
        }
        for at in 13..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(read_token(&Secret::from(wrong)), Err(Misspelt));
        }
        let code = NewCode::make();
        assert_eq!(read_code(&code.text).unwrap(), code.hash);
        assert_eq!(read_code(&one.text), Err(Misspelt));
    }

    #[test]
    fn hashes_are_kept_as_text() {
        let hash = NewCode::make().hash;
        assert_eq!(Hash::try_from(String::from(hash)).unwrap(), hash);
    }
}
