//! The admin listener of a role.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::output::{Exit, Failure};
use super::settings::values::address_or_none;
use crate::access::{Lock, MetricsFor};
use crate::admin::{self, AdminLimits, BindError, METRICS_CONNECTIONS, Routes};
use crate::transport::tls::Door;

/// The address of a listener for operators; `None` for no such listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminAt(Option<String>);

impl AdminAt {
    /// No such listener.
    pub(super) const NONE: Self = Self(None);

    /// Most connections at once.
    pub(super) fn max_connections(&self) -> usize {
        self.0.as_ref().map_or(0, |_| admin::max_connections())
    }

    /// The same of a listener that has only the metrics.
    pub(super) fn max_of_metrics(&self) -> usize {
        self.0.as_ref().map_or(0, |_| METRICS_CONNECTIONS)
    }
}

impl FromStr for AdminAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address_or_none(text).map(Self)
    }
}

/// The listeners of a role for operators, bound but not serving yet; it may have neither.
pub(super) struct AdminListeners {
    operators: Option<(TcpListener, SocketAddr)>,
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl AdminListeners {
    /// Binds the one for operators and the one that has only the metrics. Where operators show who
    /// they are, and nobody hears it, other machines may reach them.
    pub(super) async fn bind(
        operators: &AdminAt,
        metrics: &AdminAt,
        is_for_all: bool,
    ) -> Result<Self, Failure> {
        let operators = match &operators.0 {
            Some(address) => {
                let bound = if is_for_all {
                    admin::bind_anywhere(address).await
                } else {
                    admin::bind(address).await
                };
                Some(bound.map_err(|error| cannot_bind(error, "--admin"))?)
            }
            None => None,
        };
        let metrics = match &metrics.0 {
            Some(address) => {
                let bound = admin::bind_anywhere(address).await;
                Some(bound.map_err(|error| cannot_bind(error, "--metrics"))?)
            }
            None => None,
        };
        Ok(Self { operators, metrics })
    }

    /// The bound addresses.
    pub(super) fn addresses(&self) -> AdminAddresses {
        let address = |bound: &Option<(_, SocketAddr)>| bound.as_ref().map(|(_, address)| *address);
        AdminAddresses {
            operators: address(&self.operators),
            metrics: address(&self.metrics),
        }
    }

    /// Starts to serve the routes, which are made if there is a listener. The token is cancelled when
    /// it stops. They speak TLS where there is a door for it.
    pub(super) fn serve(
        self,
        (lock, metrics_for): (Lock, MetricsFor),
        tls: Option<&Arc<Door>>,
        routes: impl FnOnce(CancellationToken) -> Routes,
    ) -> Serving {
        let stop = CancellationToken::new();
        if self.operators.is_none() && self.metrics.is_none() {
            let tasks = Vec::new();
            return Serving { stop, tasks };
        }
        let routes = routes(stop.clone());
        let of_metrics = (lock.for_metrics(metrics_for), AdminLimits::of_metrics());
        let listeners = [
            (
                self.operators,
                routes.operators,
                (lock, AdminLimits::default()),
            ),
            (self.metrics, routes.metrics, of_metrics),
        ];
        let start = |(bound, routes, (lock, limits))| {
            let (listener, _): (TcpListener, _) = bound?;
            let (stop, tls) = (stop.clone(), tls.cloned());
            Some(tokio::spawn(admin::serve_secure(
                listener, tls, routes, lock, limits, stop,
            )))
        };
        let tasks = listeners.into_iter().filter_map(start).collect();
        Serving { stop, tasks }
    }
}

/// Where the listeners of a role for operators are.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdminAddresses {
    pub(super) operators: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

/// Listeners that are serving.
pub(super) struct Serving {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Ends them after the requests under way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

fn cannot_bind(error: BindError, flag: &str) -> Failure {
    let another = format!("pass {flag} for another address, or {flag} none");
    let (exit, hint) = match &error {
        BindError::NotLoopback(_) => (
            Exit::Usage,
            "pass --admin 127.0.0.1:60080, and reach it from elsewhere through a tunnel, e.g. `ssh \
             -L`; or start a balancer with --auth required and --tls required"
                .to_owned(),
        ),
        BindError::InUse { port } => (
            Exit::Failed,
            format!("`ss -tanp 'sport = :{port}'` shows which one; {another}"),
        ),
        BindError::Io { .. } => (Exit::Failed, another),
    };
    Failure::new(exit, error).hint(hint)
}
