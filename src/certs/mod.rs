//! Makes the certificates of a cluster, and reads what certificates say.
//!
//! A cluster has one authority, whose key signs and does nothing else. Who gets a certificate of it
//! is a balancer, a file server or a client, by the [`Identity`](crate::transport::tls::Identity) in
//! it. All keys are ECDSA over P-256.
//!
//! `authority` signs, [`Directory`] is where the files are and how they get there, and [`Order`] says
//! what is to be made. Invariant: a key is never overwritten, and never readable by others, not even
//! while it is written; a certificate is replaced as a whole or not at all.

mod authority;
mod directory;
mod error;
mod look;
mod order;
#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use directory::{Directory, Issued};
pub use error::CertsError;
pub use look::{Seen, look_at};
pub use order::Order;
