//! Requests to an HTTP listener, and its answers.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::Value;

use crate::role::Role;
use crate::wire::Wire;

/// The answer to an HTTP request.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request to a role's admin listener. A body is sent as JSON.
#[track_caller]
pub fn http(role: &Role, method: &str, path: &str, body: Option<&Value>) -> Response {
    http_at(role.admin.as_ref().unwrap(), method, path, body)
}

/// Sends a request to the admin listener at this address. A body is sent as JSON.
#[track_caller]
pub fn http_at(address: &str, method: &str, path: &str, body: Option<&Value>) -> Response {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let body = body.map(ToString::to_string).unwrap_or_default();
    if !body.is_empty() {
        request.push_str("Content-Type: application/json\r\n");
        request.push_str(&["Content-Length: ", &body.len().to_string(), "\r\n"].concat());
    }
    http_raw(address, format!("{request}\r\n{body}").as_bytes())
}

/// Sends these bytes to an HTTP listener, and reads the answer up to the end of the connection.
#[track_caller]
pub fn http_raw(address: &str, request: &[u8]) -> Response {
    let mut wire = Wire::connect(address);
    // A listener that refuses the request early does not read all of it.
    let _ = wire.0.write_all(request);
    let answer = wire.rest();
    if request.starts_with(b"HEAD ") {
        return head_response(&answer);
    }
    response(&answer)
}

/// Parses an answer to `HEAD`, whose length is that of the content that it tells of.
#[track_caller]
fn head_response(bytes: &[u8]) -> Response {
    let text = std::str::from_utf8(bytes).unwrap();
    let length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let told = text.lines().find(length).map(str::to_owned);
    let others = text.lines().filter(|line| !length(line));
    let others = others.collect::<Vec<_>>().join("\r\n") + "\r\n\r\n";
    assert!(text.ends_with("\r\n\r\n"), "a HEAD has no body: {text:?}");
    let mut response = response(others.as_bytes());
    if let Some((_, length)) = told.as_deref().and_then(|told| told.split_once(": ")) {
        let name = "content-length".to_owned();
        response.headers.insert(name, length.to_owned());
    }
    response
}

/// Parses an answer as it came over the wire.
#[track_caller]
pub fn response(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer, but {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers: BTreeMap<_, _> = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let is_chunked = headers
        .get("transfer-encoding")
        .is_some_and(|coding| coding == "chunked");
    let body = if is_chunked {
        dechunk(body)
    } else {
        body.to_vec()
    };
    if let Some(len) = headers.get("content-length") {
        assert_eq!(
            len.parse::<usize>().unwrap(),
            body.len(),
            "the body is whole"
        );
    }
    Response {
        status,
        headers,
        body,
    }
}

/// The content of chunks, as far as they came.
pub fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let from = end + 2;
        whole.extend_from_slice(&bytes[from.min(bytes.len())..(from + len).min(bytes.len())]);
        bytes = bytes.get(from + len + 2..).unwrap_or_default();
    }
    whole
}
