//! Connections that are greeted and then do nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::drive::{Greeted, open};
use crate::client::ClientError;
use crate::transport::Connect;

/// What became of idle connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkMemory {
    /// How many were asked for.
    pub connections: u64,
    /// How many were greeted.
    pub opened: u64,
    /// How many the balancer had not closed at the end, nor said anything on.
    pub stayed: u64,
    /// How long it took to open them, in seconds.
    pub open_seconds: f64,
    /// How long they were held, in seconds.
    pub hold_seconds: f64,
}

/// Opens connections, holds them idle for a time, and counts those that stay. `opened` has those
/// that are open until all are. To be run in a [`tokio::task::LocalSet`].
pub async fn hold(
    connector: Rc<dyn Connect>,
    address: &str,
    connections: u64,
    length: Duration,
    opened: Rc<RefCell<Vec<Greeted>>>,
) -> Result<WorkMemory, ClientError> {
    let started = Instant::now();
    open(connector, address, connections, opened.clone()).await?;
    let open_seconds = started.elapsed().as_secs_f64();
    let streams = opened.take();
    let count = streams.len() as u64;
    let mut ends = JoinSet::new();
    for (mut stream, _) in streams {
        ends.spawn_local(async move {
            // Whatever comes is an end: nobody was asked anything.
            let _ = stream.read_u8().await;
        });
    }
    let begun = Instant::now();
    tokio::time::sleep(length).await;
    while ends.try_join_next().is_some() {}
    let (stayed, hold_seconds) = (ends.len() as u64, begun.elapsed().as_secs_f64());
    Ok(WorkMemory {
        connections,
        opened: count,
        stayed,
        open_seconds,
        hold_seconds,
    })
}
