//! Passwords, tokens and the like, on their way through the process.

use std::fmt;

use serde::{Deserialize, Deserializer, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A text that nobody may see: it is neither shown nor logged, and its memory is wiped at the end.
///
/// ```compile_fail
/// println!("{}", bilico_core::secret::Secret::from("abc"));
/// ```
///
/// ```compile_fail
/// let text = serde_json::to_string(&bilico_core::secret::Secret::from("abc"));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// The text itself: to send it, or to compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Writes the text itself, for a message to whoever asks for it; named by
    /// `#[serde(serialize_with)]`.
    pub fn send<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

impl From<String> for Secret {
    /// A string with spare room is copied once more, and the first copy is wiped.
    fn from(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self::from(text.as_str())
    }
}

impl PartialEq for Secret {
    /// Takes as long for any other text of the same length.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_compared_and_sent_and_not_shown() {
        let secret = Secret::from("abc".to_owned());
        assert_eq!(secret, Secret::from("abc"));
        assert_ne!(secret, Secret::from("abd"));
        assert_ne!(secret, Secret::from("abcd"));
        assert_eq!(format!("{secret:?}"), "***");
        let mut sent = Vec::new();
        secret
            .send(&mut serde_json::Serializer::new(&mut sent))
            .unwrap();
        assert_eq!(sent, b"\"abc\"");
        assert_eq!(serde_json::from_slice::<Secret>(&sent).unwrap(), secret);
    }
}
