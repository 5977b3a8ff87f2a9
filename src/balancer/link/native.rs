//! A native link: a connection for all that is small, a lane for large files, and one for a file
//! that still comes in.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::acks::read_acks;
use super::ahead;
use super::error::LinkError;
use super::lane;
use super::opening::Opening;
use super::outstanding::Outstanding;
use super::send::{Out, send_all};
use super::target::Target;
use crate::balancer::dispatch::LinkEvent;
use crate::balancer::messages::ToServer;

/// Runs a native link to its end, and tells the hub why it ended.
pub(super) async fn run(target: Arc<Target>, from_hub: mpsc::UnboundedReceiver<ToServer>) {
    target.tell(match serve(&target, from_hub).await {
        Ok(()) => LinkEvent::Closed("closed by the server".to_owned()),
        Err(error) if error.is_silence() => LinkEvent::Silent(error.reason()),
        Err(error) => LinkEvent::Closed(error.reason()),
    });
}

/// Opens the link and runs it until the server closes it or the hub drops its end.
async fn serve(
    target: &Arc<Target>,
    from_hub: mpsc::UnboundedReceiver<ToServer>,
) -> Result<(), LinkError> {
    let opened = Opening::link(target).await?;
    let speaker = opened.speaker;
    target.tell(LinkEvent::Opened {
        speaker: speaker.clone(),
        holding: opened.inventory.files,
        seen: opened.inventory.seen,
    });
    if opened.takes.ahead {
        target.tell(LinkEvent::TakesAhead);
    }

    let outstanding = Outstanding::new();
    let out = Out::new(target, opened.write, opened.direct, &outstanding);
    let (link_end, lane_end, ahead_end) = lane::ends();
    let link_end = opened.takes.lane.then_some(link_end);
    tokio::select! {
        result = send_all(out, link_end, from_hub) => result,
        result = read_acks(target, opened.reader, &outstanding) => result,
        () = outstanding.is_stuck(target.stall) => Err(LinkError::Silent(target.stall)),
        // Boxed: most links have no large file under way.
        result = Box::pin(lane::run(target, &speaker, lane_end)) => result,
        result = Box::pin(ahead::run(target, &speaker, ahead_end)) => result,
    }
}
