//! The routes under `/api/v1`, in one table.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};

use super::Admin;
use super::error::ApiError;

/// The largest body of a request.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

type Shared = Arc<Admin>;

/// All routes: method, path, and what answers.
fn table() -> Vec<(&'static str, &'static str, MethodRouter<Shared>)> {
    vec![
        ("GET", "/api/v1/overview", get(later)),
        ("GET", "/api/v1/servers", get(later)),
        ("POST", "/api/v1/servers", post(later)),
        ("GET", "/api/v1/servers/{name}", get(later)),
        ("PATCH", "/api/v1/servers/{name}", patch(later)),
        ("DELETE", "/api/v1/servers/{name}", delete(later)),
        ("GET", "/api/v1/queue", get(later)),
        ("GET", "/api/v1/dead", get(later)),
        ("POST", "/api/v1/dead/replay", post(later)),
        ("POST", "/api/v1/dead/{number}/replay", post(later)),
        ("DELETE", "/api/v1/dead/{number}", delete(later)),
        ("GET", "/api/v1/files", get(later)),
        ("GET", "/api/v1/files/{number}", get(later)),
        ("GET", "/api/v1/notices", get(later)),
        ("GET", "/api/v1/events", get(later)),
        ("POST", "/api/v1/reload", post(reload)),
        ("GET", "/api/v1/openapi.json", get(later)),
    ]
}

/// The routes, with the bounds that all of them have.
pub(super) fn routes(admin: Shared) -> Router {
    let routes = table().into_iter().fold(Router::new(), |routes, (_, path, route)| routes.route(path, route));
    routes.layer(DefaultBodyLimit::max(MAX_BODY)).layer(middleware::from_fn(in_time)).with_state(admin)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the balancer does not answer in time")
            .retry_after(1)
            .into_response(),
    }
}

async fn later() -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "this is not there yet")
}

async fn reload(State(admin): State<Shared>) -> Result<Response, ApiError> {
    let Some(reload) = &admin.reload else {
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "there is no configuration file to read again")
            .hint("start with --config FILE"));
    };
    match reload().await {
        Ok(reloaded) => Ok(axum::Json(reloaded).into_response()),
        Err(error) => Err(ApiError::new(StatusCode::CONFLICT, error).hint("nothing was changed")),
    }
}
