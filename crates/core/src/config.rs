//! Addresses and servers with their weights, as users write them, and the outcome of a reload.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest weight of a server. At this weight the scheduler's strides still have six
/// significant digits.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// A server, as `ADDRESS=WEIGHT`, or as `NAME@ADDRESS=WEIGHT` where its certificate must have that
/// name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Host and port, behind the name in its certificate if one is given. It is what the server is
    /// called.
    pub address: String,
    /// Its weight, up to [`MAX_WEIGHT`]. A server of weight 0 stays configured and gets no files.
    pub weight: u32,
}

/// Why the text of a server, or a list of servers, is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The host or the port is missing or invalid.
    #[error("invalid address {0:?}: expected HOST:PORT, e.g. 127.0.0.1:5001")]
    Address(String),
    /// The name in front of the address is invalid.
    #[error(
        "invalid server {0:?}: expected NAME@HOST:PORT with a name of a-z, 0-9, `.`, `_` and `-`, or \
         HOST:PORT"
    )]
    Name(String),
    /// The weight is not a number, or out of range.
    #[error("invalid weight {0:?}: expected a whole number from 0 to 1,000,000")]
    Weight(String),
    /// Two servers have one address.
    #[error("server {0} is named twice")]
    Twice(String),
}

/// The host and port of what a server is called.
pub fn address_of(server: &str) -> &str {
    server
        .split_once('@')
        .map_or(server, |(_, address)| address)
}

/// The name that the certificate of a server must have, if what it is called says one.
pub fn certified_name(server: &str) -> Option<&str> {
    server.split_once('@').map(|(name, _)| name)
}

/// Checks that `text` is what a server can be called: an address, or one behind a name and `@`.
pub fn parse_server(text: &str) -> Result<String, SpecError> {
    let (name, address) = text
        .split_once('@')
        .map_or((None, text), |(name, address)| (Some(name), address));
    parse_address(address)?;
    let is_well = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if name.is_some_and(|name| name.is_empty() || !name.bytes().all(is_well)) {
        return Err(SpecError::Name(text.to_owned()));
    }
    Ok(text.to_owned())
}

/// Checks that `text` is a host and a port.
pub fn parse_address(text: &str) -> Result<String, SpecError> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| SpecError::Address(text.to_owned()))?;
    let is_foreign = |c: char| c.is_whitespace() || c == '@';
    if host.is_empty() || host.contains(is_foreign) || port.parse::<u16>().is_err() {
        return Err(SpecError::Address(text.to_owned()));
    }
    Ok(text.to_owned())
}

impl FromStr for ServerSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (address, weight) = text.split_once('=').unwrap_or((text, "1"));
        let weight = weight.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
        let weight = weight.ok_or_else(|| {
            SpecError::Weight(text.split_once('=').map_or("", |(_, w)| w).to_owned())
        })?;
        Ok(Self {
            address: parse_server(address)?,
            weight,
        })
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.address, self.weight)
    }
}

/// Checks that no address occurs twice.
pub fn check_servers(servers: &[ServerSpec]) -> Result<(), SpecError> {
    let mut seen = std::collections::HashSet::new();
    match servers
        .iter()
        .find(|server| !seen.insert(address_of(&server.address)))
    {
        Some(server) => Err(SpecError::Twice(server.address.clone())),
        None => Ok(()),
    }
}

/// Outcome of a reload of the configuration. Each item is a line for people, such as
/// `queue-files: 1000 (was 500)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Changes that are in force now.
    pub applied: Vec<String>,
    /// Changes that need a restart.
    pub restart: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_called_by_the_name_in_its_certificate() {
        let spec: ServerSpec = "store-1@[::1]:5001=3".parse().unwrap();
        assert_eq!(spec.to_string(), "store-1@[::1]:5001=3");
        assert_eq!(address_of(&spec.address), "[::1]:5001");
        assert_eq!(certified_name(&spec.address), Some("store-1"));
        assert_eq!(
            (address_of("h:1"), certified_name("h:1")),
            ("h:1", None),
            "an address is its own name"
        );
        for wrong in ["@h:1", "A@h:1", "a b@h:1", "a@b@h:1", "a@"] {
            assert!(wrong.parse::<ServerSpec>().is_err(), "{wrong}");
        }
        let both = ["a@h:1", "b@h:1"].map(|text| text.parse().unwrap());
        assert!(check_servers(&both).is_err(), "one address, twice");
    }

    #[test]
    fn servers_with_and_without_weight() {
        let spec = |address: &str, weight| {
            Ok(ServerSpec {
                address: address.to_owned(),
                weight,
            })
        };
        assert_eq!("127.0.0.1:5001=3".parse(), spec("127.0.0.1:5001", 3));
        assert_eq!(
            "store-1.example:5001".parse(),
            spec("store-1.example:5001", 1)
        );
        assert_eq!("[::1]:5001=0".parse(), spec("[::1]:5001", 0));
        assert_eq!("a:1=1000000".parse(), spec("a:1", 1_000_000));
        for (text, part) in [
            ("127.0.0.1=3", "invalid address"),
            (":5001", "invalid address"),
            ("a b:5001", "invalid address"),
            ("a:70000", "invalid address"),
            ("", "invalid address"),
            (
                "a:1=-1",
                r#"invalid weight "-1": expected a whole number from 0 to 1,000,000"#,
            ),
            ("a:1=1000001", "invalid weight"),
            ("a:1=1000000000", "invalid weight"),
            ("a:1=", r#"invalid weight """#),
            ("a:1=x", "invalid weight"),
        ] {
            let error = text.parse::<ServerSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_server_named_twice_is_an_error() {
        let servers = ["a:1=1", "b:1=1", "a:1=2"].map(|text| text.parse().unwrap());
        assert_eq!(
            check_servers(&servers),
            Err(SpecError::Twice("a:1".to_owned()))
        );
        assert_eq!(check_servers(&servers[..2]), Ok(()));
    }
}
