//! Addresses and servers with their weights, as users write them, and the outcome of a reload.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest weight of a server. At this weight the scheduler's strides still have six
/// significant digits.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// A server, as `ADDRESS=WEIGHT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Host and port. Also the server's name.
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
    /// The weight is not a number, or out of range.
    #[error("invalid weight {0:?}: expected a whole number from 0 to 1,000,000")]
    Weight(String),
    /// Two servers have one address.
    #[error("server {0} is named twice")]
    Twice(String),
}

/// Checks that `text` is a host and a port.
pub fn parse_address(text: &str) -> Result<String, SpecError> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| SpecError::Address(text.to_owned()))?;
    if host.is_empty() || host.contains(char::is_whitespace) || port.parse::<u16>().is_err() {
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
            address: parse_address(address)?,
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
    match servers.iter().find(|server| !seen.insert(&server.address)) {
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
