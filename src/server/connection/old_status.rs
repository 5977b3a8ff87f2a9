//! Lines of status for the first monitoring system: one for each `status`, one a second at most, with
//! no end.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::shared::Shared;
use crate::fleet_core::old::{NoRequest, Requests, status_line};
use crate::protocol::{Refusal, RefusalCode};
use crate::transport::{ReadError, Reader, Rest, Seat};

/// The least time between two lines.
const PACE: Duration = Duration::from_secs(1);

/// A server that has just started measures for a moment until it knows how busy its processor is.
const MEASURING: Duration = Duration::from_millis(50);

/// The most requests that wait for their lines.
const MAX_WAITING: usize = 16;

/// The first byte of a request. No object of an old-style balancer begins with it.
pub(super) const FIRST: u8 = b's';

/// Answers until the peer closes or asks for something else.
pub(super) async fn serve<R, W>(
    reader: Reader<R>,
    mut write: W,
    shared: &Shared,
    seat: &Seat,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let idle = shared.deadlines.idle;
    let (mut read, came) = reader.into_parts();
    let mut requests = Requests::default();
    let mut waiting = requests.push(&came).map_err(refused)?;
    let mut next = Instant::now();
    let measured_by = next + 2 * PACE;
    let mut idle_ends = next + idle;
    let mut bytes = [0; 256];
    seat.know();
    seat.rest(Rest::Idle);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(write.shutdown().await?),
            () = seat.asked_to_leave() => return Err(ReadError::Crowded),
            length = read.read(&mut bytes) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                let bytes = bytes.get(..length).unwrap_or_default();
                waiting += requests.push(bytes).map_err(refused)?;
                if waiting > MAX_WAITING {
                    let reason = "it asks for more lines of status than it takes";
                    return Err(ReadError::Refused(Refusal::new(RefusalCode::Busy, reason)));
                }
                idle_ends = Instant::now() + idle;
            }
            () = sleep_until(next), if waiting > 0 => {
                let facts = shared.facts().as_deref().cloned().unwrap_or_default();
                let now = Instant::now();
                if facts.cpu.is_none() && now < measured_by {
                    next = now + MEASURING;
                    continue;
                }
                let line = status_line(&facts);
                let stall = shared.deadlines.stall;
                let written = timeout(stall, write.write_all(line.as_bytes())).await;
                written.map_err(|_| ReadError::Stalled(stall))??;
                waiting -= 1;
                next = Instant::now() + PACE;
                seat.rest(Rest::Idle);
            }
            () = sleep_until(idle_ends) => return Err(ReadError::Idle(idle)),
        }
    }
}

fn refused(error: NoRequest) -> ReadError {
    ReadError::Refused(Refusal::new(RefusalCode::Malformed, error.to_string()))
}
