//! The signed datagram of an agent: what it tells, and the proof of whose token it has.
//!
//! One JSON object, whose last field is the proof:
//!
//! ```text
//! {"v":1,"token":"k3x9q2ab","boot":"5f0c…","seq":7,"time":1795580531.5,"every_s":5.0,"facts":{…},"mac":"…64 hex…"}
//! ```
//!
//! The MAC is over all bytes before `,"mac":"`, so nobody has to agree on how JSON is written. The token
//! itself never travels: its public name does, and the key is derived from the hash that the balancer
//! keeps.

use serde::{Deserialize, Serialize};

use crate::access::users::TokenId;
use crate::access::{DatagramKey, MAC_HEX};
use crate::fleet_core::Facts;

/// The longest datagram that is taken, in bytes.
pub const MAX_DATAGRAM: usize = 8192;

/// The longest name of an agent's run, in bytes.
pub const MAX_BOOT: usize = 64;

/// What stands before the MAC, and after it.
const BEFORE: &[u8] = b",\"mac\":\"";
const AFTER: &[u8] = b"\"}";

/// What an agent tells in a datagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Datagram {
    /// The version of this form: 1.
    pub v: u32,
    /// The public name of the token that it is signed with.
    pub token: TokenId,
    /// A random name of this run of the agent.
    pub boot: String,
    /// Rises with each datagram of the run.
    pub seq: u64,
    /// When it was made, in seconds since 1970.
    pub time: f64,
    /// Seconds until the next one.
    pub every_s: f32,
    /// What it tells.
    pub facts: Facts,
}

/// Why bytes are no signed datagram.
#[derive(Debug, thiserror::Error)]
pub enum BadDatagram {
    /// The proof is not at the end.
    #[error("it does not end with a MAC")]
    NoMac,
    /// Not the expected JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Of a later version.
    #[error("version {0} of signed datagrams is not known: expected 1")]
    Version(u32),
    /// A field that cannot be.
    #[error("`{0}` is not possible")]
    Field(&'static str),
}

/// A datagram that was read and whose proof nobody has looked at yet.
#[derive(Debug)]
pub struct Sealed<'a> {
    datagram: Datagram,
    signed: &'a [u8],
    mac: &'a [u8],
}

impl Datagram {
    /// The bytes to send.
    pub fn seal(&self, key: &DatagramKey) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        // The closing brace.
        bytes.pop();
        let mac = key.mac(&bytes);
        for part in [BEFORE, mac.as_bytes(), AFTER] {
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }
}

impl<'a> Sealed<'a> {
    /// Whether bytes have the form of a signed datagram: they end with a MAC.
    pub fn is_meant(bytes: &[u8]) -> bool {
        split(bytes).is_some()
    }

    /// Reads a datagram. Whose it is must be checked next.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BadDatagram> {
        let (signed, mac) = split(bytes).ok_or(BadDatagram::NoMac)?;
        let datagram: Datagram = serde_json::from_slice(bytes)?;
        if datagram.v != 1 {
            return Err(BadDatagram::Version(datagram.v));
        }
        if datagram.boot.is_empty() || datagram.boot.len() > MAX_BOOT {
            return Err(BadDatagram::Field("boot"));
        }
        if !datagram.time.is_finite() || datagram.time < 0.0 {
            return Err(BadDatagram::Field("time"));
        }
        Ok(Self {
            datagram,
            signed,
            mac,
        })
    }

    /// The token that it says it is signed with.
    pub fn token(&self) -> &TokenId {
        &self.datagram.token
    }

    /// Whether it is signed with this key.
    pub fn is_by(&self, key: &DatagramKey) -> bool {
        key.has_made(self.signed, self.mac)
    }

    /// What it tells.
    pub fn into_datagram(self) -> Datagram {
        self.datagram
    }
}

/// What is signed, and the MAC.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_suffix(AFTER)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_HEX)?)?;
    Some((rest.strip_suffix(BEFORE)?, mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    /// A token as `bilico token create` makes them.
    const TOKEN: &str = "bil_k3x9q2ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACKkTaq";

    fn datagram(token: TokenId) -> Datagram {
        Datagram {
            v: 1,
            token,
            boot: "5f0c".to_owned(),
            seq: 7,
            time: 1_795_580_531.5,
            every_s: 5.0,
            facts: Facts {
                cpu: Some(0.5),
                ..Facts::default()
            },
        }
    }

    #[test]
    fn only_the_token_that_it_was_signed_with_proves_it() {
        let (id, key) = DatagramKey::of_token(&Secret::from(TOKEN)).unwrap();
        let sent = datagram(id);
        let bytes = sent.seal(&key).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(
            text.starts_with(
                "{\"v\":1,\"token\":\"k3x9q2ab\",\"boot\":\"5f0c\",\"seq\":7,\
                 \"time\":1795580531.5,\"every_s\":5.0,\"facts\":{\"cpu\":0.5},\"mac\":\""
            ),
            "{text}"
        );
        let other = crate::access::users::NewToken::make();
        let (_, other) = DatagramKey::of_token(&other.text).unwrap();
        let read = Sealed::read(&bytes).unwrap();
        assert!(read.is_by(&key) && !read.is_by(&other));
        assert_eq!(read.into_datagram(), sent);
        // One byte changed anywhere: it is no datagram, or not signed.
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let is_good = Sealed::read(&changed).is_ok_and(|read| read.is_by(&key));
            assert!(!is_good, "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(!Sealed::is_meant(&bytes[..cut]));
        }
    }

    #[test]
    fn impossible_fields_are_refused() {
        let (id, key) = DatagramKey::of_token(&Secret::from(TOKEN)).unwrap();
        let changes: [fn(&mut Datagram); 4] = [
            |datagram| datagram.v = 2,
            |datagram| datagram.boot.clear(),
            |datagram| datagram.boot = "x".repeat(65),
            |datagram| datagram.time = -1.0,
        ];
        for change in changes {
            let mut bad = datagram(id.clone());
            change(&mut bad);
            let bytes = bad.seal(&key).unwrap();
            assert!(Sealed::read(&bytes).is_err(), "{bad:?}");
        }
    }
}
