//! `PUT /files/{title}` hands a file over.
//!
//! Owns the request and its answer; how the file gets in is [`http`]'s. Invariant: a request
//! that can be refused without its body is refused before any of it is read, so that a client that
//! sent `Expect: 100-continue` sends nothing in vain.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::claims::{claims, is_claim};
use super::conditions::check_conditions;
use super::doorway::Doorway;
use super::multistatus::{etag, in_range};
use super::shelf::{Known, Owner, Thing};
use crate::access::Pass;
use crate::admin::error::ApiError;
use crate::admin::extract::{ApiPath, ApiQuery};
use crate::admin::json::Json;
use crate::balancer::ingress::http::{self, Algorithm, Claim, Fate, HttpUpload, Receipts, hex};
use crate::protocol::limits::MAX_TITLE;
use crate::protocol::{ProtocolError, Refusal, RefusalCode};
use crate::text::excerpt;
use crate::transport::ReadError;
use crate::units::{format_duration, parse_duration};

/// The header with a file's key: a request that is repeated with the same key is the same file.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// When the client has changed the file, in seconds since 1970.
const OC_MTIME: HeaderName = HeaderName::from_static("x-oc-mtime");

/// How long a request waits for a delivery if it names no time.
const DEFAULT_WAIT: Duration = Duration::from_mins(1);

/// The longest time that a request can name.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// Seconds after which to try again when room comes with each delivery.
const RETRY_SOON: u32 = 5;

/// Seconds after which to try again when an operator has to act first.
const RETRY_LATER: u32 = 30;

/// The query string.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    wait: Option<Until>,
    timeout: Option<String>,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Until {
    Accepted,
    Delivered,
}

/// The receipt of a file.
#[derive(Debug, Serialize)]
struct Receipt {
    number: u64,
    title: String,
    size: u64,
    crc32c: String,
    /// The BLAKE3 hash.
    hash: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
}

pub(super) async fn no_title() -> ApiError {
    ApiError::bad("the file has no title").hint("name it in the path: PUT /files/TITLE")
}

/// Takes a file.
pub(super) async fn take(
    State(doorway): State<Doorway>,
    ApiPath(title): ApiPath<String>,
    ApiQuery(options): ApiQuery<Options>,
    Extension(pass): Extension<Pass>,
    request: Request,
) -> Result<Response, ApiError> {
    let _place = doorway.places.try_acquire().map_err(|_| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many files are coming in already",
        )
        .retry_after(RETRY_SOON)
    })?;
    let wait = options.wait()?;
    let headers = request.headers();
    let key = key(headers)?;
    check_title(&title)?;
    if title.ends_with('/') {
        let error = format!("invalid title `{}`: it names a folder", excerpt(&title));
        return Err(ApiError::bad(error).hint("add the file's name to the path"));
    }
    check_framing(headers)?;
    let claims = claims(headers)?;
    let owner = Owner::of(&pass);
    check_conditions(&doorway, &owner, &title, headers)?;
    let (modified, checksum) = (modified(headers), checksum(&claims));
    let body = request.into_body();
    let upload = HttpUpload {
        title: title.clone(),
        key,
        size: body.size_hint().exact(),
        claims,
        body: RequestBody(body),
    };
    let mut receipts = doorway
        .door
        .receive(&pass, upload)
        .await
        .map_err(|error| not_taken(&title, &pass, &error))?;
    let number = receipts
        .accepted()
        .await
        .map_err(|refusal| refused(&refusal))?;
    let now = SystemTime::now();
    let known = Known {
        number,
        size: receipts.size,
        hash: receipts.hash,
        modified: modified.unwrap_or(now),
        checksum,
    };
    let text = |text: String| HeaderValue::try_from(text).map_err(|_| ApiError::gone());
    let location = text(format!("/api/v1/files/{number}"))?;
    let tag = text(etag(&known))?;
    let thing = Thing::File(known);
    doorway.shelf().note(&owner, &title, thing, now);
    let mut response = match wait {
        Some(wait) => wait_for_the_end(&mut receipts, number, title, wait).await,
        None => accepted(&receipts, number, title),
    };
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::ETAG, tag);
    if modified.is_some() {
        headers.insert(OC_MTIME, HeaderValue::from_static("accepted"));
    }
    Ok(response)
}

impl Options {
    /// How long to wait for the file's delivery, if at all.
    fn wait(&self) -> Result<Option<Duration>, ApiError> {
        let wait = match (&self.timeout, self.wait) {
            (Some(text), Some(Until::Delivered)) => parse_duration(text)
                .map_err(|error| ApiError::bad(format!("`timeout`: {error}")))?,
            (None, Some(Until::Delivered)) => DEFAULT_WAIT,
            (None, _) => return Ok(None),
            (Some(_), _) => return Err(ApiError::bad("`timeout` goes with `wait=delivered` only")),
        };
        if wait > MAX_WAIT {
            return Err(ApiError::bad(format!(
                "`timeout`: at most {}",
                format_duration(MAX_WAIT)
            )));
        }
        Ok(Some(wait))
    }
}

/// Refuses a title that is longer than any may be.
pub(super) fn check_title(title: &str) -> Result<(), ApiError> {
    if title.len() > MAX_TITLE {
        return Err(refused(&ProtocolError::TitleTooLong(title.len()).refusal()));
    }
    Ok(())
}

/// When the client has changed the file, as ownCloud's clients say it.
fn modified(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(OC_MTIME)?.to_str().ok()?;
    let (seconds, _) = text.split_once('.').unwrap_or((text, ""));
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
    in_range(time).then_some(time)
}

/// What the client says of the content, for others that look at it.
fn checksum(claims: &[Claim]) -> Option<Box<str>> {
    let text = |claim: &Claim| {
        let name = match claim.algorithm {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha1 => "SHA1",
            _ => return None,
        };
        Some(format!("{name}:{}", hex(&claim.digest)))
    };
    let all: Vec<String> = claims.iter().filter_map(text).collect();
    (!all.is_empty()).then(|| all.join(" ").into())
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::bad(
            "the request has more than one `Idempotency-Key`",
        ));
    }
    let key = std::str::from_utf8(value.as_bytes())
        .map_err(|_| ApiError::bad("`Idempotency-Key` must be UTF-8"))?;
    Ok(Some(key.to_owned()))
}

/// Refuses a request whose body is not exactly one whole file.
fn check_framing(headers: &HeaderMap) -> Result<(), ApiError> {
    // Otherwise the part would be stored as the whole file.
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(ApiError::bad("a part of a file cannot be handed over")
            .hint("send it whole, without Content-Range"));
    }
    // Otherwise the encoded bytes would be stored as the file.
    for (name, plain) in [
        (header::CONTENT_ENCODING, "identity"),
        (header::TRANSFER_ENCODING, "chunked"),
    ] {
        let is_plain =
            |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(plain.as_bytes());
        if let Some(other) = headers.get_all(&name).iter().find(|value| !is_plain(value)) {
            let error = format!(
                "`{name}: {}` is not taken",
                excerpt(&String::from_utf8_lossy(other.as_bytes()))
            );
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
                .hint("send the file as it is; a compressed file is stored as it comes if the request does not name its encoding"));
        }
    }
    // Otherwise an empty file would be stored.
    if !headers.contains_key(header::CONTENT_LENGTH)
        && !headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Err(
            ApiError::new(StatusCode::LENGTH_REQUIRED, "the request has no body")
                .hint("curl -T FILE sends one; an empty file has `Content-Length: 0`"),
        );
    }
    Ok(())
}

async fn wait_for_the_end(
    receipts: &mut Receipts,
    number: u64,
    title: String,
    wait: Duration,
) -> Response {
    match timeout(wait, receipts.ended()).await {
        Ok(Some(Fate::Delivered { server, confirmed })) => {
            let receipt = Receipt {
                state: "delivered",
                server: Some(server.to_string()),
                confirmed: Some(confirmed),
                ..Receipt::new(receipts, number, title)
            };
            (StatusCode::OK, Json(receipt)).into_response()
        }
        Ok(Some(Fate::Dead { reason })) => {
            let error = format!("file {number} is a dead letter: {reason}");
            let hint = format!(
                "`bilico queue replay {number}` tries again, `bilico queue drop {number}` deletes \
                 it"
            );
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error)
                .hint(hint)
                .into_response()
        }
        Ok(None) | Err(_) => accepted(receipts, number, title),
    }
}

fn accepted(receipts: &Receipts, number: u64, title: String) -> Response {
    (
        StatusCode::ACCEPTED,
        Json(Receipt::new(receipts, number, title)),
    )
        .into_response()
}

impl Receipt {
    fn new(receipts: &Receipts, number: u64, title: String) -> Self {
        let crc32c = format!("{:08x}", receipts.crc32c);
        Self {
            number,
            title,
            size: receipts.size,
            crc32c,
            hash: receipts.hash.to_hex().to_string(),
            state: "accepted",
            server: None,
            confirmed: None,
        }
    }
}

/// The answer for a file that did not come whole or is refused; the log says so, too.
fn not_taken(title: &str, pass: &Pass, error: &ReadError) -> ApiError {
    tracing::info!(title, from = &**pass.from(), reason = %error, "not taken");
    match error {
        ReadError::Refused(refusal) => refused(refusal),
        ReadError::Stalled(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, error.to_string()),
        ReadError::TakenOver => ApiError::new(StatusCode::CONFLICT, error.to_string())
            .hint("another request has the same `Idempotency-Key`"),
        ReadError::Io(error) if error.kind() == io::ErrorKind::Unsupported => {
            ApiError::bad(error.to_string())
        }
        ReadError::Tls(_) | ReadError::TlsIsOff | ReadError::Io(_) => {
            ApiError::bad(format!("the file did not come whole: {error}"))
        }
        ReadError::Protocol(_)
        | ReadError::Json(_)
        | ReadError::Idle(_)
        | ReadError::Memory(_)
        | ReadError::GaveWay
        | ReadError::NotRead(_)
        | ReadError::Foreign(_)
        | ReadError::Crowded => refused(&error.refusal()),
    }
}

/// A refusal of the doorway as an HTTP answer.
fn refused(Refusal { code, reason }: &Refusal) -> ApiError {
    let (status, retry_after) = match code {
        RefusalCode::Malformed | RefusalCode::Version | RefusalCode::Checksum => {
            (StatusCode::BAD_REQUEST, None)
        }
        RefusalCode::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
        RefusalCode::Unauthorized => (StatusCode::UNAUTHORIZED, None),
        RefusalCode::Forbidden => (StatusCode::FORBIDDEN, None),
        RefusalCode::Conflict | RefusalCode::Stale => (StatusCode::CONFLICT, None),
        // Not 507: clients that try again by themselves do so for 503 only.
        RefusalCode::Busy | RefusalCode::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_SOON))
        }
        RefusalCode::Full | RefusalCode::Storage => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_LATER))
        }
    };
    let error = ApiError::new(status, reason.as_str());
    match retry_after {
        Some(seconds) => error.retry_after(seconds),
        None => error,
    }
}

/// The body of a request, as the doorway reads it.
struct RequestBody(axum::body::Body);

impl http::UploadBody for RequestBody {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.0).poll_frame(cx)).await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Trailers are not content.
                    match frame.into_data() {
                        Ok(piece) => return Ok(Some(piece)),
                        Err(trailers) => check_trailers(trailers.trailers_ref())?,
                    }
                }
                Some(Err(error)) => return Err(io::Error::other(cause(&error))),
            }
        }
    }
}

/// Refuses what nobody has looked at: which digest is to be made must be known before the content.
fn check_trailers(trailers: Option<&HeaderMap>) -> io::Result<()> {
    let claim = trailers.and_then(|all| all.keys().find(|name| is_claim(name.as_str())));
    match claim {
        None => Ok(()),
        Some(name) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "`{name}` came behind the content, where it is not checked: send it as a header"
            ),
        )),
    }
}

/// The innermost cause of an error.
fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
