//! The name of a user.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::protocol::limits::MAX_USER;

/// A user's name: 1 to 32 of `a-z`, `0-9`, `.`, `_` and `-`, and the first is a letter or a digit.
/// So it can stand in a line, a path or a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Arc<str>);

/// A text is no name of a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no name of a user: expected 1 to {MAX_USER} of a-z, 0-9, `.`, `_` and `-`, beginning with a \
     letter or a digit"
)]
pub struct BadName;

impl UserName {
    /// Reads a name; capital letters are taken for small ones.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let name = text.to_ascii_lowercase();
        let fits = (1..=MAX_USER).contains(&name.len())
            && name.bytes().next().is_some_and(is_first)
            && name
                .bytes()
                .all(|byte| is_first(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(name.into()))
        } else {
            Err(BadName)
        }
    }

    /// The name as text that is shared.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl TryFrom<String> for UserName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for UserName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::parse(text)
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for (text, name) in [("anna", "anna"), ("Anna.B-2_x", "anna.b-2_x"), ("7", "7")] {
            assert_eq!(UserName::parse(text).unwrap().to_string(), name);
        }
        let long = "a".repeat(33);
        for text in [
            "", ".a", "-a", "_a", "a b", "a/b", "a\0", "é", "ſ", "a@b", &long,
        ] {
            assert_eq!(UserName::parse(text), Err(BadName), "{text:?}");
        }
    }
}
