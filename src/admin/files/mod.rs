//! The HTTP doorway: `PUT /files/{title}` hands a file over (`put`), and clients of WebDAV find the
//! methods that they need for that (`dav`).
//!
//! It is write-only: what was handed over is never read back, moved or deleted here. What clients
//! are told of it comes from a short memory (`shelf`).

mod claims;
mod conditions;
mod dav;
mod doorway;
mod multistatus;
mod propfind;
mod put;
mod shelf;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, head, options};
use axum::{Extension, Router};

use self::dav::ALLOWED;
use self::doorway::Doorway;
use super::error::ApiError;
use super::extract::ApiPath;
use super::limits::AdminLimits;
use super::need::{Need, Route};
use crate::access::{Pass, Right};
use crate::balancer::Door;
use crate::text::excerpt;

/// What handing a file over needs, and looking at what one has handed over.
const NEED: Need = Need::Right(Right::Send);

/// All methods, and what they need.
pub(super) const TABLE: [(&str, &str, Need); 5] = [
    ("PUT", "/files/{title}", NEED),
    ("HEAD", "/files/{title}", NEED),
    ("OPTIONS", "/files/{title}", Need::Nothing),
    ("PROPFIND", "/files/{title}", NEED),
    ("MKCOL", "/files/{title}", NEED),
];

/// The routes of the doorway. The API's limits on bodies and answers must not be put on them: they
/// have bounds of their own.
pub(super) fn routes(door: Door, limits: &AdminLimits) -> Router {
    let titled = MethodRouter::new().put(put::take).fallback(other);
    let nameless = || {
        MethodRouter::new()
            .put(put::no_title)
            .fallback(other_nameless)
    };
    let mut routes = vec![
        Route::new("PUT", "/files/{*title}", NEED, titled),
        Route::new("PUT", "/files/", NEED, nameless()),
        Route::new("PUT", "/files", NEED, nameless()),
        Route::new("HEAD", "/files/{*title}", NEED, head(dav::head)),
        Route::new("HEAD", "/files/", NEED, head(dav::head_of_root)),
        Route::new("HEAD", "/files", NEED, head(dav::head_of_root)),
    ];
    for path in ["/files/{*title}", "/files/", "/files"] {
        let answer = options(dav::options);
        routes.push(Route::new("OPTIONS", path, Need::Nothing, answer));
    }
    let routes = routes.into_iter();
    routes
        .fold(Router::new(), |routes, route| route.add_to(routes))
        .with_state(Doorway::new(door, limits.body))
}

/// Methods that the HTTP library has no names for, and those that there are not.
async fn other(
    State(doorway): State<Doorway>,
    ApiPath(title): ApiPath<String>,
    Extension(pass): Extension<Pass>,
    request: Request,
) -> Result<Response, ApiError> {
    match request.method().as_str() {
        "PROPFIND" => dav::find(&doorway, &title, &pass, request).await,
        "MKCOL" => dav::make(&doorway, &title, &pass, &request),
        _ => Ok(refused(request.method())),
    }
}

/// The same at the top.
async fn other_nameless(
    State(doorway): State<Doorway>,
    Extension(pass): Extension<Pass>,
    request: Request,
) -> Result<Response, ApiError> {
    match request.method().as_str() {
        "PROPFIND" => dav::find(&doorway, "", &pass, request).await,
        "MKCOL" => dav::make(&doorway, "", &pass, &request),
        _ => Ok(refused(request.method())),
    }
}

/// Says of a method that it is not there, and what is instead.
fn refused(method: &Method) -> Response {
    let hint = match method.as_str() {
        "GET" => {
            "GET /api/v1/files/NUMBER tells where a file is; PROPFIND and HEAD tell what was sent"
        }
        "DELETE" => "`bilico queue drop NUMBER` throws away a file that waits or is a dead letter",
        "POST" | "PATCH" => "curl -T FILE http://HOST:PORT/files/TITLE",
        "MOVE" | "COPY" => "hand the file over again under the other title",
        "LOCK" | "UNLOCK" => {
            "nothing is overwritten here, so nothing needs a lock: use a client that works without"
        }
        _ => "curl -T FILE http://HOST:PORT/files/TITLE hands a file over",
    };
    let error = format!(
        "files are handed over with PUT, and not read back, changed or deleted: there is no {} here",
        excerpt(method.as_str())
    );
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, error).hint(hint);
    ([(header::ALLOW, HeaderValue::from_static(ALLOWED))], error).into_response()
}
