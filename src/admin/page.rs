//! The operators' page at `/`: serves its files, which are compiled into the program.
//!
//! The page is an ordinary client of the API; its source is in `src/admin/page/`. `uplot.*` there
//! is the library that draws charts, uPlot 1.6.32, as it was published. The content
//! security policy lets it load and call nothing but the listener that it came from, and run no
//! script but its own files. So a title or a reason from the network stays text.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::need::{Need, Route};

/// What a browser may do with the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      frame-ancestors 'none'; form-action 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// A file of the page.
struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $kind:expr, $file:literal) => {
        Asset {
            path: $path,
            kind: $kind,
            content: include_bytes!(concat!("page/", $file)),
        }
    };
}

static ASSETS: [Asset; 32] = [
    asset!("/", HTML, "index.html"),
    asset!("/assets/style.css", STYLE, "style.css"),
    asset!("/assets/servers.css", STYLE, "servers.css"),
    asset!("/assets/files.css", STYLE, "files.css"),
    asset!("/assets/fleet.css", STYLE, "fleet.css"),
    asset!("/assets/favicon.svg", IMAGE, "favicon.svg"),
    asset!("/assets/theme.js", SCRIPT, "theme.js"),
    asset!("/assets/app.js", SCRIPT, "app.js"),
    asset!("/assets/api.js", SCRIPT, "api.js"),
    asset!("/assets/bulk.js", SCRIPT, "bulk.js"),
    asset!("/assets/charts.js", SCRIPT, "charts.js"),
    asset!("/assets/dead.js", SCRIPT, "dead.js"),
    asset!("/assets/dialog.js", SCRIPT, "dialog.js"),
    asset!("/assets/dom.js", SCRIPT, "dom.js"),
    asset!("/assets/events.js", SCRIPT, "events.js"),
    asset!("/assets/files.js", SCRIPT, "files.js"),
    asset!("/assets/fleet.js", SCRIPT, "fleet.js"),
    asset!("/assets/format.js", SCRIPT, "format.js"),
    asset!("/assets/host.js", SCRIPT, "host.js"),
    asset!("/assets/member.js", SCRIPT, "member.js"),
    asset!("/assets/orders.js", SCRIPT, "orders.js"),
    asset!("/assets/overview.js", SCRIPT, "overview.js"),
    asset!("/assets/row.js", SCRIPT, "row.js"),
    asset!("/assets/servers.js", SCRIPT, "servers.js"),
    asset!("/assets/session.js", SCRIPT, "session.js"),
    asset!("/assets/shown.js", SCRIPT, "shown.js"),
    asset!("/assets/states.js", SCRIPT, "states.js"),
    asset!("/assets/upload.js", SCRIPT, "upload.js"),
    asset!("/assets/uplot.css", STYLE, "uplot.css"),
    asset!("/assets/uplot.js", SCRIPT, "uplot.js"),
    asset!("/assets/uplot-license.txt", PLAIN, "uplot-license.txt"),
    asset!("/assets/waiting.js", SCRIPT, "waiting.js"),
];

/// What the page's files need: they tell nothing, and what the page shows it asks for.
pub(super) const NEED: Need = Need::Nothing;

/// The routes of the page's files.
pub(crate) fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = format!("\"{:.32}\"", blake3::hash(asset.content).to_hex());
        let page = get(move |headers: HeaderMap| async move { answer(asset, &tag, &headers) });
        Route::new("GET", asset.path, NEED, page).add_to(router)
    })
}

/// The file, or 304 if the browser has this version. Browsers ask each time, since another version
/// of the program may be running by now.
fn answer(asset: &Asset, tag: &str, request: &HeaderMap) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, tag),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if knows(request, tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Bytes::from_static(asset.content)).into_response()
}

/// Whether the browser has the content with this tag.
fn knows(request: &HeaderMap, tag: &str) -> bool {
    let tags = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut tags = tags.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_of_the_page_is_served() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let files = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served = ASSETS.iter().map(|asset| match asset.path {
            "/" => "index.html".to_owned(),
            path => path.strip_prefix("/assets/").unwrap().to_owned(),
        });
        assert_eq!(files.collect::<BTreeSet<_>>(), served.collect());
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let asset = &ASSETS[0];
        let with = |known: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(known));
            answer(asset, "\"1a\"", &headers).status()
        };
        assert_eq!(
            answer(asset, "\"1a\"", &HeaderMap::new()).status(),
            StatusCode::OK
        );
        for known in ["\"1a\"", "W/\"1a\"", "\"0\", \"1a\"", "*"] {
            assert_eq!(with(known), StatusCode::NOT_MODIFIED, "{known}");
        }
        for known in ["\"1b\"", "1a", ""] {
            assert_eq!(with(known), StatusCode::OK, "{known}");
        }
    }

    #[test]
    fn nothing_in_the_page_becomes_markup_or_comes_from_elsewhere() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.content)
                .unwrap()
                .replace("http://www.w3.org/2000/svg", "")
                .replace("/*! https://github.com/leeoniya/uPlot (v1.6.32) */", "");
            for never in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "://",
                " style=",
            ] {
                assert!(!text.contains(never), "{never} in {}", asset.path);
            }
        }
    }
}
