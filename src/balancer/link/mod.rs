//! The link to one server: the hub's files go out over it, and what becomes of them comes back as
//! [`LinkEvent`](super::dispatch::LinkEvent)s.
//!
//! A native server has one connection with many files in flight, a second one for large files
//! ([`lane`]), and one for each file that still comes in ([`ahead`]); an old-style server gets a new
//! connection for each file, and its close is all the acknowledgement there is. This room owns the deadlines of both, the
//! proof that content is what the client sent ([`content`]), and the answer to whether an old-style
//! server can read a file ([`old_style`]). Windows and retries are the dispatcher's.

mod acks;
mod ahead;
mod content;
mod error;
mod lane;
mod large;
mod native;
mod old_style;
mod opening;
mod outstanding;
mod send;
mod target;
#[cfg(test)]
mod tests;

pub(super) use old_style::MORE_CONNECTIONS;
pub(super) use target::Target;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::messages::ToServer;
use crate::protocol::status::Dialect;

/// Runs a link until it fails or the hub drops its end.
pub(super) async fn run(
    target: Target,
    dialect: Dialect,
    from_hub: mpsc::UnboundedReceiver<ToServer>,
) {
    match dialect {
        Dialect::Native => native::run(Arc::new(target), from_hub).await,
        Dialect::OldStyle => old_style::run(Arc::new(target), from_hub).await,
    }
}
