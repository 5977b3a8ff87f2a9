//! The content of a dead letter or a waiting file, as an attachment.
//!
//! It is read a piece at a time, on a thread that may block, when its peer has room for one: a slow
//! peer holds no thread. Few contents are read at once, and who asks for one more waits its turn.

use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::ApiError;
use super::extract::{ApiPath, ApiQuery};
use super::files_api::{ask, unexpected};
use super::state::Api;
use crate::access::Pass;
use crate::balancer::query::{Answer, Query};
use crate::balancer::saved::ContentReader;
use crate::os_error::is_shortage;
use crate::server::name::stored_name;

/// The CRC32C that the content must have, as 8 hex digits.
const CRC32C: HeaderName = HeaderName::from_static("bilico-crc32c");

/// How the content is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Damaged content is better than none.
    #[serde(default)]
    damaged: bool,
}

pub(super) async fn content(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(number): ApiPath<u64>,
    ApiQuery(Wanted { damaged }): ApiQuery<Wanted>,
) -> Result<Response, ApiError> {
    let place = api.contents.place().await?;
    let content = match ask(&api, &pass, Query::Content { number }).await? {
        Answer::Content(content) => *content,
        other => return Err(unexpected(other)),
    };
    let name = stored_name(number, &content.title);
    let crc32c = format!("{:08x}", content.crc32c);
    let reader = spawn_blocking(move || content.open(damaged)).await;
    let reader = reader.map_err(|_| ApiError::gone())?;
    let reader = reader.map_err(|error| unreadable(number, &error))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, attachment(&name)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CRC32C, crc32c),
    ];
    let body = Body::new(Pieces {
        rest: reader.rest(),
        state: PieceState::Idle(Box::new(reader)),
        _place: place,
    });
    Ok((headers, body).into_response())
}

/// Why content is not given.
fn unreadable(number: u64, error: &io::Error) -> ApiError {
    let text = format!("file {number} cannot be read: {error}");
    if is_shortage(error) {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1);
    }
    if error.kind() == io::ErrorKind::NotFound {
        let text = format!("file {number}: its content is not there any more");
        return ApiError::not_found(text);
    }
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        .hint("`?damaged=true` gives what is there; `bilico queue save --damaged` does so")
}

/// The header that names a file to be saved.
fn attachment(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// Content that is read while it is sent.
struct Pieces {
    state: PieceState,
    /// How many bytes are still to be sent.
    rest: u64,
    _place: OwnedSemaphorePermit,
}

enum PieceState {
    Idle(Box<ContentReader>),
    Reading(JoinHandle<(Box<ContentReader>, io::Result<Bytes>)>),
    Ended,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.state, PieceState::Ended) {
                PieceState::Idle(reader) if reader.rest() == 0 => return Poll::Ready(None),
                PieceState::Idle(mut reader) => {
                    this.state = PieceState::Reading(spawn_blocking(move || {
                        let piece = reader.piece();
                        (reader, piece)
                    }));
                }
                PieceState::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        this.state = PieceState::Reading(reading);
                        return Poll::Pending;
                    };
                    let (reader, piece) = read.map_err(io::Error::other)?;
                    let piece = piece.inspect_err(|error| {
                        tracing::warn!(%error, "content could not be given to an operator");
                    })?;
                    this.rest -= piece.len() as u64;
                    this.state = PieceState::Idle(reader);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                PieceState::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_header_is_one_quoted_ascii_text_whatever_the_title() {
        let header = attachment("7_a \"b\"\r\n%é.txt");
        assert_eq!(
            header,
            "attachment; filename=\"7_a _b_____.txt\"; \
             filename*=UTF-8''7_a%20%22b%22%0D%0A%25%C3%A9.txt"
        );
    }
}
