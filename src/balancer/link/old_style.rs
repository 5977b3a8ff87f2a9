//! The link to an old-style server: one connection for each file, and no acknowledgement.
//!
//! Only this room knows which files such a server can read: it builds the JSON document. A file
//! that has none is [`LinkEvent::Unfit`], which is no failed attempt.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::content::{Loaded, load};
use super::error::LinkError;
use super::target::Target;
use crate::balancer::dispatch::{LinkEvent, Speaker};
use crate::balancer::messages::{Parcel, ToServer};
use crate::protocol::json::{self, NotOldStyle};
use crate::server::name::stored_title;
use crate::transport::write_all;

/// How many connections an old-style server gets at once: it starts a thread for each, and its
/// backlog is short.
const CONNECTIONS: usize = 4;

/// Gives each file a connection of its own, until the hub drops its end.
pub(super) async fn run(target: Arc<Target>, mut from_hub: mpsc::UnboundedReceiver<ToServer>) {
    target.tell(LinkEvent::Opened {
        speaker: Speaker::default(),
        holding: None,
        seen: None,
    });
    let mut deliveries = JoinSet::new();
    loop {
        tokio::select! {
            item = from_hub.recv(), if deliveries.len() < CONNECTIONS => match item {
                Some(ToServer::Parcel(parcel)) => {
                    let target = target.clone();
                    deliveries.spawn(async move { target.tell(deliver(&target, parcel).await) });
                }
                // Such a server confirms nothing, and removes nothing.
                Some(ToServer::Ahead(_) | ToServer::Confirm(_) | ToServer::Drop(..)) => {}
                None => return,
            },
            Some(_) = deliveries.join_next() => {}
        }
    }
}

/// Delivers one file, and says what became of it.
async fn deliver(target: &Target, parcel: Parcel) -> LinkEvent {
    let number = parcel.number;
    let unfit = |why| LinkEvent::Unfit { number, why };
    let lost = |reason| LinkEvent::Lost { number, reason };
    let loaded = load(std::iter::once(ToServer::Parcel(parcel))).await.pop();
    let (parcel, content) = match loaded {
        Some(Loaded::Small(parcel, content)) => (parcel, content),
        Some(Loaded::Large(..)) => return unfit(NotOldStyle::TooLarge),
        Some(Loaded::Failed(event)) => return event,
        _ => return lost("the content could not be loaded".to_owned()),
    };
    // Such a server makes a file of this name, without a look at it.
    let title = stored_title(number, &parcel.meta.title);
    let document = match json::old_style_file(number, &title, &content) {
        Ok(document) => document,
        Err(why) => return unfit(why),
    };
    match hand_over(target, &document).await {
        Ok(()) => LinkEvent::Stored {
            numbers: vec![number],
            confirmed: false,
        },
        Err(error) => lost(error.reason()),
    }
}

/// Such a server reads once, so the whole document goes out in one write.
async fn hand_over(target: &Target, document: &[u8]) -> Result<(), LinkError> {
    let mut stream = target.connect().await?;
    write_all(&mut stream, document, target.stall).await?;
    stream.shutdown().await?;
    Ok(())
}
