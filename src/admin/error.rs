//! Refusals, and reading what a request brings: everything that is refused says why, as JSON.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::types::ErrorBody;
use crate::balancer::orders::OrderError;
use crate::config::SpecError;
use crate::protocol::object;

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A refusal.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u32>,
}

impl ApiError {
    /// A refusal with this status, and why.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                error: error.into(),
                hint: None,
            },
            retry_after: None,
        }
    }

    /// With what can be done about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    /// With the seconds after which it is worth trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The balancer is on its way out.
    pub fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the balancer is stopping").retry_after(1)
    }

    /// What was asked for is not there.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// The request makes no sense.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        let text = error.to_string();
        match error {
            OrderError::UnknownServer(_) => Self::not_found(text).hint("GET /api/v1/servers lists the servers"),
            OrderError::Spec(SpecError::Twice(_)) => Self::new(StatusCode::CONFLICT, text)
                .hint("its weight can be changed instead: `bilico weight`, or PATCH /api/v1/servers/{name}"),
            OrderError::TooMany | OrderError::Descriptors(_) => {
                Self::new(StatusCode::CONFLICT, text).hint("remove a server first")
            }
            OrderError::Spec(_) | OrderError::Limits(_) => Self::bad(text),
            OrderError::Stopping => Self::gone(),
        }
    }
}

/// The answer to a path that is none.
pub(super) async fn no_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}", uri.path()))
        .hint("GET /api/v1/openapi.json lists what is there")
}

/// The answer to a method that a path does not have.
pub(super) async fn no_method(method: Method, uri: Uri) -> ApiError {
    let error = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, error)
        .hint("GET /api/v1/openapi.json lists what is there")
}

/// A body of JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(&request) {
            return Err(
                ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be JSON")
                    .hint("send it with `Content-Type: application/json`"),
            );
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come whole within {BODY_TIMEOUT:?}"),
            )
        })?;
        let body = body.map_err(|rejection| {
            let error = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "the body is too large".to_owned(),
                _ => format!("the body did not come whole: {}", rejection.body_text()),
            };
            ApiError::new(rejection.status(), error)
        })?;
        let read = object::from_slice(&body);
        read.map(Self)
            .map_err(|error| ApiError::bad(format!("the body is not as it should be: {error}")))
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

/// What stands behind the `?` of a path.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let query = query
            .map_err(|rejection: QueryRejection| ApiError::bad(lower(&rejection.body_text())))?;
        Ok(Self(query.0))
    }
}

/// The parts of a path that differ.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let path =
            path.map_err(|rejection: PathRejection| ApiError::bad(lower(&rejection.body_text())))?;
        Ok(Self(path.0))
    }
}

/// A sentence of a library's in the way of ours.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
