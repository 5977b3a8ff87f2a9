//! Where a link leads, and what it needs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::LinkError;
use crate::balancer::dispatch::{LinkEvent, LinkId};
use crate::balancer::messages::ToHub;
use crate::balancer::sharing::Borrowed;
use crate::queue::disk::Disk;
use crate::transport::{BoxStream, Connect};

/// A server, and the means to reach it.
pub(in crate::balancer) struct Target {
    pub(in crate::balancer) link: LinkId,
    /// What it is called.
    pub(in crate::balancer) server: Arc<str>,
    /// Where it was found.
    pub(in crate::balancer) address: Arc<str>,
    pub(in crate::balancer) connector: Arc<dyn Connect>,
    pub(in crate::balancer) hub: mpsc::UnboundedSender<ToHub>,
    /// Holds content that has a file of its own.
    pub(in crate::balancer) disk: Arc<dyn Disk>,
    /// The identity of the balancer's journal, for the server's index.
    pub(in crate::balancer) journal: Arc<str>,
    pub(in crate::balancer) connect_timeout: Duration,
    /// How long the server may read nothing, or leave its oldest file unacknowledged.
    pub(in crate::balancer) stall: Duration,
    /// Descriptors beside those that each server has.
    pub(in crate::balancer) extra: Borrowed,
    /// How long an old-style server may take to save a file.
    pub(in crate::balancer) old_style: Duration,
}

impl Target {
    pub(super) fn tell(&self, event: LinkEvent) {
        // A hub that has ended needs no events.
        let _ = self.hub.send(ToHub::Link {
            link: self.link,
            event,
        });
    }

    pub(super) async fn connect(&self) -> Result<BoxStream, LinkError> {
        self.connect_within(self.connect_timeout).await
    }

    pub(super) async fn connect_within(&self, most: Duration) -> Result<BoxStream, LinkError> {
        let connecting = self.connector.connect_at(&self.server, &self.address);
        timeout(most, connecting)
            .await
            .map_err(|_| LinkError::ConnectTimeout(most))?
            .map_err(LinkError::Io)
    }
}
