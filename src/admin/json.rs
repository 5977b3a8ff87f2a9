//! Answers in JSON. Each ends with a newline, so that what programs like curl print is a line.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What all bodies in JSON are.
pub(super) const CONTENT_TYPE: &str = "application/json";

/// A value as the body of an answer.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match line(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response(),
            Err(error) => {
                let error = format!("cannot encode the answer: {error}\n");
                (StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
            }
        }
    }
}

/// A value as one line of JSON.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
