//! Holds idle connections.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::drive::{Greeted, open};
use crate::client::{ClientError, Way};
use crate::numbers::seconds;

/// Result of holding idle connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoldReport {
    /// How many connections were requested.
    pub connections: u64,
    /// How many completed the greeting.
    pub opened: u64,
    /// How many the balancer neither closed nor sent anything on.
    pub stayed: u64,
    /// How long it took to open them, in seconds.
    pub open_seconds: f64,
    /// How long they were held, in seconds.
    pub hold_seconds: f64,
}

/// Opens connections, holds them idle for `length`, and counts those that stay open. `opened` has
/// the open connections until all are open. Run it in a [`tokio::task::LocalSet`].
pub async fn hold(
    way: &Way,
    connections: u64,
    length: Duration,
    opened: Rc<RefCell<Vec<Greeted>>>,
) -> Result<HoldReport, ClientError> {
    let started = Instant::now();
    open(way, connections, opened.clone()).await?;
    let open_seconds = seconds(started.elapsed());
    let streams = opened.take();
    let count = streams.len() as u64;
    let mut ends = JoinSet::new();
    for (mut stream, _) in streams {
        ends.spawn_local(async move {
            // No request was sent, so anything that is received means the end of the connection.
            let _ = stream.read_u8().await;
        });
    }
    let begun = Instant::now();
    tokio::time::sleep(length).await;
    while ends.try_join_next().is_some() {}
    let (stayed, hold_seconds) = (ends.len() as u64, seconds(begun.elapsed()));
    Ok(HoldReport {
        connections,
        opened: count,
        stayed,
        open_seconds,
        hold_seconds,
    })
}
