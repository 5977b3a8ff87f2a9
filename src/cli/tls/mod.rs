//! TLS on the command line: the flags, what is made of them, and the certificates that reloads read
//! again.

mod client;
mod cluster;
mod doors;
mod held;

pub(super) use client::CaArg;
pub(super) use cluster::ClusterArgs;
pub(super) use doors::{Doors, TlsArgs, check};
pub(super) use held::Certificates;
