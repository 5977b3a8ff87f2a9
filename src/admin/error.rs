//! Refusals: every one says why, as JSON.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::json::Json;
use super::types::ErrorBody;
use crate::access::{Denied, DeniedKind};
use crate::balancer::orders::OrderError;
use crate::config::SpecError;
use crate::fleet::FleetError;

/// An answer in JSON, or a refusal.
pub(super) type ApiResult<T> = Result<Json<T>, ApiError>;

/// A refusal.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u32>,
}

impl ApiError {
    /// A refusal with this status and reason.
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

    /// Adds a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    /// Adds the seconds after which it is worth trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The reason.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.body.error
    }

    /// The balancer is stopping, or has stopped.
    pub fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the balancer is stopping").retry_after(1)
    }

    /// Something that the request names does not exist.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// Whoever asks may not.
    pub fn denied(denied: &Denied) -> Self {
        let text = denied.to_string();
        match denied.kind() {
            DeniedKind::Forbidden => Self::new(StatusCode::FORBIDDEN, text),
            DeniedKind::Unauthorized => Self::new(StatusCode::UNAUTHORIZED, text)
                .hint("send the header `Authorization: Bearer TOKEN`; `bilico login` gets a token"),
            DeniedKind::Later(wait) => {
                let seconds = wait.as_millis().div_ceil(1000);
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                Self::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(seconds.max(1))
            }
        }
    }

    /// A request came past the lock.
    pub(super) fn no_pass() -> Self {
        let error = "the request was not looked at by the lock";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// The request is invalid.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        let text = error.to_string();
        match error {
            OrderError::UnknownServer(_) => {
                Self::not_found(text).hint("GET /api/v1/servers lists the servers")
            }
            OrderError::Spec(SpecError::Twice(_)) => Self::new(StatusCode::CONFLICT, text).hint(
                "its weight can be changed instead: `bilico weight`, or PATCH \
                 /api/v1/servers/{name}",
            ),
            OrderError::TooMany | OrderError::Descriptors(_) => {
                Self::new(StatusCode::CONFLICT, text).hint("remove a server first")
            }
            OrderError::Spec(_) | OrderError::Limits(_) => Self::bad(text),
            OrderError::NoOrder(_) => {
                Self::not_found(text).hint("`bilico servers orders` lists the orders that stand")
            }
            OrderError::NotKept(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
                .hint("see to the journal's disk, and give the order again"),
            OrderError::Denied(denied) => Self::denied(&denied),
            OrderError::Stopping => Self::gone(),
        }
    }
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        let text = error.to_string();
        match error {
            FleetError::Unknown(_) => {
                Self::not_found(text).hint("`bilico fleet` and GET /api/v1/fleet list the members")
            }
            FleetError::Ambiguous { .. } => {
                Self::new(StatusCode::CONFLICT, text).hint("use the whole name, or the `id`")
            }
            FleetError::Kept { .. } => Self::new(StatusCode::CONFLICT, text)
                .hint("a member can be forgotten once it is gone or unknown"),
            FleetError::Denied(denied) => Self::denied(&denied),
        }
    }
}

/// The answer to an unknown path.
pub(super) async fn no_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}", uri.path()))
        .hint("GET /api/v1/openapi.json lists the paths and their methods")
}

/// The answer to a method that the path does not take.
pub(super) async fn no_method(method: Method, uri: Uri) -> ApiError {
    let error = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, error)
        .hint("GET /api/v1/openapi.json lists the paths and their methods")
}
