//! What a request brings: its path, query and body. Everything that is refused says why, as JSON.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::protocol::object;

/// The largest body of an API request, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How long the body of a request may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyTimeout(pub(super) Duration);

/// The body of a request, as JSON.
pub(super) struct ApiJson<T>(pub(super) T);

impl<T, S> FromRequest<S> for ApiJson<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
    BodyTimeout: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(&request) {
            return Err(
                ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be JSON")
                    .hint("send it with `Content-Type: application/json`"),
            );
        }
        let BodyTimeout(time) = BodyTimeout::from_ref(state);
        let body = tokio::time::timeout(time, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come whole within {time:?}"),
            )
        })?;
        let body = body.map_err(|rejection| {
            let error = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    format!("the body is too large: at most {MAX_BODY} bytes")
                }
                _ => format!("the body did not come whole: {}", rejection.body_text()),
            };
            ApiError::new(rejection.status(), error)
        })?;
        object::from_slice(&body)
            .map(Self)
            .map_err(|error| ApiError::bad(format!("the body is invalid: {error}")))
    }
}

fn is_json(request: &Request) -> bool {
    let value = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The query string of a request.
pub(super) struct ApiQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let query = query
            .map_err(|rejection: QueryRejection| ApiError::bad(lower(&rejection.body_text())))?;
        Ok(Self(query.0))
    }
}

/// The parameters of a path.
pub(super) struct ApiPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let path =
            path.map_err(|rejection: PathRejection| ApiError::bad(lower(&rejection.body_text())))?;
        Ok(Self(path.0))
    }
}

/// A library's sentence, begun with a small letter as ours are.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
