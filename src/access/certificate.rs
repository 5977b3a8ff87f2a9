//! The way to a pass by a certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use super::pass::{Pass, Who};
use super::right::{Right, Rights};
use crate::transport::tls::{IdentityError, Role, Secured};

/// The balancers that may come to a file server. Who shows a verified certificate of one of them may
/// act as a balancer, and nobody else, wherever they are.
#[derive(Debug, Clone)]
pub struct Balancers {
    cluster: Arc<str>,
    /// Their names; any of the cluster, if there are none.
    names: Arc<[String]>,
}

/// A balancer that has proved who it is.
#[derive(Debug, Clone)]
pub struct Proven {
    /// What it may do.
    pub pass: Pass,
    /// Its name in the cluster.
    pub name: Arc<str>,
}

impl Balancers {
    /// These of a cluster, or any of it.
    pub fn of(cluster: &str, names: Vec<String>) -> Self {
        Self {
            cluster: cluster.into(),
            names: names.into(),
        }
    }

    /// Whether a balancer of the cluster that has this name may come.
    pub fn may_come(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|known| known == name)
    }

    /// Who the peer of a connection is; an error if it is no balancer that may come.
    pub fn prove(&self, secured: &Secured, peer: SocketAddr) -> Result<Proven, IdentityError> {
        let found = secured.identity()?;
        found.check(&self.cluster, Role::Balancer, None)?;
        if !self.may_come(&found.name) {
            return Err(IdentityError::Other {
                found: found.to_string(),
                expected: format!("one of the balancers {}", self.names.join(", ")),
            });
        }
        Ok(Proven {
            pass: Pass::new(
                format!("{} at {peer}", found.name),
                Rights::of(&[Right::Store]),
                Who::Place,
            ),
            name: found.name.into(),
        })
    }
}
