//! A server's life, from its store to its last acknowledgement.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{ServerConfig, ServerError};
use super::connection::{self, Shared};
use super::figures::{self, Own};
use super::gauge::ServerGauge;
use super::overload;
use super::register::Registering;
use super::store::Store;
use super::work::Work;
use crate::transport::{self, Listener, Places};

/// A file server with an open store and no connections yet.
pub struct Server {
    config: ServerConfig,
    store: Store,
    thread: JoinHandle<()>,
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
            config.readable_by,
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

    /// Figures about the server, now and while it runs.
    pub fn gauge(&self) -> ServerGauge {
        self.gauge.clone()
    }

    /// As [`Self::run`], and registers at balancers meanwhile, if it is to. Before it stops it leaves
    /// them in order.
    pub async fn run_registered(
        self,
        listener: impl Listener,
        registering: Option<Registering>,
        stop: CancellationToken,
    ) -> Result<(), ServerError> {
        let Some(registering) = registering else {
            return self.run(listener, stop).await;
        };
        // It still takes files while it leaves.
        let left = CancellationToken::new();
        let place = self.store.place();
        let registered = tokio::spawn(registering.run(place, stop, left.clone()));
        let ended = self.run(listener, left).await;
        registered.abort();
        ended
    }

    /// Runs until `stop` is cancelled: then it takes no more files, acknowledges the ones it has,
    /// and ends. If it cannot go on, it stops in the same way and returns the reason.
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
        let place = store.place();
        let open = gauge.connections.clone();
        let tasks = TaskTracker::new();
        let shared = share(&config, store, &gauge, &tasks, &stop);

        tracing::info!(dir = %config.dir.display(), "server started");
        let handle = move |stream, peer, seat| {
            let serving = connection::serve(stream, peer, shared.clone(), seat);
            let open = open.clone();
            async move {
                open.fetch_add(1, Ordering::Relaxed);
                serving.await;
                open.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let places = Arc::new(Places::new(config.max_connections));
        let accept = transport::serve(listener, places, stop.clone(), tasks.clone(), handle);
        let store_is_gone = store_ended.run_until_cancelled(accept).await.is_none();
        // Without its store a server can only refuse: better that it ends and is restarted.
        stop.cancel();
        finish(&config, &tasks, thread).await;
        if let Some(reason) = place.dir.lost() {
            return Err(ServerError::Lost(reason.to_owned()));
        }
        if store_is_gone {
            return Err(io::Error::other("the store's thread has ended").into());
        }
        tracing::info!("server stopped");
        Ok(())
    }
}

/// Starts the overload monitor and the samples, and collects what connections share.
fn share(
    config: &ServerConfig,
    store: Store,
    gauge: &ServerGauge,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Shared {
    let overload = gauge.overload.clone();
    let watching = overload::watch(overload.clone(), config.overload_margin);
    tasks.spawn(stop.clone().run_until_cancelled_owned(watching));
    let work = Work::new(
        config.work_delay,
        config.work_memory,
        tasks.clone(),
        stop.clone(),
    );
    let own = Own {
        place: store.place(),
        overload: overload.clone(),
        work: work.clone(),
    };
    let (figures, dir) = (gauge.figures.clone(), config.dir.clone());
    let measuring = async move { figures::watch(figures, &dir, own).await };
    tasks.spawn(stop.clone().run_until_cancelled_owned(measuring));
    let told = (overload, gauge.figures.clone());
    Shared::new(config, store, work, told, stop.clone())
}

/// Waits for connections to acknowledge what they have, and for the store's thread.
async fn finish(config: &ServerConfig, tasks: &TaskTracker, thread: JoinHandle<()>) {
    tasks.close();
    let ended = tokio::time::timeout(config.grace, tasks.wait()).await;
    if ended.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "stopped with connections still open"
        );
    }
    // The store's thread ends with the last connection that could use it.
    if tasks.is_empty() {
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}
