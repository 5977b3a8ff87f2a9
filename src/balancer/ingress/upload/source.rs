//! Where the content of an upload comes from, and the loop that reads it.

use tokio::io::AsyncRead;

use super::write::Upload;
use crate::bulk::WriteBehind;
use crate::transport::{ReadError, Reader};

/// Content that comes piece by piece.
pub(in crate::balancer::ingress) trait Source {
    /// Whether all of it is to be read even when nobody wants it any more.
    const READ_PAST: bool;

    /// Hands what comes next to the writer; false once all of it came and its checksum is right.
    async fn pass(&mut self, writer: &mut WriteBehind<Upload>) -> Result<bool, ReadError>;

    /// The CRC32C of all pieces, if the peer's own checksum has proved it.
    fn proven_sum(&self) -> Option<u32> {
        None
    }

    /// Nobody wants the rest: it is only read past.
    fn not_wanted(&mut self) {}
}

/// Content behind a native frame.
pub(in crate::balancer::ingress) struct Framed<'a, R> {
    reader: &'a mut Reader<R>,
    left: u64,
    crc32c: &'a mut u32,
    /// A checksum follows the content.
    is_summed: bool,
}

impl<'a, R> Framed<'a, R> {
    /// The next `size` bytes. `crc32c` becomes that of the bytes that came.
    pub(in crate::balancer::ingress) fn new(
        reader: &'a mut Reader<R>,
        size: u64,
        crc32c: &'a mut u32,
    ) -> Self {
        *crc32c = 0;
        Self {
            reader,
            left: size,
            crc32c,
            is_summed: size > 0,
        }
    }

    /// What it reads from.
    pub(in crate::balancer::ingress) fn reader(&mut self) -> &mut Reader<R> {
        self.reader
    }
}

impl<R: AsyncRead + Unpin> Framed<'_, R> {
    /// Hands what comes next to the writer, about `most` bytes, and gives how many; 0 once all of
    /// it came and its checksum is right.
    pub(in crate::balancer::ingress) async fn pass(
        &mut self,
        most: u64,
        writer: &mut WriteBehind<Upload>,
    ) -> Result<u64, ReadError> {
        if self.left == 0 {
            if std::mem::take(&mut self.is_summed) {
                self.reader.verify(*self.crc32c).await?;
            }
            return Ok(0);
        }
        let before = *self.crc32c;
        let came = self.reader.pass(self.left, most, before, writer).await?;
        self.left -= came.bytes;
        *self.crc32c = came.crc32c;
        Ok(came.bytes)
    }

    /// The CRC32C of what came.
    pub(in crate::balancer::ingress) fn sum(&self) -> u32 {
        *self.crc32c
    }
}

/// Hands content to its writer until all of it came. Gives the CRC32C of all pieces, if the peer's
/// own checksum has proved it.
pub(super) async fn read_pieces<S: Source>(
    mut source: S,
    writer: &mut WriteBehind<Upload>,
) -> Result<Option<u32>, ReadError> {
    while source.pass(writer).await? {
        if writer.has_failed() {
            if !S::READ_PAST {
                break;
            }
            source.not_wanted();
        }
    }
    Ok(source.proven_sum())
}
