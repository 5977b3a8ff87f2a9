//! Long answers. One may have a megabyte, and it is kept until its peer has read it, so there are
//! few at once: who asks for one more waits its turn, up to the answer timeout.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use super::json;

/// The most lists of files that are made, or wait to be read, at once.
pub(super) const MAX_LISTINGS: usize = 32;

/// The same for reports of all servers.
pub(super) const MAX_REPORTS: usize = 64;

/// The same for lists of members, and figures of them. One of ten thousand members has megabytes.
pub(super) const MAX_MEMBER_LISTS: usize = 8;

/// The same for the metrics, of which one of a thousand servers and members has a megabyte.
pub(super) const MAX_SCRAPES: usize = 8;

/// The most contents of files that are read, or wait to be read, at once.
pub(super) const MAX_CONTENTS: usize = 8;

/// Bytes of an answer that are handed to its connection at once.
const PIECE: usize = 32 * 1024;

/// The places of long answers of one kind.
#[derive(Clone)]
pub(super) struct LongAnswers(Arc<Semaphore>);

impl LongAnswers {
    /// Room for this many at once.
    pub(super) fn at_most(answers: usize) -> Self {
        Self(Arc::new(Semaphore::new(answers)))
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = self.0.clone().acquire_owned().await;
        place.map_err(|_| ApiError::gone())
    }

    /// Makes an answer once there is a place for it. It has the place until nearly
    /// all of it is written.
    pub(super) async fn answer<T: Serialize>(
        &self,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Response, ApiError> {
        let json = HeaderValue::from_static(json::CONTENT_TYPE);
        let line = async {
            json::line(&answer.await?).map_err(|error| {
                let error = format!("cannot encode the answer: {error}");
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error)
            })
        };
        self.body(StatusCode::OK, json, line).await
    }

    /// The same for an answer of another kind, whose body is already made.
    pub(super) async fn body(
        &self,
        status: StatusCode,
        kind: HeaderValue,
        answer: impl Future<Output = Result<Vec<u8>, ApiError>>,
    ) -> Result<Response, ApiError> {
        let place = self.place().await?;
        let body = Body::new(Placed {
            rest: answer.await?.into(),
            _place: place,
        });
        Ok((status, [(header::CONTENT_TYPE, kind)], body).into_response())
    }
}

/// The body of an answer that has a place. It comes in pieces: the connection takes one only when
/// it has room, so that the place is held while most of the answer is not read.
struct Placed {
    rest: Bytes,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = &mut self.get_mut().rest;
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        // A copy, so that the last piece does not keep all of the answer in memory.
        let piece = Bytes::copy_from_slice(&piece);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;
    use tokio::time::timeout;

    fn long() -> impl Future<Output = Result<String, ApiError>> {
        ready(Ok("x".repeat(100_000)))
    }

    #[tokio::test]
    async fn an_answer_has_its_place_until_it_is_read_and_who_has_gone_leaves_the_line() {
        let answers = LongAnswers::at_most(1);
        let first = answers.answer(long()).await.unwrap();
        let short = Duration::from_millis(20);
        assert!(timeout(short, answers.answer(long())).await.is_err());
        let body = axum::body::to_bytes(first.into_body(), usize::MAX).await;
        assert_eq!(body.unwrap().len(), 100_003);
        let never = answers.answer(pending::<Result<(), _>>());
        assert!(timeout(short, never).await.is_err());
        answers.answer(long()).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_comes_in_pieces() {
        let answer = LongAnswers::at_most(1).answer(long()).await.unwrap();
        let mut body = answer.into_body();
        let mut pieces = 0;
        while !http_body::Body::is_end_stream(&body) {
            let next =
                std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx));
            let piece = next.await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            pieces += 1;
        }
        assert_eq!(pieces, 4);
    }
}
