//! Reads JSON objects at the JSON doorway.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::pool::{Pool, Share};
use super::{ProgressDeadline, ReadError, Reader};
use bilico_core::protocol::ProtocolError;
use bilico_core::protocol::json::{self, JsonError, Splitter};
use bilico_core::protocol::limits::SMALL_CONTENT;

/// The time between two looks whether an object that others wait for comes fast enough.
const LOOK_AT_PACE: Duration = Duration::from_secs(1);

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
        let idle = self.reader.deadlines().idle;
        let ends = Instant::now() + idle;
        loop {
            let space = json::leading_space(&self.reader.buffer);
            let _ = self.reader.buffer.split_to(space);
            if !self.reader.buffer.is_empty() {
                return Ok(true);
            }
            if self.reader.wait_for_more(ends, idle).await? == 0 {
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

    /// Reads an object of up to `limit` bytes, which takes memory of `pool` as it comes, beyond what
    /// small objects take; `None` when the peer closed between two objects. One that has the pool's
    /// turn and comes too slowly for those that wait for it is given up.
    pub async fn object_in(
        &mut self,
        pool: &Pool,
        share: &mut Share,
        limit: u64,
    ) -> Result<Option<Bytes>, ReadError> {
        let mut held = SMALL_CONTENT;
        loop {
            let came = tokio::select! {
                object = self.object(held, limit) => match object? {
                    None => return Ok(None),
                    Some(Object::Whole(object)) => return Ok(Some(object)),
                    Some(Object::Large(came)) => came,
                },
                () = tokio::time::sleep(LOOK_AT_PACE), if share.has_turn() => {
                    if pool.is_too_slow(share, self.came(), self.stall()) {
                        return Err(ReadError::GaveWay);
                    }
                    continue;
                }
            };
            held = pool.next_step(came, limit);
            if !pool.try_grow(share, held) {
                held = pool.first_step(came, limit);
                // `None` only when the role is gone, which ends this from outside.
                let _ = pool.grow(share, held, came).await;
            }
            if share.has_turn() {
                share.lean_on_turn();
                held = limit;
            }
        }
    }

    /// Bytes of the object that have come.
    fn came(&self) -> u64 {
        self.reader.buffer.len() as u64
    }

    /// How long the peer may pause in the middle of an object.
    fn stall(&self) -> Duration {
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
