//! The way to a balancer.

use std::fmt;
use std::sync::Arc;

use crate::secret::Secret;
use crate::transport::{Connect, Tcp};

/// How a client gets to its balancer, and what it shows there. Cheap to clone.
#[derive(Clone)]
pub struct Way {
    /// Makes the connections.
    pub connector: Arc<dyn Connect>,
    /// The balancer's address.
    pub address: Arc<str>,
    /// The token that says who the client is. It is not sent where others could hear it.
    pub token: Option<Secret>,
}

impl Way {
    /// Over TCP, without a token.
    pub fn plain(address: impl Into<Arc<str>>) -> Self {
        Self {
            connector: Arc::new(Tcp),
            address: address.into(),
            token: None,
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, token, .. } = self;
        let mut shown = f.debug_struct("Way");
        shown.field("address", address).field("token", token);
        shown.finish_non_exhaustive()
    }
}
