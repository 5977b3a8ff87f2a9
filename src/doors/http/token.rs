//! `POST /token`: OAuth 2.0, over the one lock.
//!
//! A client is a user, and its secret is the user's password or one of the user's tokens. A password
//! gets a token that is good for reports alone, the same one for half of its life; a token is its own access token, so that nothing
//! new has to be kept, and revoking it ends both.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use base64ct::{Base64, Encoding};
use serde_json::json;

use super::answers::{Answer, json_answer};
use super::who::{Access, Who};
use crate::access::users::TOKEN;
use crate::access::{
    AccountAnswer, AccountError, AccountRequest, At, Denied, DeniedKind, Right, Rights, Wanted,
};
use crate::doors::refused::Refused;
use crate::secret::Secret;

/// The largest body of a request for a token, in bytes.
pub(super) const MAX_FORM: usize = 4096;

/// How long a token for a password is good. It ends sooner if its user is disabled or it is revoked,
/// and programs that cannot renew a token are rarely made to get another one.
const TOKEN_LIFE: u64 = 24 * 3600;

/// What tokens are called that were got here.
const TOKEN_NAME: &str = "agent";

/// The token where there are no users: nobody looks at it.
const NO_TOKEN: &str = "no-users";

/// Who asks for a token, and by what.
#[derive(Debug)]
struct Asked {
    user: String,
    secret: Secret,
    is_basic: bool,
}

/// Why there is no token.
enum NoToken {
    /// What was sent is no request for a token.
    Malformed(&'static str),
    /// Another grant.
    Grant,
    /// The client is not known, or the secret is wrong.
    Wrong(String),
    /// The client is known, and may not report.
    NotForIt(String),
    /// Later.
    Later(u64, String),
    /// The balancer fails.
    Failed(String),
}

/// Answers a request for a token.
pub(super) async fn answer(
    access: &Access,
    at: At,
    headers: &HeaderMap,
    body: &[u8],
) -> (Result<(), Refused>, Answer) {
    let asked = match asked(headers, body) {
        Ok(asked) => asked,
        Err(no) => return no.answer(false),
    };
    let is_basic = asked.is_basic;
    match token(access, at, asked).await {
        Ok((token, seconds)) => {
            let body = json!({
                "access_token": token.reveal(),
                "token_type": "bearer",
                "expires_in": seconds,
            });
            (Ok(()), json_answer(StatusCode::OK, &body))
        }
        Err(no) => no.answer(is_basic),
    }
}

/// Reads the form and the header.
fn asked(headers: &HeaderMap, body: &[u8]) -> Result<Asked, NoToken> {
    let is_form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .get(..FORM.len())
            .is_some_and(|kind| kind.eq_ignore_ascii_case(FORM.as_bytes()))
    });
    if !is_form {
        return Err(NoToken::Malformed(
            "the body must be application/x-www-form-urlencoded",
        ));
    }
    let [mut grant, mut id, mut secret, mut user, mut password] = [const { None::<Secret> }; 5];
    for (name, value) in form_urlencoded::parse(body) {
        let field = match &*name {
            "grant_type" => &mut grant,
            "client_id" => &mut id,
            "client_secret" => &mut secret,
            "username" => &mut user,
            "password" => &mut password,
            _ => continue,
        };
        if field.replace(Secret::from(value.into_owned())).is_some() {
            return Err(NoToken::Malformed("a field stands in the body twice"));
        }
    }
    let grant = grant
        .as_ref()
        .map(Secret::reveal)
        .filter(|grant| !grant.is_empty());
    let basic = basic(headers)?;
    let is_basic = basic.is_some();
    let (user, secret) = match grant {
        // An empty client beside a name and a password is what some forms send.
        None | Some("password") if user.is_some() || password.is_some() => (user, password),
        None | Some("client_credentials") => match basic {
            Some(_) if secret.is_some() => {
                return Err(NoToken::Malformed("the client's secret came twice"));
            }
            Some((user, secret)) => (Some(user), Some(secret)),
            None => (id, secret),
        },
        _ => return Err(NoToken::Grant),
    };
    match (user, secret) {
        (Some(user), Some(secret)) => Ok(Asked {
            user: user.reveal().to_owned(),
            secret,
            is_basic,
        }),
        _ => Err(NoToken::Malformed(
            "client_id and client_secret are missing, or username and password",
        )),
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// The client of `Authorization: Basic`. Both parts are encoded as in a form.
fn basic(headers: &HeaderMap) -> Result<Option<(Secret, Secret)>, NoToken> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let malformed = || NoToken::Malformed("Authorization is not understood: expected Basic");
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, encoded) = value.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = Base64::decode_vec(encoded.trim()).map_err(|_| malformed())?;
    let decoded = String::from_utf8(decoded).map_err(|_| malformed())?;
    let decoded = Secret::from(decoded);
    let (user, secret) = decoded.reveal().split_once(':').ok_or_else(malformed)?;
    let plain = |part: &str| {
        let part = part.replace('+', " ");
        let part = percent_encoding::percent_decode_str(&part).decode_utf8_lossy();
        Secret::from(&*part)
    };
    Ok(Some((plain(user), plain(secret))))
}

/// The token for who asks, and how many seconds it is good.
async fn token(access: &Access, at: At, asked: Asked) -> Result<(Secret, u64), NoToken> {
    let lock = &access.lock;
    if !lock.is_locked() {
        // Their programs want one, and nobody looks at it.
        return match access.claimant(at) {
            Ok(Who::Claimed(_)) => Ok((Secret::from(NO_TOKEN), TOKEN_LIFE)),
            _ => Err(NoToken::NotForIt(
                "there are no users here: this balancer runs without them (auth = \"off\")"
                    .to_owned(),
            )),
        };
    }
    if asked.secret.reveal().starts_with(TOKEN) {
        let pass = lock.by_token(at, &asked.secret).map_err(denied)?;
        if pass.user().is_none_or(|user| **user.text() != *asked.user) {
            return Err(NoToken::Wrong("the token is not that client's".to_owned()));
        }
        pass.check(Right::Report).map_err(denied)?;
        let left = lock.account(at, &pass, AccountRequest::Whoami).await;
        let expires = match left {
            Ok(AccountAnswer::You { expires, .. }) => expires,
            _ => None,
        };
        let left = expires.map_or(TOKEN_LIFE, |at| at.saturating_sub(now()));
        return Ok((asked.secret, left));
    }
    let wanted = Wanted {
        name: TOKEN_NAME.to_owned(),
        rights: Some(Rights::of(&[Right::Report])),
        seconds: None,
        from: Vec::new(),
    };
    let login = lock.program_login(at, &asked.user, asked.secret, wanted, TOKEN_LIFE);
    login.await.map_err(|error| match error {
        AccountError::Denied(why) => denied(why),
        AccountError::Failed(error) => NoToken::Failed(error),
        other => NoToken::NotForIt(other.to_string()),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is named in map_err")]
fn denied(why: Denied) -> NoToken {
    let error = why.to_string();
    match why.kind() {
        DeniedKind::Unauthorized => NoToken::Wrong(error),
        DeniedKind::Forbidden => NoToken::NotForIt(error),
        DeniedKind::Later(wait) => NoToken::Later(wait.as_secs().max(1), error),
    }
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

impl NoToken {
    /// What is counted, and what is answered: in the words of RFC 6749, with `detail` beside them,
    /// where the first system's programs look for the reason.
    fn answer(self, is_basic: bool) -> (Result<(), Refused>, Answer) {
        let (status, code, reason, counted) = match self {
            Self::Malformed(reason) => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                reason.to_owned(),
                Refused("no request for a token"),
            ),
            Self::Grant => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "expected grant_type=client_credentials, or password".to_owned(),
                Refused("no request for a token"),
            ),
            Self::Wrong(reason) if is_basic => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                reason,
                Refused("no good secret"),
            ),
            Self::Wrong(reason) => (
                StatusCode::BAD_REQUEST,
                "invalid_grant",
                reason,
                Refused("no good secret"),
            ),
            Self::NotForIt(reason) => (
                StatusCode::BAD_REQUEST,
                "unauthorized_client",
                reason,
                Refused("the user may not report"),
            ),
            Self::Later(seconds, reason) => {
                let (counted, mut answer) = Self::told(
                    StatusCode::TOO_MANY_REQUESTS,
                    "temporarily_unavailable",
                    &reason,
                    Refused::TOO_OFTEN,
                );
                let wait = HeaderValue::from(seconds);
                answer.headers_mut().insert(header::RETRY_AFTER, wait);
                return (counted, answer);
            }
            Self::Failed(reason) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                reason,
                Refused("the balancer failed"),
            ),
        };
        let (counted, mut answer) = Self::told(status, code, &reason, counted);
        if status == StatusCode::UNAUTHORIZED || code == "invalid_grant" {
            let wanted = if is_basic { "Basic" } else { "Bearer" };
            let wanted = HeaderValue::from_static(wanted);
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, wanted);
        }
        (counted, answer)
    }

    fn told(
        status: StatusCode,
        code: &str,
        reason: &str,
        counted: Refused,
    ) -> (Result<(), Refused>, Answer) {
        let body = json!({"error": code, "error_description": reason, "detail": reason});
        (Err(counted), json_answer(status, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, authorization: Option<&str>) -> Result<(String, String, bool), u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FORM));
        if let Some(value) = authorization {
            let value = HeaderValue::from_str(value).unwrap();
            headers.insert(header::AUTHORIZATION, value);
        }
        match asked(&headers, body.as_bytes()) {
            Ok(asked) => Ok((asked.user, asked.secret.reveal().to_owned(), asked.is_basic)),
            Err(no) => Err(no.answer(false).1.status().as_u16()),
        }
    }

    #[test]
    fn the_client_comes_in_the_body_or_as_basic() {
        let found =
            |user: &str, secret: &str, is_basic| Ok((user.to_owned(), secret.to_owned(), is_basic));
        // The 43 bytes of the first system's agent.
        let body = "username=host-a&password=s3cret+pass%26word";
        assert_eq!(body.len(), 43);
        assert_eq!(read(body, None), found("host-a", "s3cret pass&word", false));
        let body = "grant_type=password&username=a&password=b&scope=&client_id=&client_secret=";
        assert_eq!(read(body, None), found("a", "b", false));
        let body = "grant_type=client_credentials&client_id=a&client_secret=b";
        assert_eq!(read(body, None), found("a", "b", false));
        // `a:b c`, encoded as a form and then as Base64.
        let basic = Some("Basic YTpiK2M=");
        let grant = "grant_type=client_credentials";
        assert_eq!(read(grant, basic), found("a", "b c", true));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (body, authorization) in [
            ("", None),
            ("username=a", None),
            ("grant_type=client_credentials&client_id=a", None),
            ("grant_type=authorization_code&code=x", None),
            ("username=a&username=b&password=c", None),
            (
                "grant_type=client_credentials&client_secret=x",
                Some("Basic YTpi"),
            ),
            ("grant_type=client_credentials", Some("Bearer x")),
            ("grant_type=client_credentials", Some("Basic ?")),
            ("grant_type=client_credentials", Some("Basic YQ==")),
        ] {
            assert_eq!(read(body, authorization), Err(400), "{body}");
        }
        let no_form = asked(&HeaderMap::new(), b"username=a&password=b");
        assert!(matches!(no_form, Err(NoToken::Malformed(_))));
    }
}
