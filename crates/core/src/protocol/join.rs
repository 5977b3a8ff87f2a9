//! How a server or an agent becomes a member of a balancer's fleet.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::secret::Secret;

/// What a member says of itself when it registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Register {
    /// Where a server listens, as `HOST:PORT`. Without a host, or with an unspecified one as in
    /// `0.0.0.0:5001`, the balancer takes the address that the connection comes from. `None` from an
    /// agent, which listens nowhere.
    pub address: Option<Arc<str>>,
    /// The weight that a server wants.
    pub weight: Option<u32>,
    /// What the member wants to be called where people look.
    pub name: Option<Arc<str>>,
    /// What the balancer called the order to create it, if something was ordered to.
    pub ticket: Option<Arc<str>>,
    /// That it knows the secret of the balancer's fleet.
    pub proof: Option<Proof>,
    /// How often the member tells facts, in milliseconds; it may send more `beat`s than that.
    pub every_ms: Option<u64>,
}

/// That a member knows the secret of a balancer's fleet, without the secret: a keyed BLAKE3 hash of
/// the balancer's challenge, the member's address as it says it, and its identity. Since the
/// challenge is drawn for each connection, a proof that was seen on the wire opens nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof(blake3::Hash);

/// What the key is derived for: the secret itself may be used elsewhere, too.
const CONTEXT: &str = "bilico 2026-11 register";

impl Proof {
    /// The proof over these. Two of them are compared in constant time.
    pub fn new(secret: &Secret, challenge: &str, address: &str, identity: &str) -> Self {
        let key = blake3::derive_key(CONTEXT, secret.reveal().as_bytes());
        let mut hasher = blake3::Hasher::new_keyed(&key);
        // What ends one part cannot begin the next: none of them has a zero byte.
        for part in [challenge, address, identity] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        Self(hasher.finalize())
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({self})")
    }
}

/// A text that is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoProof;

impl FromStr for Proof {
    type Err = NoProof;

    fn from_str(text: &str) -> Result<Self, NoProof> {
        blake3::Hash::from_hex(text).map(Self).map_err(|_| NoProof)
    }
}

#[cfg(test)]
impl serde::Serialize for Proof {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented bytes: other programs may register, too.
    #[test]
    fn a_proof_is_what_the_document_says() {
        let secret = Secret::from("a shared secret");
        let (challenge, address) = ("fedcba9876543210fedcba9876543210", "0.0.0.0:5001");
        let identity = "0123456789abcdef0123456789abcdef";
        let key = blake3::derive_key("bilico 2026-11 register", b"a shared secret");
        let over = format!("{challenge}\0{address}\0{identity}\0");
        let expected = blake3::keyed_hash(&key, over.as_bytes()).to_hex();
        let proof = Proof::new(&secret, challenge, address, identity);
        assert_eq!(proof.to_string(), *expected);
        assert_eq!(proof.to_string().parse(), Ok(proof));
    }

    #[test]
    fn a_proof_is_good_for_one_challenge_address_and_identity() {
        let secret = Secret::from("s");
        let proof = Proof::new(&secret, "c", "a:1", "i");
        for other in [
            Proof::new(&Secret::from("t"), "c", "a:1", "i"),
            Proof::new(&secret, "d", "a:1", "i"),
            Proof::new(&secret, "c", "a:2", "i"),
            Proof::new(&secret, "c", "a:1", "j"),
            Proof::new(&secret, "ca", ":1", "i"),
            Proof::new(&secret, "c", "a:1i", ""),
        ] {
            assert_ne!(proof, other);
        }
        assert_eq!("".parse::<Proof>(), Err(NoProof));
        assert_eq!("x".repeat(64).parse::<Proof>(), Err(NoProof));
    }
}
