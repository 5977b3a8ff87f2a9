//! The handshake of WebSocket (RFC 6455), which is checked and answered here. No extension is taken, so
//! nothing is compressed.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use base64ct::{Base64, Encoding};

use super::answers::{Answer, refusal};
use crate::websocket::accept;

/// The answer that switches to WebSocket, or why not.
pub(super) fn handshake(method: &Method, headers: &HeaderMap) -> Result<Answer, Box<Answer>> {
    let hint = "this path takes WebSocket connections, e.g. of `bilico agent --to wss://…`";
    let wants =
        has(headers, &header::UPGRADE, "websocket") && has(headers, &header::CONNECTION, "upgrade");
    if method != Method::GET || !wants {
        let error = "this is no WebSocket handshake";
        let mut answer = refusal(StatusCode::UPGRADE_REQUIRED, error, hint);
        let upgrade = HeaderValue::from_static("websocket");
        answer.headers_mut().insert(header::UPGRADE, upgrade);
        return Err(Box::new(answer));
    }
    if !has(headers, &header::SEC_WEBSOCKET_VERSION, "13") {
        let error = "only version 13 of WebSocket is spoken here";
        let mut answer = refusal(StatusCode::UPGRADE_REQUIRED, error, hint);
        let version = HeaderValue::from_static("13");
        answer
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(Box::new(answer));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let is_key = key.is_some_and(|key| {
        let key = key.to_str().unwrap_or_default();
        Base64::decode_vec(key).is_ok_and(|key| key.len() == 16)
    });
    let Some(key) = key.filter(|_| is_key) else {
        let error = "`Sec-WebSocket-Key` is missing, or not 16 bytes in Base64";
        return Err(Box::new(refusal(StatusCode::BAD_REQUEST, error, hint)));
    };
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let into = answer.headers_mut();
    into.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    into.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::try_from(accept(key.as_bytes())) {
        into.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(answer)
}

/// Whether one of the words of a header is this one.
fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut words = values.flat_map(|value| value.split(','));
    words.any(|found| found.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(change: impl FnOnce(&mut HeaderMap)) -> Result<Answer, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (
                header::SEC_WEBSOCKET_EXTENSIONS,
                "permessage-deflate; client_max_window_bits",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(&mut headers);
        handshake(&Method::GET, &headers).map_err(|answer| answer.status().as_u16())
    }

    /// The key and its answer are those of RFC 6455, section 1.3.
    #[test]
    fn a_key_is_answered_and_no_extension_is_taken() {
        let answer = asks(|_| {}).unwrap();
        assert_eq!(answer.status(), 101);
        let accept = &answer.headers()[header::SEC_WEBSOCKET_ACCEPT];
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let extensions = header::SEC_WEBSOCKET_EXTENSIONS;
        assert!(!answer.headers().contains_key(extensions));
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let remove = |name: HeaderName| {
            asks(|headers| drop(headers.remove(name)))
                .err()
                .unwrap_or_default()
        };
        assert_eq!(remove(header::UPGRADE), 426);
        assert_eq!(remove(header::CONNECTION), 426);
        assert_eq!(remove(header::SEC_WEBSOCKET_VERSION), 426);
        assert_eq!(remove(header::SEC_WEBSOCKET_KEY), 400);
        for key in ["", "c2hvcnQ=", "no base64!"] {
            let key = HeaderValue::from_str(key).unwrap();
            let asked = asks(|headers| drop(headers.insert(header::SEC_WEBSOCKET_KEY, key)));
            assert_eq!(asked.unwrap_err(), 400);
        }
    }
}
