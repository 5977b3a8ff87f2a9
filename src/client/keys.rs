//! The durable names of files: a resend has the same key as the first attempt, so that the balancer
//! takes the file once.

use std::collections::HashMap;
use std::sync::Arc;

use super::look::Seen;
use super::source::Source;
use crate::protocol::limits::MAX_KEY;

/// The longest prefix of keys, in bytes: it leaves room for a hash in a key.
pub const MAX_PREFIX: usize = 128;

/// How the files of a transfer get their keys.
#[derive(Debug, Clone)]
pub enum Keys {
    /// 32 hex digits of this transfer alone, and the file's place.
    Unique(String),
    /// A prefix and the file's title, so that another transfer of the same files has the same keys.
    Titled(String),
    /// Each file's own, from a caller that looked at the files before and remembers their keys.
    Known {
        /// The files, by their places.
        files: Arc<[KnownFile]>,
        /// Whether another transfer may have sent them under these keys.
        may_be_there: bool,
    },
}

/// A file that the caller has looked at and given a key.
#[derive(Debug, Clone)]
pub struct KnownFile {
    /// Its key.
    pub key: Arc<str>,
    /// The file as it was. What its path leads to is sent only if it is still the same.
    pub seen: Seen,
}

/// Why files cannot get keys from their titles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The prefix is empty or too long.
    #[error("a key prefix of {0} bytes: it must have 1 to {MAX_PREFIX}")]
    Prefix(usize),
    /// Two files would have one key.
    #[error("{} and {} would both have the key {key:?}", .files.0, .files.1)]
    Twice {
        /// The key.
        key: String,
        /// The two files.
        files: Box<(String, String)>,
    },
}

impl Default for Keys {
    fn default() -> Self {
        Self::Unique(format!("{:032x}", rand::random::<u128>()))
    }
}

impl Keys {
    /// Keys of the files' titles behind this prefix.
    pub fn titled(prefix: &str) -> Result<Self, KeyError> {
        match prefix.len() {
            1..=MAX_PREFIX => Ok(Self::Titled(prefix.to_owned())),
            other => Err(KeyError::Prefix(other)),
        }
    }

    /// The key of the file in this place: the same for the same file, and never longer than
    /// [`MAX_KEY`].
    ///
    /// The title is that of [`Source`], even for a payload with a title of its own, which is not
    /// known before the file is read.
    pub fn of(&self, file: usize, source: &Source) -> Arc<str> {
        match self {
            Self::Unique(run) => format!("{run}-{file}").into(),
            Self::Titled(prefix) if prefix.len() + source.title.len() <= MAX_KEY => {
                format!("{prefix}{}", source.title).into()
            }
            Self::Titled(prefix) => {
                format!("{prefix}{}", blake3::hash(source.title.as_bytes())).into()
            }
            Self::Known { files, .. } => files
                .get(file)
                .map_or_else(|| Arc::from(""), |known| Arc::clone(&known.key)),
        }
    }

    /// The file in this place as it was when it got its key, if the caller looked at it.
    pub(super) fn seen(&self, file: usize) -> Option<Seen> {
        match self {
            Self::Known { files, .. } => files.get(file).map(|known| known.seen),
            _ => None,
        }
    }

    /// Whether another transfer may have sent these files under the same keys.
    pub fn are_durable(&self) -> bool {
        match self {
            Self::Unique(_) => false,
            Self::Titled(_) => true,
            Self::Known { may_be_there, .. } => *may_be_there,
        }
    }

    /// Makes sure that no two files have one key.
    pub fn check(&self, sources: &[Source]) -> Result<(), KeyError> {
        if !self.are_durable() {
            return Ok(());
        }
        let mut taken = HashMap::with_capacity(sources.len());
        for (file, source) in sources.iter().enumerate() {
            let key = self.of(file, source);
            if let Some(first) = taken.insert(Arc::clone(&key), source) {
                let files = Box::new((first.shown(), source.shown()));
                return Err(KeyError::Twice {
                    key: key.to_string(),
                    files,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::client::source::Form;

    fn source(path: &str) -> Source {
        Source::named(Path::new(path), Form::Raw)
    }

    #[test]
    fn keys_of_two_transfers_differ_unless_a_prefix_says_otherwise() {
        let (one, other) = (Keys::default(), Keys::default());
        assert_ne!(one.of(0, &source("a")), other.of(0, &source("a")));
        assert_ne!(one.of(0, &source("a")), one.of(1, &source("a")));
        assert_eq!(one.of(7, &source("a")), one.of(7, &source("a")));
        let (prefixed, again) = (Keys::titled("p/").unwrap(), Keys::titled("p/").unwrap());
        assert_eq!(&*prefixed.of(0, &source("x/a")), "p/a");
        assert_eq!(prefixed.of(0, &source("a")), again.of(9, &source("a")));
    }

    #[test]
    fn a_title_that_is_too_long_for_a_key_is_hashed() {
        let keys = Keys::titled(&"p".repeat(MAX_PREFIX)).unwrap();
        let fits = "t".repeat(MAX_KEY - MAX_PREFIX);
        assert_eq!(keys.of(0, &source(&fits)).len(), MAX_KEY);
        let one = keys.of(0, &source(&format!("{fits}1")));
        let other = keys.of(0, &source(&format!("{fits}2")));
        assert!(one.len() <= MAX_KEY && one != other, "{one}");
        assert_eq!(one, keys.of(5, &source(&format!("{fits}1"))));
    }

    #[test]
    fn prefixes_and_titles_that_make_no_keys_are_named() {
        assert_eq!(Keys::titled("").unwrap_err(), KeyError::Prefix(0));
        assert_eq!(
            Keys::titled(&"p".repeat(129)).unwrap_err(),
            KeyError::Prefix(129)
        );
        let sources = [source("x/a"), source("b"), source("y/a")];
        let error = Keys::titled("p")
            .unwrap()
            .check(&sources)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("x/a and y/a") && error.contains("\"pa\""),
            "{error}"
        );
        assert!(Keys::default().check(&sources).is_ok());
    }
}
