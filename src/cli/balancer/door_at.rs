//! Where a doorway of the fleet is.

use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::{TcpListener, lookup_host};

use crate::cli::output::{Exit, Failure};
use crate::cli::role::bind;
use crate::cli::settings::values::address_or_none;

/// The address of a doorway; `None` for no such doorway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DoorAt(Option<String>);

impl FromStr for DoorAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address_or_none(text).map(Self)
    }
}

impl DoorAt {
    /// The address, if there is such a doorway.
    pub(super) fn address(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether there is such a doorway.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Binds it, if there is one. Hints name `flag`.
    pub(super) async fn bind(
        &self,
        flag: &str,
    ) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
        match &self.0 {
            Some(address) => bind(address, flag).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same of a doorway that only programs on this machine may reach.
    pub(super) async fn bind_here(
        &self,
        flag: &str,
    ) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
        let Some(address) = &self.0 else {
            return Ok(None);
        };
        let resolved = lookup_host(address).await;
        let mut others = resolved.into_iter().flatten();
        if others.any(|address| !address.ip().is_loopback()) {
            let error = format!(
                "{flag} is for programs on this machine: {address} is not a loopback address"
            );
            let hint = format!(
                "pass {flag} 127.0.0.1:PORT, and reach it from elsewhere through a tunnel, e.g. \
                 `ssh -L`"
            );
            return Err(Failure::new(Exit::Usage, error).hint(hint));
        }
        self.bind(flag).await
    }
}
