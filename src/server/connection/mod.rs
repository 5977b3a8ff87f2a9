//! One connection to a file server, in whichever language the peer speaks.
//!
//! A balancer's native link sends many files and gets an acknowledgement for each. An old-style
//! balancer sends one file a connection and gets none. Either may ask for the overload byte over a
//! connection of its own.
//!
//! A balancer whose hello names its journal is told first which files of that journal are stored
//! here. The list is made in the order of the store's queue, after the older links of the balancer
//! have ended, so that it contains every file that they brought.

mod acks;
mod incoming;
mod native;
mod old_status;
mod old_style;
mod secure;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use self::old_style::Caller;
use self::secure::secure;
pub(super) use self::shared::Shared;
use self::shared::silent;
use crate::protocol::frame::MAGIC;
use crate::protocol::limits::GREETING_TIMEOUT;
use crate::transport::tls::FIRST_BYTE;
use crate::transport::{BoxStream, ReadError, Reader, Seat, Words};

/// What those are told who speak something else.
const ELSEWHERE: Words<'_> = Words {
    here: "this port takes files from balancers of Bilico",
    hint: "clients go to a balancer; /ready and /metrics are at the server's --admin",
};

/// Serves one connection from its first byte to its end.
pub(super) async fn serve(stream: BoxStream, peer: SocketAddr, shared: Shared, seat: Arc<Seat>) {
    let greeting_ends = Instant::now() + GREETING_TIMEOUT;
    let (stream, pass, balancer) = match &shared.cluster {
        None => (stream, shared.pass_of(peer), None),
        // Boxed, since it is over before the connection does anything else.
        Some(cluster) => {
            let secured = secure(stream, peer, cluster, (&shared, &seat), greeting_ends);
            match Box::pin(secured).await {
                Ok(Some((stream, proven))) => (stream, proven.pass, Some(proven.name)),
                Ok(None) => return,
                Err(error) => return seat.log_end(Err(error)),
            }
        }
    };
    let direct = stream.direct();
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::over(read, direct, shared.deadlines);
    let first = tokio::select! {
        () = shared.stop.cancelled() => return,
        () = seat.asked_to_leave() => Err(ReadError::Crowded),
        first = timeout_at(greeting_ends, reader.peek()) => first.unwrap_or_else(|_| silent()),
    };
    let store = shared.store_for(&pass);
    let ended = match first {
        Ok(None) => Ok(()),
        Ok(Some(byte)) if byte == MAGIC[0] => {
            let who = (store, balancer);
            native::serve(reader, write, who, &shared, &seat, greeting_ends).await
        }
        Ok(Some(old_status::FIRST)) if shared.old_status => {
            old_status::serve(reader, write, &shared, &seat).await
        }
        // Old-style peers send objects, which do not begin with a letter.
        Ok(Some(b'A'..=b'Z' | FIRST_BYTE))
            if let Some(error) = Box::pin(reader.refuse_foreign(&mut write, &ELSEWHERE)).await =>
        {
            Err(error)
        }
        Ok(Some(_)) => {
            let caller = Caller {
                peer,
                store,
                stays: balancer.is_some(),
            };
            let serving = old_style::serve(reader, write, caller, &shared, &seat, greeting_ends);
            tokio::select! {
                () = seat.asked_to_leave() => Err(ReadError::Crowded),
                ended = serving => ended,
            }
        }
        Err(error) => Err(error),
    };
    seat.log_end(ended);
}
