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
    let scheme = if at.is_some_and(|at| at.is_encrypted()) {
        HTTPS
    } else {
        HTTP
    };
    match check_over(scheme, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::new(StatusCode::FORBIDDEN, error)
            .hint("use the address that the listener was given, e.g. http://127.0.0.1:60080")
            .into_response(),
    }
}

/// How addresses of a listener begin, and the port that they need not name.
type Scheme = (&'static str, &'static str);

const HTTP: Scheme = ("http://", ":80");
const HTTPS: Scheme = ("https://", ":443");

fn check_over(scheme: Scheme, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
    let host = only(headers, &header::HOST)?.unwrap_or_default();
    let named = uri.authority().map(axum::http::uri::Authority::as_str);
    for host in [Some(host), named].into_iter().flatten() {
        if !is_loopback(host) {
            return Err(format!(
                "invalid host `{host}`: expected localhost or a loopback address"
            ));
        }
    }
    if let Some(origin) = only(headers, &header::ORIGIN)?
        && !is_same(scheme, origin, host)
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
fn is_loopback(host: &str) -> bool {
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

/// Whether an origin is that of a page served by this host.
fn is_same((scheme, port): Scheme, origin: &str, host: &str) -> bool {
    let whole = |host: &str| {
        if host.ends_with(port) {
            host.trim_end_matches(port).to_owned()
        } else {
            host.to_owned()
        }
    };
    origin
        .strip_prefix(scheme)
        .is_some_and(|origin| whole(origin).eq_ignore_ascii_case(&whole(host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        check_over(HTTP, uri, headers)
    }

    #[test]
    fn over_tls_only_pages_that_came_over_tls_are_ours() {
        let from = |origin| {
            let headers = [(header::HOST, "127.0.0.1:443"), (header::ORIGIN, origin)];
            check_over(HTTPS, &Uri::from_static("/"), &with(&headers))
        };
        from("https://127.0.0.1").unwrap();
        from("https://127.0.0.1:443").unwrap();
        from("http://127.0.0.1:443").unwrap_err();
        from("https://127.0.0.1:444").unwrap_err();
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
}
