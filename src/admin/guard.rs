//! Keeps the web pages of others out. A browser on this machine can reach the loopback address on
//! behalf of any page.
//!
//! A page that lets its own name resolve to the loopback address (DNS rebinding) is recognised by
//! the `Host` header, any other page by its `Origin`. A browser sends no `Origin` when a page asks
//! for an image or the like: then `Sec-Fetch-Site` tells. Whoever follows a link to the operators'
//! page may do so.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::access::At;

/// Whether the page that asks is ours, of another host of ours, or of somebody else.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the browser follows a link, or asks on behalf of a page.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What the browser does with the answer.
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Passes a request on if it names this machine itself and comes from no page but ours.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let at = request.extensions().get::<At>();
    let is_encrypted = at.is_some_and(|at| at.is_encrypted());
    match check(request.uri(), request.headers(), is_encrypted) {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::new(StatusCode::FORBIDDEN, error)
            .hint("use the address that the listener was given, e.g. http://127.0.0.1:60080")
            .into_response(),
    }
}

fn check(uri: &Uri, headers: &HeaderMap, is_encrypted: bool) -> Result<(), String> {
    let host = only(headers, &header::HOST)?.unwrap_or_default();
    let named = uri.authority().map(axum::http::uri::Authority::as_str);
    for host in [Some(host), named].into_iter().flatten() {
        // Over TLS the certificate has shown that the name is ours.
        if !is_encrypted && !is_loopback(host) {
            return Err(format!(
                "invalid host `{host}`: expected localhost or a loopback address"
            ));
        }
    }
    if let Some(origin) = only(headers, &header::ORIGIN)?
        && !is_same(origin, host, is_encrypted)
    {
        return Err(format!("pages of `{origin}` may not use this listener"));
    }
    let site = only(headers, &SEC_FETCH_SITE)?;
    let is_link = only(headers, &SEC_FETCH_MODE)? == Some("navigate")
        && only(headers, &SEC_FETCH_DEST)? == Some("document");
    match site {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if is_link => Ok(()),
        Some(_) => Err("pages of other sites may not use this listener".to_owned()),
    }
}

/// The only header of this name, if there is one.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, String> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| format!("`{name}` must be text")),
        _ => Err(format!("the request has more than one `{name}`")),
    }
}

/// Whether a host, with or without a port, is a loopback address or `localhost`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    };
    let is_v4 = |name: &str| {
        name.parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
    };
    name == "[::1]" || name.eq_ignore_ascii_case("localhost") || is_v4(name)
}

/// Whether an origin is that of a page served by this host in this way.
fn is_same(origin: &str, host: &str, is_encrypted: bool) -> bool {
    let (scheme, port) = if is_encrypted {
        ("https://", ":443")
    } else {
        ("http://", ":80")
    };
    let whole = |host: &str| host.strip_suffix(port).unwrap_or(host).to_owned();
    let named = origin.strip_prefix(scheme);
    named.is_some_and(|origin| whole(origin).eq_ignore_ascii_case(&whole(host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        super::check(uri, headers, false)
    }

    fn with(headers: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn only_names_of_the_loopback_address_are_hosts() {
        for host in [
            "127.0.0.1:60080",
            "127.0.0.1",
            "127.8.9.1:1",
            "localhost:60080",
            "LocalHost",
            "[::1]:60080",
            "[::1]",
        ] {
            check(&Uri::from_static("/live"), &with(&[(header::HOST, host)])).unwrap();
        }
        for host in [
            "",
            "evil.example",
            "evil.example:60080",
            "10.0.0.1:60080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "::1",
            "0.0.0.0",
            "[::]:60080",
            "127.0.0.1:",
            "127.0.0.1:80:80",
            "128.0.0.1",
            "127.1",
            "localhost:x",
            "user@localhost",
        ] {
            check(&Uri::from_static("/live"), &with(&[(header::HOST, host)])).unwrap_err();
        }
        check(&Uri::from_static("/live"), &with(&[])).unwrap_err();
        let twice = with(&[(header::HOST, "localhost"), (header::HOST, "evil.example")]);
        check(&Uri::from_static("/live"), &twice).unwrap_err();
        let absolute = Uri::from_static("http://evil.example/live");
        check(&absolute, &with(&[(header::HOST, "localhost")])).unwrap_err();
    }

    #[test]
    fn what_pages_of_others_fetch_without_an_origin_is_refused_and_links_are_followed() {
        let asks = |site, mode, dest| {
            let headers = [
                (header::HOST, "127.0.0.1:60080"),
                (SEC_FETCH_SITE, site),
                (SEC_FETCH_MODE, mode),
                (SEC_FETCH_DEST, dest),
            ];
            check(&Uri::from_static("/api/v1/files"), &with(&headers)).is_ok()
        };
        assert!(asks("same-origin", "cors", "empty"));
        assert!(
            asks("none", "navigate", "document"),
            "typed by the operator"
        );
        assert!(asks("cross-site", "navigate", "document"), "a link");
        for site in ["cross-site", "same-site", "CROSS-SITE", ""] {
            assert!(!asks(site, "no-cors", "image"), "{site}");
            assert!(!asks(site, "navigate", "iframe"), "{site}");
        }
    }

    #[test]
    fn only_pages_of_the_same_host_and_port_are_served() {
        let from = |origin| {
            check(
                &Uri::from_static("/"),
                &with(&[(header::HOST, "127.0.0.1:60080"), (header::ORIGIN, origin)]),
            )
        };
        from("http://127.0.0.1:60080").unwrap();
        for origin in [
            "null",
            "http://127.0.0.1:3000",
            "http://localhost:60080",
            "https://127.0.0.1:60080",
            "http://evil.example",
            "",
        ] {
            from(origin).unwrap_err();
        }
        let twice = [
            (header::HOST, "localhost"),
            (header::ORIGIN, "http://localhost"),
            (header::ORIGIN, "http://evil.example"),
        ];
        check(&Uri::from_static("/"), &with(&twice)).unwrap_err();
        let default = [
            (header::HOST, "localhost:80"),
            (header::ORIGIN, "http://localhost"),
        ];
        check(&Uri::from_static("/"), &with(&default)).unwrap();
    }

    /// There the browser has seen that the certificate is for that name.
    #[test]
    fn over_tls_any_name_is_ours_and_pages_of_plain_text_are_not() {
        let from = |host, origin| {
            let headers = with(&[(header::HOST, host), (header::ORIGIN, origin)]);
            super::check(&Uri::from_static("/"), &headers, true)
        };
        from("b1.example:60080", "https://b1.example:60080").unwrap();
        from("b1.example", "https://b1.example:443").unwrap();
        for origin in [
            "http://b1.example:60080",
            "https://evil.example:60080",
            "null",
        ] {
            from("b1.example:60080", origin).unwrap_err();
        }
    }
}
