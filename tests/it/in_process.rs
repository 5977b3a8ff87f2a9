//! A balancer in this process, for tests that give it shorter limits than it has by itself.
//!
//! Tests that kill a balancer, look at its memory or read its log need a process of its own: a
//! [`Farm`](bilico_testkit::Farm).

use std::path::Path;
use std::sync::Arc;

use bilico::access::Lock;
use bilico::admin::{self, Admin, AdminLimits};
use bilico::balancer::{Balancer, BalancerConfig, BalancerError, Outcome, Settings};
use bilico::fleet::Fleet;
use bilico::transport::Tcp;
use bilico_testkit::{Role, status, wait_until};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A balancer with its admin listener; it stops when this is dropped.
pub struct InProcess {
    runtime: Runtime,
    stop: CancellationToken,
    running: Option<JoinHandle<Result<Outcome, BalancerError>>>,
    /// Where clients connect.
    pub address: String,
    /// Where operators connect.
    pub admin: String,
    /// The members of its fleet.
    pub fleet: Fleet,
}

impl InProcess {
    /// Starts a balancer with its journal in `dir`, and waits until all its servers are up.
    pub fn start(dir: &Path, config: BalancerConfig, limits: AdminLimits) -> Self {
        Self::on(runtime(512), dir, config, limits)
    }

    /// The same on this runtime.
    pub fn on(runtime: Runtime, dir: &Path, config: BalancerConfig, limits: AdminLimits) -> Self {
        let stop = CancellationToken::new();
        let config = BalancerConfig {
            journal: dir.join("journal"),
            ..config
        };
        let entered = runtime.enter();
        let balancer = Balancer::open(config).unwrap();
        let bind = async {
            let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (clients, admin::bind("127.0.0.1:0").await.unwrap())
        };
        let (clients, (operators, admin)) = runtime.block_on(bind);
        let address = clients.local_addr().unwrap().to_string();
        let fleet = balancer.fleet();
        let routes = Admin {
            control: balancer.control(),
            door: balancer.door(),
            fleet: fleet.clone(),
            listen: address.clone(),
            reload: None,
            limits,
        };
        let routes = admin::balancer_routes(routes, stop.clone()).operators;
        runtime.spawn(admin::serve(
            operators,
            routes,
            Lock::off_at_balancer(),
            limits,
            stop.clone(),
        ));
        let fleet = balancer.fleet();
        let running = runtime.spawn(balancer.run(clients, Arc::new(Tcp), stop.clone()));
        drop(entered);
        let this = Self {
            runtime,
            stop,
            running: Some(running),
            address,
            admin: admin.to_string(),
            fleet,
        };
        wait_until("all servers to be up", || {
            status(&this.address).servers.iter().all(|s| s.eligible)
        });
        this
    }
}

/// A runtime that has so many threads which may block.
pub fn runtime(blocking: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(blocking)
        .enable_all()
        .build()
        .unwrap()
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.running.take().map(|run| self.runtime.block_on(run));
        if !std::thread::panicking() {
            ended.unwrap().unwrap().unwrap();
        }
    }
}

/// Settings with these servers, each of weight 1.
pub fn settings_with(servers: &[Role]) -> Settings {
    let spec = |server: &Role| format!("{}=1", server.address).parse().unwrap();
    Settings {
        servers: servers.iter().map(spec).collect(),
        ..Settings::default()
    }
}
