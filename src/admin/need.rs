//! What a request needs. Each route says it, or does not compile, and nothing of a request is read
//! before it was looked at.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use super::error::ApiError;
use crate::access::{Pass, Right, audit};
use crate::text::excerpt;

/// What whoever asks must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it tells nobody anything about files, servers or settings.
    Nothing,
    /// This right.
    Right(Right),
}

impl Need {
    /// Whether somebody with this pass may ask.
    pub fn is_met_by(self, pass: &Pass) -> bool {
        match self {
            Self::Nothing => true,
            Self::Right(right) => pass.check(right).is_ok(),
        }
    }
}

/// A path, what one method of it needs, and what answers.
pub(super) struct Route<S> {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) need: Need,
    answer: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    pub(super) fn new(
        method: &'static str,
        path: &'static str,
        need: Need,
        answer: MethodRouter<S>,
    ) -> Self {
        Self {
            method,
            path,
            need,
            answer,
        }
    }

    /// Adds it to a router, behind its need.
    pub(super) fn add_to(self, router: Router<S>) -> Router<S> {
        let need = self.need;
        let look = move |request, next| look(need, request, next);
        router.route(self.path, self.answer.layer(middleware::from_fn(look)))
    }
}

async fn look(need: Need, request: Request, next: Next) -> Response {
    let Need::Right(right) = need else {
        return next.run(request).await;
    };
    // Without a pass nobody has been asked for: that is a mistake of ours, and lets nobody in.
    let Some(pass) = request.extensions().get::<Pass>() else {
        return ApiError::no_pass().into_response();
    };
    match pass.check(right) {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            let asked = format!("{} {}", request.method(), request.uri().path());
            audit::denied(pass, &excerpt(&asked), &denied);
            ApiError::denied(&denied).into_response()
        }
    }
}
