//! TLS of a file server's port, where the server belongs to a cluster.

use std::sync::Arc;

use crate::access::Balancers;
use crate::transport::tls::Door;

/// TLS of a file server's port.
#[derive(Debug, Clone)]
pub struct ClusterDoor {
    /// Where connections come in.
    pub door: Arc<Door>,
    /// Who may come.
    pub balancers: Balancers,
}
