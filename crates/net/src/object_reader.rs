//! Reads JSON objects at the JSON doorway.

use std::time::Duration;

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
    /// The beginning of an object, of which more bytes came than may be held; the number.
    Large(u64),
}

/// Splits what a [`Reader`] reads into JSON objects.
pub struct ObjectReader<'a, R> {
    reader: &'a mut Reader<R>,
    splitter: Splitter,
    /// That of the object that has begun.
    deadline: ProgressDeadline,
}

impl<'a, R: AsyncRead + Unpin> ObjectReader<'a, R> {
    /// Goes on where `reader` stands, between two objects.
    pub fn new(reader: &'a mut Reader<R>) -> Self {
        Self {
            reader,
            splitter: Splitter::default(),
            deadline: ProgressDeadline::default(),
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
    /// objects. Returns [`Object::Large`] as soon as more than `held` bytes of an object are there,
    /// so that the caller can make room for more, and call again with more. The time until then is
    /// not the peer's. Cancel safe.
    pub async fn object(&mut self, held: u64, limit: u64) -> Result<Option<Object>, ReadError> {
        if !self.splitter.is_inside() && !self.skip_space().await? {
            return Ok(None);
        }
        loop {
            if let Some(end) = self.splitter.find_end(&self.reader.buffer)? {
                self.deadline = ProgressDeadline::default();
                let object = self.reader.buffer.split_to(end).freeze();
                if end as u64 > limit {
                    return Err(JsonError::TooLarge(limit).into());
                }
                return Ok(Some(Object::Whole(object)));
            }
            let came = self.reader.buffer.len();
            if came as u64 > limit {
                return Err(JsonError::TooLarge(limit).into());
            }
            if came as u64 > held {
                self.deadline = ProgressDeadline::default();
                return Ok(Some(Object::Large(came as u64)));
            }
            let filled = self.reader.fill(&mut self.deadline, 1).await;
            filled.map_err(|error| truncated(error, came))?;
        }
    }

    /// Bytes of the object that have come.
    pub fn came(&self) -> u64 {
        self.reader.buffer.len() as u64
    }

    /// How long the peer may pause in the middle of an object.
    pub fn stall(&self) -> Duration {
        self.reader.deadlines().stall
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
