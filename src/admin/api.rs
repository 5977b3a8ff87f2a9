//! The routes under `/api/v1`, in one table.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Extension, Json as Answered, Router};
use serde::Deserialize;

use super::Reload;
use super::error::{ApiError, Json, Path, Query};
use super::events::Wanted;
use super::listen::Hangup;
use super::types::{
    Count, FileList, Found, NewServer, NoticeList, Overview, PatchServer, Server, ServerList,
};
use super::watch::Watch;
use crate::balancer::orders::{Order, OrderError};
use crate::config::{Reloaded, ServerSpec};
use crate::protocol::query::{Answer, FileReport, MAX_LISTED, Query as Question};

/// The largest body of a request.
pub const MAX_BODY: usize = 64 * 1024;

/// The description of all routes.
pub const OPENAPI: &str = include_str!("openapi.json");

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How many files a list has unless told otherwise.
const LISTED: usize = 100;

/// What the routes work with.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) watch: Arc<Watch>,
    pub(super) reload: Option<Reload>,
}

/// All routes: method, path, and what answers.
pub(super) fn table() -> Vec<(&'static str, &'static str, MethodRouter<Api>)> {
    vec![
        ("GET", "/api/v1/overview", get(overview)),
        ("GET", "/api/v1/servers", get(servers)),
        ("POST", "/api/v1/servers", post(add_server)),
        ("GET", "/api/v1/servers/{name}", get(server)),
        ("PATCH", "/api/v1/servers/{name}", patch(change_server)),
        ("DELETE", "/api/v1/servers/{name}", delete(remove_server)),
        ("GET", "/api/v1/queue", get(queue)),
        ("GET", "/api/v1/dead", get(dead)),
        ("POST", "/api/v1/dead/replay", post(replay_all)),
        ("POST", "/api/v1/dead/{number}/replay", post(replay)),
        ("DELETE", "/api/v1/dead/{number}", delete(drop_dead)),
        ("GET", "/api/v1/files", get(find)),
        ("GET", "/api/v1/files/{number}", get(file)),
        ("GET", "/api/v1/notices", get(notices)),
        ("GET", "/api/v1/events", get(events)),
        ("POST", "/api/v1/reload", post(reload)),
        ("GET", "/api/v1/openapi.json", get(openapi)),
    ]
}

/// The routes, with the bounds that all of them have.
pub(super) fn routes(api: Api) -> Router {
    let routes = table()
        .into_iter()
        .fold(Router::new(), |routes, (_, path, route)| {
            routes.route(path, route)
        });
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(in_time))
        .with_state(api)
}

/// Bounds how long an answer takes, and keeps browsers from showing an old one.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| {
        let error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the balancer does not answer in time",
        );
        error.retry_after(1).into_response()
    });
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Given<T> = Result<Answered<T>, ApiError>;

async fn overview(State(api): State<Api>) -> Given<Overview> {
    let sample = api.watch.sample().await?;
    Ok(Answered(api.watch.overview(&sample)))
}

async fn servers(State(api): State<Api>) -> Given<ServerList> {
    let sample = api.watch.sample().await?;
    Ok(Answered(ServerList {
        servers: api.watch.servers(&sample),
    }))
}

async fn server(State(api): State<Api>, Path(name): Path<String>) -> Given<Server> {
    let sample = api.watch.sample().await?;
    api.watch
        .server(&sample, &name)
        .map(Answered)
        .ok_or_else(|| unknown(name))
}

fn unknown(server: String) -> ApiError {
    OrderError::UnknownServer(server).into()
}

async fn add_server(
    State(api): State<Api>,
    Json(new): Json<NewServer>,
) -> Result<Response, ApiError> {
    let NewServer { address, weight } = new;
    api.watch
        .control
        .order(Order::Add(ServerSpec {
            address: address.clone(),
            weight,
        }))
        .await?;
    let sample = api.watch.sample().await?;
    let added = api
        .watch
        .server(&sample, &address)
        .ok_or_else(|| unknown(address))?;
    Ok((StatusCode::CREATED, Answered(added)).into_response())
}

async fn change_server(
    State(api): State<Api>,
    Path(server): Path<String>,
    Json(change): Json<PatchServer>,
) -> Given<Server> {
    if change == PatchServer::default() {
        return Err(ApiError::bad("there is nothing to change")
            .hint(r#"send e.g. {"weight": 6}, {"drained": true}, or both"#));
    }
    if let Some(weight) = change.weight {
        api.watch
            .control
            .order(Order::SetWeight {
                server: server.clone(),
                weight,
            })
            .await?;
    }
    if let Some(is_drained) = change.drained {
        let named = server.clone();
        let order = if is_drained {
            Order::Drain { server: named }
        } else {
            Order::Undrain { server: named }
        };
        api.watch.control.order(order).await?;
    }
    let sample = api.watch.sample().await?;
    api.watch
        .server(&sample, &server)
        .map(Answered)
        .ok_or_else(|| unknown(server))
}

async fn remove_server(
    State(api): State<Api>,
    Path(server): Path<String>,
) -> Result<Response, ApiError> {
    api.watch.control.order(Order::Remove { server }).await?;
    Ok((StatusCode::ACCEPTED, Answered(serde_json::json!({}))).into_response())
}

/// Which files a list has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// Only those with a higher number.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

fn listed(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(LISTED) {
        limit @ 1..=MAX_LISTED => Ok(limit),
        other => Err(ApiError::bad(format!(
            "`limit` is {other}; it may be 1 to {MAX_LISTED}"
        ))),
    }
}

async fn queue(State(api): State<Api>, Query(page): Query<Page>) -> Given<FileList> {
    let limit = listed(page.limit)?;
    list(
        &api,
        Question::Waiting {
            after: page.after,
            limit,
        },
    )
    .await
}

async fn dead(State(api): State<Api>, Query(page): Query<Page>) -> Given<FileList> {
    let limit = listed(page.limit)?;
    list(
        &api,
        Question::Dead {
            after: page.after,
            limit,
        },
    )
    .await
}

async fn list(api: &Api, question: Question) -> Given<FileList> {
    match ask(api, question).await? {
        Answer::Files {
            files,
            total,
            total_bytes,
        } => Ok(Answered(FileList {
            files,
            total,
            total_bytes,
        })),
        other => Err(unexpected(other)),
    }
}

async fn ask(api: &Api, question: Question) -> Result<Answer, ApiError> {
    api.watch
        .control
        .ask(question)
        .await
        .ok_or_else(ApiError::gone)
}

/// What became of an order or a question that failed: it was about a file that is not there.
fn unexpected(answer: Answer) -> ApiError {
    match answer {
        Answer::Failed { reason } => ApiError::not_found(reason),
        _ => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the balancer has answered something else",
        ),
    }
}

async fn replay_all(State(api): State<Api>) -> Given<Count> {
    carry_out(&api, Question::Replay { number: None }).await
}

async fn replay(State(api): State<Api>, Path(number): Path<u64>) -> Given<Count> {
    carry_out(
        &api,
        Question::Replay {
            number: Some(number),
        },
    )
    .await
}

async fn drop_dead(State(api): State<Api>, Path(number): Path<u64>) -> Given<Count> {
    carry_out(&api, Question::Drop { number }).await
}

async fn carry_out(api: &Api, order: Question) -> Given<Count> {
    match ask(api, order).await? {
        Answer::Done { files } => Ok(Answered(Count { files })),
        other => Err(unexpected(other)),
    }
}

async fn file(State(api): State<Api>, Path(number): Path<u64>) -> Given<FileReport> {
    match ask(&api, Question::Show { number }).await? {
        Answer::File(report) => Ok(Answered(*report)),
        other => Err(unexpected(other)),
    }
}

/// Which files are looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Titled {
    title: String,
    limit: Option<usize>,
}

async fn find(State(api): State<Api>, Query(titled): Query<Titled>) -> Given<Found> {
    let limit = listed(titled.limit)?;
    match ask(
        &api,
        Question::Find {
            title: titled.title,
            limit,
        },
    )
    .await?
    {
        Answer::Found { files, complete } => Ok(Answered(Found { files, complete })),
        other => Err(unexpected(other)),
    }
}

/// Which notices are told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    after: u64,
}

async fn notices(State(api): State<Api>, Query(since): Query<Since>) -> Answered<NoticeList> {
    Answered(NoticeList {
        notices: api.watch.control.events().after(since.after),
    })
}

/// What a listener wants to hear.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listening {
    after: Option<u64>,
    only: Option<Only>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Only {
    Event,
}

async fn events(
    State(api): State<Api>,
    Extension(Hangup(hangup)): Extension<Hangup>,
    Query(listening): Query<Listening>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // A browser that connects again says so by itself; it knows better than the address that it
    // began with.
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse().ok());
    let states = listening.only.is_none();
    let state = if states {
        Some(api.watch.state(&*api.watch.sample().await?))
    } else {
        None
    };
    let wanted = Wanted {
        after: last.or(listening.after),
        states,
        hangup,
    };
    let Some(body) = api
        .watch
        .listeners
        .join(&api.watch.control, wanted, state.as_ref())
    else {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many listen already")
            .retry_after(5);
        // What cannot listen need not stay.
        return Ok(([(header::CONNECTION, "close")], error).into_response());
    };
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

async fn reload(State(api): State<Api>) -> Given<Reloaded> {
    let Some(reload) = &api.reload else {
        return Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "there is no configuration file to read again",
        )
        .hint("start the balancer with --config FILE"));
    };
    let reloaded = reload()
        .await
        .map_err(|error| ApiError::new(StatusCode::CONFLICT, error).hint("nothing was changed"))?;
    Ok(Answered(reloaded))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
