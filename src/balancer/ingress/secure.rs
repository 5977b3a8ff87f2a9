//! TLS in front of the doorways of the balancer's port.

use std::net::SocketAddr;

use super::Door;
use crate::access::At;
use crate::protocol::{Refusal, RefusalCode};
use crate::transport::tls;
use crate::transport::{BoxStream, ReadError, Seat};

/// A connection that is let in, or is to be told why not in the language that it speaks.
pub(super) struct Arrived {
    pub(super) stream: BoxStream,
    pub(super) at: At,
    /// Why nothing is taken over it.
    pub(super) barred: Option<Refusal>,
}

impl Arrived {
    /// A connection that needs no TLS.
    pub(super) fn plain(stream: BoxStream, peer: SocketAddr) -> Self {
        Self {
            stream,
            at: At::plain(peer),
            barred: None,
        }
    }
}

/// Lets a connection come in by TLS, or in plain text where that is allowed; `None` if it has gone,
/// or the balancer stops.
pub(super) async fn secure(
    stream: BoxStream,
    peer: SocketAddr,
    tls: &tls::Door,
    door: &Door,
    seat: &Seat,
) -> Result<Option<Arrived>, ReadError> {
    let arrived = tokio::select! {
        () = door.shutdown.draining.cancelled() => return Ok(None),
        () = seat.asked_to_leave() => return Err(ReadError::Crowded),
        arrived = tls.admit(stream, door.patience(seat)) => arrived?,
    };
    Ok(match arrived {
        tls::Arrived::Gone => None,
        tls::Arrived::Secure(stream, secured) => {
            let (suite, group) = (secured.suite, secured.group);
            tracing::debug!(%peer, suite, group, "a connection is secure");
            Some(Arrived {
                stream,
                at: At::encrypted(peer),
                barred: None,
            })
        }
        tls::Arrived::Plain(stream) => Some(Arrived {
            barred: tls.is_required().then(no_plain_text),
            ..Arrived::plain(stream, peer)
        }),
    })
}

fn no_plain_text() -> Refusal {
    let reason = "plain text is refused: this balancer requires TLS (its flag --tls required); pass \
                  --ca FILE with the authority of its certificate";
    Refusal::new(RefusalCode::Forbidden, reason)
}
