//! What users write in flags: addresses and servers with their weights; and what comes of reading
//! them again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest weight of a server: the scheduler's strides still have six significant digits there.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// A server as `ADDRESS=WEIGHT` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its address: host and port. It is the server's name, too.
    pub address: String,
    /// Its weight; 0 keeps it known but sends nothing to it.
    pub weight: u32,
}

/// Why a text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// There is no port, or no host.
    #[error("`{0}` is no address; write HOST:PORT, e.g. 127.0.0.1:5001")]
    Address(String),
    /// The weight is no number, or out of range.
    #[error("`{0}` is no weight; write a whole number from 0 to {MAX_WEIGHT}")]
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

/// Checks that no address is there twice.
pub fn check_servers(servers: &[ServerSpec]) -> Result<(), SpecError> {
    let mut seen = std::collections::HashSet::new();
    match servers.iter().find(|server| !seen.insert(&server.address)) {
        Some(server) => Err(SpecError::Twice(server.address.clone())),
        None => Ok(()),
    }
}

/// What came of reading the configuration again. Each item is a line for people, such as
/// `queue-files: 1000 (was 500)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What changed, and holds now.
    pub applied: Vec<String>,
    /// What changed, and holds after a restart only.
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
            ("127.0.0.1=3", "no address"),
            (":5001", "no address"),
            ("a b:5001", "no address"),
            ("a:70000", "no address"),
            ("", "no address"),
            ("a:1=-1", "`-1` is no weight"),
            ("a:1=1000001", "is no weight"),
            ("a:1=1000000000", "is no weight"),
            ("a:1=", "`` is no weight"),
            ("a:1=x", "is no weight"),
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
