//! Role: the file server. Takes files from balancers, stores each whole or not at all, and
//! acknowledges.
//!
//! `connection` speaks to balancers, old and new, and `links` knows which of them are connected;
//! [`store`] takes files for its thread, the `keeper`, which puts them on disk, by way of `staged`
//! and the `directory`, under [`name`]s that are safe there, keeps an `index` of what balancers
//! have not confirmed, and `unlink`s what another server has; [`overload`] watches the process's
//! memory; [`work`] is done on each stored file.

mod connection;
mod directory;
mod gauge;
mod index;
mod job;
mod keeper;
mod links;
pub mod name;
pub mod overload;
mod staged;
pub mod store;
mod unlink;
pub mod work;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::durability::Durability;
use crate::protocol::limits::{DEFAULT_MAX_JSON, IDLE_TIMEOUT, STALL_TIMEOUT};
use crate::transport::{self, Deadlines, Listener, Places};
use crate::units::Margin;
use connection::Shared;
pub use gauge::ServerGauge;
pub use keeper::most_files;
use store::Store;
use work::Work;

/// How a file server is to work.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where files are stored.
    pub dir: PathBuf,
    /// What a file must outlive before it is acknowledged.
    pub durability: Durability,
    /// Remove the `.json` files in the directory at the start.
    pub clean: bool,
    /// How much more memory than at the start makes the server overloaded.
    pub overload_margin: Margin,
    /// How long the work takes for each letter A.
    pub work_delay: Duration,
    /// How many bytes of content may be held for the work.
    pub work_memory: u64,
    /// How long a peer may stop in the middle of something.
    pub stall: Duration,
    /// How long a connection may be silent between two documents.
    pub idle: Duration,
    /// The largest object at the JSON doorway, in bytes.
    pub max_json: u64,
    /// The most connections at once.
    pub max_connections: usize,
    /// How long a stopping server goes on acknowledging what it has.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("json_files_1"),
            durability: Durability::Disk,
            clean: false,
            overload_margin: Margin::Bytes(512 * 1024 * 1024),
            work_delay: Duration::ZERO,
            work_memory: 1024 * 1024 * 1024,
            stall: STALL_TIMEOUT,
            idle: IDLE_TIMEOUT,
            max_json: DEFAULT_MAX_JSON,
            max_connections: 1024,
            grace: Duration::from_secs(5),
        }
    }
}

/// Why a file server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its directory is not there any more, or another one.
    #[error("{0}")]
    Lost(String),
    /// Something else failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file server that has all it needs but connections.
pub struct Server {
    config: ServerConfig,
    store: Store,
    thread: std::thread::JoinHandle<()>,
    store_ended: CancellationToken,
    gauge: ServerGauge,
}

impl Server {
    /// Opens the store.
    pub fn open(config: ServerConfig) -> Result<Self, ServerError> {
        let store_ended = CancellationToken::new();
        let (store, thread) = Store::open(
            &config.dir,
            config.clean,
            config.durability,
            store_ended.clone(),
        )?;
        let gauge = ServerGauge::new(store.place());
        Ok(Self {
            config,
            store,
            thread,
            store_ended,
            gauge,
        })
    }

    /// What it tells of itself, now and while it runs.
    pub fn gauge(&self) -> ServerGauge {
        self.gauge.clone()
    }

    /// Runs until `stop` is cancelled: then it takes no more files, acknowledges what it has, and
    /// ends. If it cannot go on, it takes its leave in the same way, and says why.
    pub async fn run(
        self,
        listener: impl Listener,
        stop: CancellationToken,
    ) -> Result<(), ServerError> {
        let Self {
            config,
            store,
            thread,
            store_ended,
            gauge,
        } = self;
        let tasks = TaskTracker::new();
        let (overload, open, place) = (
            gauge.overload.clone(),
            gauge.connections.clone(),
            store.place(),
        );
        let watching = overload::watch(overload.clone(), config.overload_margin);
        tasks.spawn(stop.clone().run_until_cancelled_owned(watching));
        let work = Work::new(
            config.work_delay,
            config.work_memory,
            tasks.clone(),
            stop.clone(),
        );
        let deadlines = Deadlines {
            stall: config.stall,
            idle: config.idle,
        };
        let large = Arc::new(Semaphore::new(connection::LARGE_DOCUMENTS));
        let (max_json, links) = (config.max_json, Arc::default());
        let shared = Shared {
            store,
            work,
            overload,
            deadlines,
            large,
            max_json,
            stop: stop.clone(),
            links,
        };

        tracing::info!(dir = %config.dir.display(), "server started");
        let handle = move |stream, peer, seat| {
            let (serving, open) = (
                connection::serve(stream, peer, shared.clone(), seat),
                open.clone(),
            );
            async move {
                open.fetch_add(1, Ordering::Relaxed);
                serving.await;
                open.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let places = Arc::new(Places::new(config.max_connections));
        let accept = transport::serve(listener, places, stop.clone(), tasks.clone(), handle);
        let cannot_go_on = store_ended.run_until_cancelled(accept).await.is_none();
        // Without the store nothing can be stored: better gone, and restarted, than there and
        // refusing.
        stop.cancel();

        tasks.close();
        if tokio::time::timeout(config.grace, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = tasks.len(),
                "stopped with connections still open"
            );
        }
        // The store's thread ends with the last connection that could use it.
        if tasks.is_empty() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        if let Some(what) = place.dir.lost() {
            return Err(ServerError::Lost(what.to_owned()));
        }
        if cannot_go_on {
            return Err(io::Error::other("the store's thread has ended").into());
        }
        tracing::info!("server stopped");
        Ok(())
    }
}
