//! Who a member is, whatever its address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::excerpt;

/// Who a member is. The stronger kinds stand first: a member that is known by several is known by
/// the strongest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// The directory of a native server: 32 hex digits. It moves with the directory.
    Directory(Arc<str>),
    /// The user that an agent's token is of.
    Agent(Arc<str>),
    /// The name of an instance, as its provider calls it.
    Instance(Arc<str>),
    /// An address at which it listens, as `HOST:PORT`.
    Address(Arc<str>),
    /// The address that its datagrams come from.
    Source(IpAddr),
}

/// A text that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no member's identity: expected directory:…, agent:…, instance:…, address:HOST:PORT \
     or source:IP"
)]
pub struct BadIdentity(String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(name) => write!(f, "directory:{name}"),
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Instance(name) => write!(f, "instance:{name}"),
            Self::Address(name) => write!(f, "address:{name}"),
            Self::Source(ip) => write!(f, "source:{ip}"),
        }
    }
}

impl FromStr for Identity {
    type Err = BadIdentity;

    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        let bad = || BadIdentity(excerpt(text).into_owned());
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        if name.is_empty() {
            return Err(bad());
        }
        Ok(match kind {
            "directory" => Self::Directory(name.into()),
            "agent" => Self::Agent(name.into()),
            "instance" => Self::Instance(name.into()),
            "address" => Self::Address(name.into()),
            "source" => Self::Source(name.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_they_are_written() {
        for text in [
            "directory:0123456789abcdef0123456789abcdef",
            "agent:host-a",
            "instance:i-0002",
            "address:[::1]:5001",
            "source:10.0.0.7",
            "source:fe80::1",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for text in ["", "agent", "agent:", "source:x", "who:is it"] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_says_more_than_an_address() {
        let directory = Identity::Directory("a".into());
        assert!(directory < Identity::Address("b".into()));
    }
}
