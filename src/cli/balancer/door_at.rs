//! Where a doorway of the fleet is.

use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::TcpListener;

use crate::cli::output::Failure;
use crate::cli::role::bind;
use crate::cli::settings::values::address;

/// The address of a doorway; `None` for no such doorway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DoorAt(Option<String>);

impl FromStr for DoorAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        address(text)
            .map(|address| Self(Some(address)))
            .map_err(|error| format!("{error}; or `none`"))
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
}
