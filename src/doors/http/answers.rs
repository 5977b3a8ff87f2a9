//! What agents are answered over HTTP.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

pub(super) type Answer = Response<Body>;

/// An answer with this JSON. Nobody may keep it.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut text = body.to_string();
    text.push('\n');
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A refusal, with the reason and the remedy.
pub(super) fn refusal(status: StatusCode, error: &str, hint: &str) -> Answer {
    json_answer(status, &json!({"error": error, "hint": hint}))
}
