//! The admin listener of a role.

use std::net::SocketAddr;
use std::str::FromStr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::output::{Exit, Failure};
use super::settings::values::address;
use crate::access::Lock;
use crate::admin::{self, AdminLimits, BindError};

/// The address of the admin listener; `None` for no such listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminAt(Option<String>);

impl AdminAt {
    /// Most connections at once.
    pub(super) fn max_connections(&self) -> usize {
        self.0.as_ref().map_or(0, |_| admin::max_connections())
    }
}

impl FromStr for AdminAt {
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

/// The admin listener of a role, bound but not serving yet; `None` if the role has none.
pub(super) struct AdminListener(Option<(TcpListener, SocketAddr)>);

impl AdminListener {
    pub(super) async fn bind(at: &AdminAt) -> Result<Self, Failure> {
        let Some(address) = &at.0 else {
            return Ok(Self(None));
        };
        let bound = admin::bind(address).await.map_err(cannot_bind)?;
        Ok(Self(Some(bound)))
    }

    /// The bound address.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().map(|(_, address)| *address)
    }

    /// Starts to serve the routes. The token is cancelled when it stops.
    pub(super) fn serve(
        self,
        lock: Lock,
        routes: impl FnOnce(CancellationToken) -> Router,
    ) -> Serving {
        let stop = CancellationToken::new();
        let task = self.0.map(|(listener, _)| {
            let routes = routes(stop.clone());
            let limits = AdminLimits::default();
            tokio::spawn(admin::serve(listener, routes, lock, limits, stop.clone()))
        });
        Serving { stop, task }
    }
}

/// An admin listener that is serving.
pub(super) struct Serving {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Serving {
    /// Ends it after the requests under way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}

fn cannot_bind(error: BindError) -> Failure {
    let another = "pass --admin for another address, or --admin none";
    let (exit, hint) = match &error {
        BindError::NotLoopback(_) => (
            Exit::Usage,
            "pass --admin 127.0.0.1:60080, and reach it from elsewhere through a tunnel, e.g. \
             `ssh -L`"
                .to_owned(),
        ),
        BindError::InUse { port } => (
            Exit::Failed,
            format!("`ss -tanp 'sport = :{port}'` shows which one; {another}"),
        ),
        BindError::Io { .. } => (Exit::Failed, another.to_owned()),
    };
    Failure::new(exit, error).hint(hint)
}
