//! What a request brings: its path, query and body. Everything that is refused says why, as JSON.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::protocol::object;
use crate::text::excerpt;

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
        let query =
            query.map_err(|rejection: QueryRejection| bad_query(&rejection, parts.uri.query()))?;
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
            path.map_err(|rejection: PathRejection| bad_path(&rejection, parts.uri.path()))?;
        Ok(Self(path.0))
    }
}

/// What is wrong with a query string, in words of our own: the parsers speak of fields and digits.
fn bad_query(rejection: &QueryRejection, query: Option<&str>) -> ApiError {
    // `Failed to deserialize query string: limit: invalid digit found in string`: behind the first
    // colon stand the parameter, if it is about one, and what is wrong with it.
    let text = rejection.body_text();
    let (_, text) = text.split_once(": ").unwrap_or(("", &text));
    let (parameter, cause) = match text.split_once(": ") {
        Some((name, cause)) if !name.contains([' ', '`']) => (Some(name), cause),
        _ => (None, text),
    };
    let cause = in_words(cause);
    let query = excerpt(query.unwrap_or_default());
    ApiError::bad(match parameter {
        Some(name) if !cause.contains(&format!("`{name}`")) => {
            format!(
                "invalid parameter `{}` in `?{query}`: {cause}",
                excerpt(name)
            )
        }
        _ => format!("invalid query `?{query}`: {cause}"),
    })
}

/// What a parser of parameters says, in plain words.
fn in_words(cause: &str) -> String {
    let cause = cause
        .replace("unknown field", "unknown parameter")
        .replace("missing field", "missing parameter")
        .replace("duplicate field", "the same parameter twice:")
        .replace("unknown variant", "unknown value")
        .replace("there are no fields", "no parameters");
    match &*cause {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number".to_owned()
        }
        "number too large to fit in target type" => "the number is too large".to_owned(),
        _ => cause,
    }
}

/// What is wrong with a path, in words of our own.
fn bad_path(rejection: &PathRejection, path: &str) -> ApiError {
    let path = excerpt(path);
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        return ApiError::bad(format!("invalid path `{path}`"));
    };
    match error.kind() {
        ErrorKind::InvalidUtf8InPathParam { key } => ApiError::bad(format!(
            "invalid {key} in the path `{path}`: expected UTF-8 once its %-escapes are decoded"
        ))
        .hint("escape the name as UTF-8, e.g. %C3%BC for ü"),
        ErrorKind::ParseError { value, .. }
        | ErrorKind::ParseErrorAtKey { value, .. }
        | ErrorKind::ParseErrorAtIndex { value, .. } => ApiError::bad(format!(
            "invalid number `{}` in the path `{path}`: expected a whole number",
            excerpt(value)
        )),
        _ => ApiError::bad(format!("invalid path `{path}`")),
    }
}
