//! What a request shows of who asks: a token as `Authorization: Bearer`, or as the cookie of the
//! operators' page.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::access::{At, Lock, Pass, shown_token};
use crate::secret::Secret;

/// The cookie over TLS: browsers take and send one of this name over TLS only, and for this host
/// alone.
const OVER_TLS: &str = "__Host-bilico";

/// The cookie within this machine, where there may be no TLS.
const WITHIN: &str = "bilico";

/// Who asks. Without a token, whoever is at that place.
pub(super) fn pass_of(lock: &Lock, at: At, place: &Pass, headers: &HeaderMap) -> Pass {
    if !lock.is_locked() {
        return place.clone();
    }
    match shown(headers) {
        Some(token) => lock
            .by_token(at, &token)
            .unwrap_or_else(|denied| Lock::refused(at, &denied)),
        None => place.clone(),
    }
}

/// The token that a request shows.
fn shown(headers: &HeaderMap) -> Option<Secret> {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    shown_token(values.map(|value| value.to_str().ok()))
        .or_else(|| cookie(headers).map(Secret::from))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter();
    let pairs = pairs.filter_map(|value| value.to_str().ok());
    let pairs = pairs.flat_map(|value| value.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| [OVER_TLS, WITHIN].contains(name));
    ours.next().map(|(_, token)| token)
}

/// The header that makes a browser keep the token for so many seconds; with 0, forget it. Scripts
/// cannot read it, and it goes along with requests of our own pages only.
pub(super) fn set_cookie(at: At, token: &Secret, seconds: u64) -> Option<HeaderValue> {
    let (name, secure) = if at.is_encrypted() {
        (OVER_TLS, "; Secure")
    } else {
        (WITHIN, "")
    };
    let token = token.reveal();
    let cookie =
        format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut value = HeaderValue::try_from(cookie).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(headers: &[(header::HeaderName, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        shown(&map).map(|token| token.reveal().to_owned())
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_the_cookie() {
        use header::{AUTHORIZATION, COOKIE};
        assert_eq!(shows(&[]), None);
        assert_eq!(shows(&[(AUTHORIZATION, "Bearer abc")]).unwrap(), "abc");
        assert_eq!(shows(&[(AUTHORIZATION, "bearer  abc ")]).unwrap(), "abc");
        assert_eq!(shows(&[(AUTHORIZATION, "Basic abc")]).unwrap(), "");
        let twice = [(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer b")];
        assert_eq!(shows(&twice).unwrap(), "");
        assert_eq!(shows(&[(COOKIE, "x=1; bilico=abc")]).unwrap(), "abc");
        assert_eq!(shows(&[(COOKIE, "__Host-bilico=abc")]).unwrap(), "abc");
        assert_eq!(shows(&[(COOKIE, "bilico2=abc; y")]), None);
    }

    #[test]
    fn the_cookie_is_for_our_own_pages_alone() {
        let at = "127.0.0.1:1".parse().unwrap();
        let within = set_cookie(At::plain(at), &Secret::from("abc"), 60).unwrap();
        assert_eq!(
            within,
            "bilico=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=60"
        );
        let over_tls = set_cookie(At::encrypted(at), &Secret::from("abc"), 0).unwrap();
        assert_eq!(
            over_tls,
            "__Host-bilico=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=0; Secure"
        );
    }
}
