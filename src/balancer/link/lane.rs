//! The lane of a native link: a second connection to the same server, for large files, so that
//! small files do not wait behind them.
//!
//! The lane is opened with the first large file, and only to a server whose hello says that it
//! takes one. Link and lane end together: what the server lists for the next link must tell of the
//! files of both. Nothing goes out before the server has said, by a list of no files, that it
//! has entered the lane. From then on the next link ends it there before the server makes its list.
//!
//! If the lane cannot be opened, large files go over the link.

use tokio::sync::mpsc;

use super::acks::read_acks;
use super::ahead::AheadEnd;
use super::error::LinkError;
use super::opening::Opening;
use super::outstanding::Outstanding;
use super::send::{Large, LinkEnd, Out};
use super::target::Target;
use crate::balancer::dispatch::Speaker;

/// The lane's end of what goes between the link and its lane.
pub(super) struct LaneEnd {
    /// Files for the lane.
    pub(super) inbox: mpsc::UnboundedReceiver<Large>,
    /// Files that the link has to send itself.
    pub(super) back: mpsc::UnboundedSender<Large>,
}

/// The ends of the link, the lane and the head starts.
pub(super) fn ends() -> (LinkEnd, LaneEnd, AheadEnd) {
    let (to_lane, inbox) = mpsc::unbounded_channel();
    let (back, returned) = mpsc::unbounded_channel();
    let (to_ahead, ahead) = mpsc::unbounded_channel();
    let head_starts = AheadEnd {
        inbox: ahead,
        to_lane: to_lane.clone(),
    };
    let link = LinkEnd {
        to_lane,
        to_ahead,
        returned,
    };
    (link, LaneEnd { inbox, back }, head_starts)
}

/// Sends what comes for the lane of the link to `speaker`. Returns when the connection ends or the
/// server is stuck, and never before there was a large file.
pub(super) async fn run(
    target: &Target,
    speaker: &Speaker,
    LaneEnd { mut inbox, back }: LaneEnd,
) -> Result<(), LinkError> {
    let Some(first) = inbox.recv().await else {
        return std::future::pending().await;
    };
    let opened = match Opening::lane(target).await {
        Ok(opened) if opened.speaker == *speaker => opened,
        Ok(_) => return Err(LinkError::OtherServer),
        Err(error) => {
            tracing::warn!(
                server = &*target.address,
                reason = error.reason(),
                "no second connection for large files: they go over the first"
            );
            let mut large = Some(first);
            while let Some(one) = large {
                let _ = back.send(one);
                large = inbox.recv().await;
            }
            return std::future::pending().await;
        }
    };
    let outstanding = Outstanding::new();
    let out = Out::new(target, opened.write, opened.direct, &outstanding);
    tokio::select! {
        result = send(out, first, inbox) => result,
        result = read_acks(target, opened.reader, &outstanding) => result,
        () = outstanding.is_stuck(target.stall) => Err(LinkError::Silent(target.stall)),
    }
}

/// Sends files one after the other. Returns only if one cannot be sent.
async fn send(
    mut out: Out<'_>,
    first: Large,
    mut inbox: mpsc::UnboundedReceiver<Large>,
) -> Result<(), LinkError> {
    let mut next = Some(first);
    while let Some((parcel, id)) = next {
        out.stream(&parcel, id).await?;
        out.end().await?;
        next = inbox.recv().await;
    }
    std::future::pending().await
}
