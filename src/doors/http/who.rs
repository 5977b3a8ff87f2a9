//! Who an agent is that comes over HTTP: the user of its token, or only where it comes from.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use ipnet::IpNet;

use super::answers::{Answer, refusal};
use crate::access::{At, Denied, DeniedKind, Lock, Pass, Right, shown_token};
use crate::doors::refused::Refused;

/// Who an agent is.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// It has shown a token of this user.
    Proved(Pass, Arc<str>),
    /// It has shown nothing, and may tell claims.
    Claimed(IpAddr),
}

/// Why it is sent away: what is counted, and what it is answered.
pub(super) struct SentAway(pub(super) Refused, pub(super) Box<Answer>);

/// Says who agents are.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) lock: Lock,
    /// Where claims may come from.
    pub(super) from: Vec<IpNet>,
}

impl Access {
    /// Who sends a request with these headers. Only `Authorization` counts: what stands in an address
    /// ends up in logs.
    pub(super) fn who(&self, at: At, headers: &HeaderMap) -> Result<Who, SentAway> {
        let values = headers.get_all(header::AUTHORIZATION).iter();
        let token = shown_token(values.map(|value| value.to_str().ok()));
        let Some(token) = token.filter(|_| self.lock.is_locked()) else {
            return self.claimant(at);
        };
        let pass = self.lock.by_token(at, &token);
        let pass = pass.and_then(|pass| pass.check(Right::Report).map(|()| pass));
        let pass = pass.map_err(|denied| denied_answer(&denied))?;
        let user = pass.user().map(ToString::to_string).unwrap_or_default();
        Ok(Who::Proved(pass, user.into()))
    }

    /// Whether somebody who has shown no token may tell claims.
    pub(super) fn claimant(&self, at: At) -> Result<Who, SentAway> {
        let ip = at.address().ip().to_canonical();
        if self.from.iter().any(|network| network.contains(&ip)) {
            return Ok(Who::Claimed(ip));
        }
        if self.lock.is_locked() {
            let nobody = self.lock.by_place(at).check(Right::Report);
            return Err(match nobody {
                Err(denied) => denied_answer(&denied),
                Ok(()) => not_allowed(),
            });
        }
        Err(not_allowed())
    }
}

fn not_allowed() -> SentAway {
    let answer = refusal(
        StatusCode::FORBIDDEN,
        "this balancer has no users, and takes what is told without a token from some networks only",
        "start it with --auth required and show a token, or name the network with \
         --agents-http-from",
    );
    SentAway(Refused::NOT_ALLOWED, Box::new(answer))
}

/// What somebody is answered whom the lock does not let in.
fn denied_answer(denied: &Denied) -> SentAway {
    let error = denied.to_string();
    match denied.kind() {
        DeniedKind::Unauthorized => {
            let hint = "`Authorization: Bearer TOKEN`, with a token of a user of the role agent; \
                        POST /token gets one";
            let mut answer = refusal(StatusCode::UNAUTHORIZED, &error, hint);
            let wanted = HeaderValue::from_static("Bearer");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, wanted);
            SentAway(Refused("no good token"), Box::new(answer))
        }
        DeniedKind::Forbidden => {
            let hint = "give the user the role agent: `bilico user role NAME agent`";
            let answer = refusal(StatusCode::FORBIDDEN, &error, hint);
            SentAway(Refused("the token may not report"), Box::new(answer))
        }
        DeniedKind::Later(wait) => {
            let hint = "wait before the next try";
            let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, &error, hint);
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
            SentAway(Refused::TOO_OFTEN, Box::new(answer))
        }
    }
}
