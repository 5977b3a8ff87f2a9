//! Writes to a connection, with a deadline on every wait.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::WriteError;
use bilico_core::checksum;
use bilico_core::protocol::frame;

/// Content up to this many bytes is copied behind its header and written with it; larger content is
/// written without a copy.
const COPIED: usize = 16 * 1024;

/// The most bytes that are written between two looks at the clock.
const STEP: usize = 256 * 1024;

/// Writes all of `bytes`; fails if the peer reads none of them for `stall`.
pub async fn write_all(
    io: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    stall: Duration,
) -> Result<(), WriteError> {
    for step in bytes.chunks(STEP) {
        let mut left = step;
        while !left.is_empty() {
            let written = timeout(stall, io.write(left))
                .await
                .map_err(|_| WriteError::Stalled(stall))??;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            left = left.get(written..).unwrap_or_default();
        }
    }
    // Over TLS, what was written may still have to be sent; over TCP there is nothing to do.
    timeout(stall, io.flush())
        .await
        .map_err(|_| WriteError::Stalled(stall))??;
    Ok(())
}

/// Appends content and its checksum to `out`. Large content is written at once instead, behind what
/// was in `out`. The caller writes the bytes that are left in `out`.
///
/// The checksum is computed here, so it proves the content from here on. Whoever forwards content
/// that came with a checksum sends that one, with [`send_summed`].
pub async fn send_content(
    io: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
    content: &[u8],
    stall: Duration,
) -> Result<(), WriteError> {
    send_summed(io, out, content, checksum::crc32c(content), stall).await
}

/// The same, with a CRC32C that is known already.
pub async fn send_summed(
    io: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
    content: &[u8],
    crc32c: u32,
    stall: Duration,
) -> Result<(), WriteError> {
    if content.is_empty() {
        return Ok(());
    }
    if content.len() <= COPIED {
        out.extend_from_slice(content);
    } else {
        write_all(io, out, stall).await?;
        out.clear();
        write_all(io, content, stall).await?;
    }
    out.extend_from_slice(&frame::checksum(crc32c));
    Ok(())
}
