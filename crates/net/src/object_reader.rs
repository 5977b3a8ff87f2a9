//! Reads JSON objects at the JSON doorway.

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::{ProgressDeadline, ReadError, Reader};
use bilico_core::protocol::ProtocolError;
use bilico_core::protocol::json::{self, JsonError, Splitter};

/// What [`ObjectReader::object`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Object {
    /// One whole object.
    Whole(Bytes),
    /// The beginning of an object that is larger than a small one.
    Large,
}

/// Splits what a [`Reader`] reads into JSON objects.
pub struct ObjectReader<'a, R> {
    reader: &'a mut Reader<R>,
    splitter: Splitter,
}

impl<'a, R: AsyncRead + Unpin> ObjectReader<'a, R> {
    /// Goes on where `reader` stands, between two objects.
    pub fn new(reader: &'a mut Reader<R>) -> Self {
        Self {
            reader,
            splitter: Splitter::default(),
        }
    }

    /// Waits for the first byte of an object, past white space; false at the end of the connection.
    /// Nothing is lost when the wait is given up.
    pub async fn skip_space(&mut self) -> Result<bool, ReadError> {
        let ends = self.reader.idle_ends();
        loop {
            let space = json::leading_space(&self.reader.buffer);
            let _ = self.reader.buffer.split_to(space);
            if !self.reader.buffer.is_empty() {
                return Ok(true);
            }
            if self.reader.wait_for_more(ends).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Reads until an object is whole and returns it; `None` when the peer closed between two
    /// objects. Returns [`Object::Large`] once, before more than `small` bytes of an object are
    /// held, so that the caller can make room for it; then the caller calls again.
    pub async fn object(&mut self, small: u64, limit: u64) -> Result<Option<Object>, ReadError> {
        if !self.splitter.is_inside() && !self.skip_space().await? {
            return Ok(None);
        }
        let mut deadline = ProgressDeadline::default();
        let mut was_small = self.reader.buffer.len() as u64 <= small;
        loop {
            if let Some(end) = self.splitter.find_end(&self.reader.buffer)? {
                let object = self.reader.buffer.split_to(end).freeze();
                if end as u64 > limit {
                    return Err(JsonError::TooLarge(limit).into());
                }
                return Ok(Some(Object::Whole(object)));
            }
            let held = self.reader.buffer.len();
            if held as u64 > limit {
                return Err(JsonError::TooLarge(limit).into());
            }
            if was_small && held as u64 > small {
                return Ok(Some(Object::Large));
            }
            was_small = held as u64 <= small;
            let filled = self.reader.fill(&mut deadline, 1).await;
            filled.map_err(|error| truncated(error, held))?;
        }
    }
}

/// The end of the connection, in the words of the JSON doorway.
fn truncated(error: ReadError, held: usize) -> ReadError {
    match error {
        ReadError::Protocol(ProtocolError::Truncated { .. }) => JsonError::Truncated(held).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
