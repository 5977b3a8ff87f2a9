//! TLS in front of a file server's port, where the server belongs to a cluster.
//!
//! Then only balancers of the cluster that have proved who they are get beyond this file. All others
//! are told why not, if they speak the native protocol, and learn nothing about the server.

use std::net::SocketAddr;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::super::cluster::ClusterDoor;
use super::shared::Shared;
use crate::access::Proven;
use crate::protocol::frame::MAGIC;
use crate::protocol::limits::{GREETING_TIMEOUT, LINGER};
use crate::protocol::{Message, Refusal, RefusalCode, frame};
use crate::transport::{BoxStream, ReadError, Reader, Seat, tls, write_all};

/// Lets a balancer come in; `None` if the peer has gone, or the server stops.
pub(super) async fn secure(
    stream: BoxStream,
    peer: SocketAddr,
    cluster: &ClusterDoor,
    (shared, seat): (&Shared, &Seat),
    greeting_ends: Instant,
) -> Result<Option<(BoxStream, Proven)>, ReadError> {
    let left = greeting_ends.saturating_duration_since(Instant::now());
    let arrived = tokio::select! {
        () = shared.stop.cancelled() => return Ok(None),
        () = seat.asked_to_leave() => return Err(ReadError::Crowded),
        arrived = timeout_at(greeting_ends, cluster.door.admit(stream, left)) => {
            arrived.unwrap_or_else(|_| silent_door())?
        }
    };
    let (stream, refusal) = match arrived {
        tls::Arrived::Gone => return Ok(None),
        tls::Arrived::Secure(stream, secured) => match cluster.balancers.prove(&secured, peer) {
            Ok(proven) => {
                let (suite, balancer) = (secured.suite, &*proven.name);
                tracing::debug!(%peer, balancer, suite, "a balancer has proved who it is");
                return Ok(Some((stream, proven)));
            }
            Err(error) => (stream, error.to_string()),
        },
        tls::Arrived::Plain(stream) => {
            let reason = "plain text is refused: this server takes files over TLS from the balancers \
                          of its cluster only (their flags --cluster-ca, --cluster-cert, --cluster-key)";
            (stream, reason.to_owned())
        }
    };
    let refusal = Refusal::new(RefusalCode::Forbidden, refusal);
    let told = tell(stream, &refusal, shared);
    let _ = timeout_at(greeting_ends, told).await;
    Err(ReadError::Refused(refusal))
}

fn silent_door() -> Result<tls::Arrived, tls::HandshakeError> {
    Err(tls::HandshakeError::Silent(GREETING_TIMEOUT))
}

/// Tells a native peer why it is refused. Others would not understand it.
async fn tell(stream: BoxStream, refusal: &Refusal, shared: &Shared) -> Result<(), ReadError> {
    let (read, write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, shared.deadlines);
    let is_native = reader.peek().await? == Some(MAGIC[0]);
    say(write, is_native.then_some(refusal), shared).await;
    reader.linger(LINGER).await;
    Ok(())
}

/// Says goodbye, with a reason if the peer would understand it.
async fn say(mut write: impl AsyncWrite + Unpin, refusal: Option<&Refusal>, shared: &Shared) {
    let mut out = Vec::new();
    if let Some(refusal) = refusal {
        frame::encode_preface(&mut out);
        frame::encode(&Message::Bye(refusal.clone()), 0, &mut out);
    }
    // It may have gone; it is refused all the same.
    let _ = write_all(&mut write, &out, shared.deadlines.stall).await;
    let _ = write.shutdown().await;
}
