//! What clients of WebDAV (RFC 4918, class 1) ask beside handing files over: `OPTIONS`, `HEAD`,
//! `PROPFIND` and `MKCOL`.
//!
//! Folders are parts of titles. There is one wherever a title goes through it, or a client has made
//! it, so nobody has to make any.

use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, body};
use tokio::time::timeout;

use super::doorway::Doorway;
use super::multistatus::{Multistatus, etag};
use super::propfind::Wanted;
use super::put::check_title;
use super::shelf::{Child, Owner, Thing};
use crate::access::Pass;
use crate::admin::error::ApiError;
use crate::admin::extract::{ApiPath, MAX_BODY};
use crate::text::excerpt;
use crate::units::format_duration;

/// What the doorway takes, as clients are told.
pub(super) const ALLOWED: &str = "OPTIONS, PUT, HEAD, PROPFIND, MKCOL";

/// What kind of WebDAV this is.
const DAV: HeaderName = HeaderName::from_static("dav");

/// Lets clients of Microsoft use it.
const MS_AUTHOR_VIA: HeaderName = HeaderName::from_static("ms-author-via");

/// How far below a folder a question goes.
const DEPTH: HeaderName = HeaderName::from_static("depth");

const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");

/// The refusal of a question about everything below a folder, as the RFC words it.
const FINITE_DEPTH: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n";

pub(super) async fn options() -> Response {
    let headers = [
        (header::ALLOW, HeaderValue::from_static(ALLOWED)),
        (DAV, HeaderValue::from_static("1")),
        (MS_AUTHOR_VIA, HeaderValue::from_static("DAV")),
    ];
    (StatusCode::OK, headers).into_response()
}

pub(super) async fn head_of_root(
    state: State<Doorway>,
    pass: Extension<Pass>,
) -> Result<Response, ApiError> {
    head(state, ApiPath(String::new()), pass).await
}

/// Says of a file what there is to say without its content.
pub(super) async fn head(
    State(doorway): State<Doorway>,
    ApiPath(title): ApiPath<String>,
    Extension(pass): Extension<Pass>,
) -> Result<Response, ApiError> {
    let found = doorway
        .shelf()
        .find(&Owner::of(&pass), &title, SystemTime::now());
    let Thing::File(known) = found.ok_or_else(|| unknown(&title))? else {
        return Ok(StatusCode::OK.into_response());
    };
    let text = |text: String| HeaderValue::try_from(text).map_err(|_| ApiError::gone());
    let headers = [
        (header::CONTENT_LENGTH, HeaderValue::from(known.size)),
        (header::ETAG, text(etag(&known))?),
        (
            header::LAST_MODIFIED,
            text(httpdate::fmt_http_date(known.modified))?,
        ),
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
    ];
    Ok((StatusCode::OK, headers).into_response())
}

fn unknown(title: &str) -> ApiError {
    ApiError::not_found(format!(
        "no file or folder `{}` came this way lately",
        excerpt(title)
    ))
    .hint("GET /api/v1/files?title=PART finds all files that the balancer remembers")
}

/// Answers a `PROPFIND`.
pub(super) async fn find(
    doorway: &Doorway,
    title: &str,
    pass: &Pass,
    request: Request,
) -> Result<Response, ApiError> {
    let depth = depth(request.headers())?;
    let body = timeout(doorway.body, body::to_bytes(request.into_body(), MAX_BODY)).await;
    let body = body.map_err(|_| {
        let time = format_duration(doorway.body);
        let error = format!("the body did not come whole within {time}");
        ApiError::new(StatusCode::REQUEST_TIMEOUT, error)
    })?;
    let body = body.map_err(|_| {
        let error = format!("the body is too large, or broke off: at most {MAX_BODY} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    })?;
    let wanted = Wanted::read(&body).map_err(|error| {
        ApiError::bad(format!("the body of the PROPFIND is invalid: {error}"))
            .hint("an empty body asks for all properties")
    })?;
    let Some(depth) = depth else {
        let headers = [(header::CONTENT_TYPE, XML)];
        return Ok((StatusCode::FORBIDDEN, headers, FINITE_DEPTH).into_response());
    };
    let owner = Owner::of(pass);
    let answer = async {
        let found = doorway.shelf().find(&owner, title, SystemTime::now());
        let thing = found.ok_or_else(|| unknown(title))?;
        Ok(tell(doorway, &owner, (title, &thing), wanted, depth))
    };
    doorway
        .listings
        .body(StatusCode::MULTI_STATUS, XML, answer)
        .await
}

/// How deep a question goes: 0 or 1, or `None` if it has no bound.
fn depth(headers: &HeaderMap) -> Result<Option<u8>, ApiError> {
    let Some(value) = headers.get(DEPTH) else {
        return Ok(None);
    };
    match value.as_bytes() {
        b"0" => Ok(Some(0)),
        b"1" => Ok(Some(1)),
        other if other.eq_ignore_ascii_case(b"infinity") => Ok(None),
        other => Err(ApiError::bad(format!(
            "invalid `Depth: {}`: expected 0 or 1",
            excerpt(&String::from_utf8_lossy(other))
        ))),
    }
}

/// What is asked for about a thing, and of what lies in it if the question goes that deep.
fn tell(
    doorway: &Doorway,
    owner: &Owner,
    (title, thing): (&str, &Thing),
    wanted: Wanted,
    depth: u8,
) -> Vec<u8> {
    let mut answer = Multistatus::new(wanted);
    answer.add(title, thing);
    if depth == 0 || *thing != Thing::Folder {
        return answer.end();
    }
    let folder = match title {
        "" => String::new(),
        title => format!("{}/", title.strip_suffix('/').unwrap_or(title)),
    };
    for child in doorway.shelf().children(owner, &folder) {
        let has_room = match child {
            Child::File(name, known) => answer.add(&format!("{folder}{name}"), &Thing::File(known)),
            Child::Folder(name) => answer.add(&format!("{folder}{name}/"), &Thing::Folder),
        };
        if !has_room {
            answer.cut_off(&folder);
            break;
        }
    }
    answer.end()
}

/// Answers a `MKCOL`.
pub(super) fn make(
    doorway: &Doorway,
    title: &str,
    pass: &Pass,
    request: &Request,
) -> Result<Response, ApiError> {
    use http_body::Body as _;
    if request.body().size_hint().exact() != Some(0) {
        let error = "a MKCOL with a body is not understood: a folder has nothing but its name";
        return Err(
            ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error).hint("send it without a body")
        );
    }
    let folder = format!("{}/", title.strip_suffix('/').unwrap_or(title));
    check_title(&folder)?;
    let (owner, now) = (Owner::of(pass), SystemTime::now());
    let mut shelf = doorway.shelf();
    if shelf.find(&owner, title, now).is_some() {
        let error = format!("`{}` is there already", excerpt(title));
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, error)
            .hint("a file can be put into a folder that nobody has made");
        let allowed = [(header::ALLOW, HeaderValue::from_static(ALLOWED))];
        return Ok((allowed, error).into_response());
    }
    shelf.note(&owner, &folder, Thing::Folder, now);
    Ok(StatusCode::CREATED.into_response())
}
