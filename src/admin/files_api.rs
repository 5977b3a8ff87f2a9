//! The routes that ask about files: the queue, dead letters, one file, and a search by title.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::error::{ApiError, ApiResult};
use super::extract::{ApiPath, ApiQuery};
use super::json::Json;
use super::state::Api;
use super::types::{Count, Done, FileList, Found};
use crate::access::Pass;
use crate::balancer::query::{Answer, Bulk, FileReport, MAX_BULK, MAX_LISTED, Query, Selection};

/// Files in a list, unless the request says how many.
const LISTED: usize = 100;

/// A page of a list of files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Lists files with higher numbers than this.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

fn listed(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(LISTED) {
        limit @ 1..=MAX_LISTED => Ok(limit),
        other => Err(ApiError::bad(format!(
            "invalid `limit` {other}: expected 1 to {MAX_LISTED}"
        ))),
    }
}

pub(super) async fn queue(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiQuery(page): ApiQuery<Page>,
) -> Result<Response, ApiError> {
    let limit = listed(page.limit)?;
    let query = Query::Waiting {
        after: page.after,
        limit,
    };
    api.listings.answer(list(&api, &pass, query)).await
}

pub(super) async fn dead(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiQuery(page): ApiQuery<Page>,
) -> Result<Response, ApiError> {
    let limit = listed(page.limit)?;
    let query = Query::Dead {
        after: page.after,
        limit,
    };
    api.listings.answer(list(&api, &pass, query)).await
}

async fn list(api: &Api, pass: &Pass, query: Query) -> Result<FileList, ApiError> {
    match ask(api, pass, query).await? {
        Answer::Files {
            files,
            total,
            total_bytes,
        } => Ok(FileList {
            files,
            total,
            total_bytes,
        }),
        other => Err(unexpected(other)),
    }
}

pub(super) async fn ask(api: &Api, pass: &Pass, query: Query) -> Result<Answer, ApiError> {
    Ok(api.watch.control.ask(pass, query).await?)
}

/// The refusal of a query that failed: it named a file that does not exist.
pub(super) fn unexpected(answer: Answer) -> ApiError {
    match answer {
        Answer::Failed { reason } => ApiError::not_found(reason),
        Answer::Conflict { reason } => ApiError::new(StatusCode::CONFLICT, reason),
        Answer::Busy => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many searches and orders about many files are under way as may be",
        )
        .hint("ask again in a moment")
        .retry_after(1),
        _ => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the balancer gave an answer to another question",
        ),
    }
}

/// Which files an order is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    title: Option<String>,
    user: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    after: u64,
    up_to: Option<u64>,
    limit: Option<usize>,
}

/// The longest pattern or name that files are chosen by, in bytes.
const MAX_CHOICE: usize = 4096;

impl Which {
    /// The selection for this order. What destroys files has to say which ones, or that it means all.
    fn selection(self, what: Bulk) -> Result<Box<Selection>, ApiError> {
        let choices = [&self.title, &self.user, &self.reason];
        if choices
            .into_iter()
            .flatten()
            .any(|text| text.len() > MAX_CHOICE)
        {
            return Err(ApiError::bad(format!(
                "a choice is too long: at most {MAX_CHOICE} bytes"
            )));
        }
        let chooses = choices.into_iter().any(Option::is_some);
        if chooses && self.all {
            let error = "`all` means all files: leave `title`, `user` and `reason` out, or `all`";
            return Err(ApiError::bad(error));
        }
        if !chooses && !self.all && what != Bulk::Replay {
            let error = "which files? name them by `title`, `user` or `reason`, or pass `all=true`";
            return Err(ApiError::bad(error));
        }
        if what == Bulk::Cancel && self.reason.is_some() {
            let error = "waiting files have no `reason`: choose them by `title` or `user`";
            return Err(ApiError::bad(error));
        }
        let limit = match self.limit.unwrap_or(MAX_BULK) {
            limit @ 1..=MAX_BULK => limit,
            other => {
                return Err(ApiError::bad(format!(
                    "invalid `limit` {other}: expected 1 to {MAX_BULK}"
                )));
            }
        };
        Ok(Box::new(Selection {
            title: self.title,
            user: self.user,
            reason: self.reason,
            after: self.after,
            up_to: self.up_to,
            limit,
        }))
    }
}

async fn bulk(api: &Api, pass: &Pass, what: Bulk, which: Which) -> ApiResult<Done> {
    let query = Query::Bulk(what, which.selection(what)?);
    match ask(api, pass, query).await? {
        Answer::Bulk(done) => Ok(Json(Done::from(*done))),
        other => Err(unexpected(other)),
    }
}

pub(super) async fn replay_all(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiQuery(which): ApiQuery<Which>,
) -> ApiResult<Done> {
    bulk(&api, &pass, Bulk::Replay, which).await
}

pub(super) async fn drop_all(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiQuery(which): ApiQuery<Which>,
) -> ApiResult<Done> {
    bulk(&api, &pass, Bulk::Drop, which).await
}

pub(super) async fn cancel_all(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiQuery(which): ApiQuery<Which>,
) -> ApiResult<Done> {
    bulk(&api, &pass, Bulk::Cancel, which).await
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(number): ApiPath<u64>,
) -> ApiResult<Count> {
    carry_out(&api, &pass, Query::Cancel { number }).await
}

pub(super) async fn replay(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(number): ApiPath<u64>,
) -> ApiResult<Count> {
    carry_out(&api, &pass, Query::Replay { number }).await
}

pub(super) async fn drop_dead(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(number): ApiPath<u64>,
) -> ApiResult<Count> {
    carry_out(&api, &pass, Query::Drop { number }).await
}

async fn carry_out(api: &Api, pass: &Pass, order: Query) -> ApiResult<Count> {
    match ask(api, pass, order).await? {
        Answer::Done { files } => Ok(Json(Count { files })),
        other => Err(unexpected(other)),
    }
}

pub(super) async fn file(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(number): ApiPath<u64>,
) -> ApiResult<FileReport> {
    match ask(&api, &pass, Query::Show { number }).await? {
        Answer::File(report) => Ok(Json(*report)),
        other => Err(unexpected(other)),
    }
}

/// Which files to find.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Titled {
    title: String,
    limit: Option<usize>,
}

pub(super) async fn find(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiQuery(titled): ApiQuery<Titled>,
) -> Result<Response, ApiError> {
    let limit = listed(titled.limit)?;
    let query = Query::Find {
        title: titled.title,
        limit,
    };
    let found = async {
        match ask(&api, &pass, query).await? {
            Answer::Found { files, complete } => Ok(Found { files, complete }),
            other => Err(unexpected(other)),
        }
    };
    api.listings.answer(found).await
}
