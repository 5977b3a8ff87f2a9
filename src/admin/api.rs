//! The routes under `/api/v1`, in one table.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Extension, Router};
use serde::Deserialize;

use super::content::content;
use super::error::{ApiError, ApiResult};
use super::events::Wanted;
use super::extract::{ApiJson, ApiPath, ApiQuery, MAX_BODY};
use super::files_api::{
    cancel, cancel_all, dead, drop_all, drop_dead, file, find, queue, replay, replay_all,
};
use super::fleet_api;
use super::json::Json;
use super::listen::Hangup;
use super::need::{Need, Route};
use super::state::Api;
use super::types::{
    NewServer, NoticeList, PatchServer, Server, ServerList, StandingOrder, StandingOrders,
};
use super::users_api::{
    account, change_user, invite, log_in, log_out, remove_user, revoke, revoke_all, tokens,
    unlock_user, users,
};
use crate::access::{Pass, Right};
use crate::balancer::orders::{Order, OrderError};
use crate::config::{Reloaded, ServerSpec};

/// The description of all routes (`OpenAPI` 3.1).
pub const OPENAPI: &str = include_str!("openapi.json");

/// All routes.
pub(super) fn table() -> Vec<Route<Api>> {
    let read = Need::Right(Right::Read);
    let operate = Need::Right(Right::Operate);
    let admin = Need::Right(Right::Admin);
    let mut all = vec![
        Route::new("GET", "/api/v1/overview", read, get(overview)),
        Route::new("GET", "/api/v1/servers", read, get(servers)),
        Route::new("POST", "/api/v1/servers", admin, post(add_server)),
        Route::new("GET", "/api/v1/servers/{name}", read, get(server)),
        Route::new(
            "PATCH",
            "/api/v1/servers/{name}",
            operate,
            patch(change_server),
        ),
        Route::new(
            "DELETE",
            "/api/v1/servers/{name}",
            admin,
            delete(remove_server),
        ),
        Route::new("GET", "/api/v1/orders", read, get(orders)),
        Route::new(
            "DELETE",
            "/api/v1/orders/{name}",
            admin,
            delete(forget_order),
        ),
        Route::new("GET", "/api/v1/queue", read, get(queue)),
        Route::new("GET", "/api/v1/dead", read, get(dead)),
        Route::new("POST", "/api/v1/dead/replay", operate, post(replay_all)),
        Route::new("POST", "/api/v1/dead/drop", operate, post(drop_all)),
        Route::new(
            "GET",
            "/api/v1/dead/{number}/content",
            operate,
            get(content),
        ),
        Route::new(
            "POST",
            "/api/v1/dead/{number}/replay",
            operate,
            post(replay),
        ),
        Route::new(
            "DELETE",
            "/api/v1/dead/{number}",
            operate,
            delete(drop_dead),
        ),
        Route::new("GET", "/api/v1/waiting", read, get(queue)),
        Route::new("POST", "/api/v1/waiting/cancel", operate, post(cancel_all)),
        Route::new(
            "DELETE",
            "/api/v1/waiting/{number}",
            operate,
            delete(cancel),
        ),
        Route::new(
            "GET",
            "/api/v1/waiting/{number}/content",
            operate,
            get(content),
        ),
        Route::new("GET", "/api/v1/files", read, get(find)),
        Route::new("GET", "/api/v1/files/{number}", read, get(file)),
        Route::new("GET", "/api/v1/notices", read, get(notices)),
        Route::new("GET", "/api/v1/events", read, get(events)),
        Route::new("POST", "/api/v1/reload", admin, post(reload)),
        Route::new("GET", "/api/v1/openapi.json", Need::Nothing, get(openapi)),
        // Those who ask here are not known yet, or ask about themselves: the lock looks at each.
        Route::new("POST", "/api/v1/account", Need::Nothing, post(account)),
        Route::new("POST", "/api/v1/session", Need::Nothing, post(log_in)),
        Route::new("DELETE", "/api/v1/session", Need::Nothing, delete(log_out)),
        Route::new("GET", "/api/v1/users", admin, get(users)),
        Route::new("PATCH", "/api/v1/users/{name}", admin, patch(change_user)),
        Route::new("DELETE", "/api/v1/users/{name}", admin, delete(remove_user)),
        Route::new(
            "POST",
            "/api/v1/users/{name}/invitation",
            admin,
            post(invite),
        ),
        Route::new(
            "POST",
            "/api/v1/users/{name}/unlock",
            admin,
            post(unlock_user),
        ),
        Route::new(
            "DELETE",
            "/api/v1/users/{name}/tokens",
            admin,
            delete(revoke_all),
        ),
        Route::new("GET", "/api/v1/tokens", admin, get(tokens)),
        Route::new("DELETE", "/api/v1/tokens/{id}", admin, delete(revoke)),
    ];
    all.extend(fleet_api::table());
    all
}

/// The routes, with the bounds that all of them have.
pub(super) fn routes(api: Api) -> Router {
    let routes = table()
        .into_iter()
        .fold(Router::new(), |routes, route| route.add_to(routes));
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(api.limits.answer, in_time))
        .with_state(api)
}

/// Bounds how long an answer takes, and keeps browsers from showing an old one.
pub(super) async fn in_time(
    State(answer_timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let answer = tokio::time::timeout(answer_timeout, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| {
        let error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the balancer did not answer in time",
        );
        error.retry_after(1).into_response()
    });
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn overview(State(api): State<Api>) -> Result<Response, ApiError> {
    let overview = async {
        let sample = api.watch.sample().await?;
        Ok(api.watch.overview(&sample))
    };
    api.reports.answer(overview).await
}

async fn servers(State(api): State<Api>) -> Result<Response, ApiError> {
    let servers = async {
        let sample = api.watch.sample().await?;
        let servers = api.watch.servers(&sample).await?;
        Ok(ServerList { servers })
    };
    api.reports.answer(servers).await
}

async fn server(State(api): State<Api>, ApiPath(name): ApiPath<String>) -> ApiResult<Server> {
    let sample = api.watch.sample().await?;
    api.watch
        .server(&sample, &name)
        .map(Json)
        .ok_or_else(|| unknown(name))
}

fn unknown(server: String) -> ApiError {
    OrderError::UnknownServer(server).into()
}

async fn add_server(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiJson(new): ApiJson<NewServer>,
) -> Result<Response, ApiError> {
    let NewServer { address, weight } = new;
    api.watch
        .control
        .order(
            &pass,
            Order::Add(ServerSpec {
                address: address.clone(),
                weight,
            }),
        )
        .await?;
    let sample = api.watch.sample().await?;
    let added = api
        .watch
        .server(&sample, &address)
        .ok_or_else(|| unknown(address))?;
    Ok((StatusCode::CREATED, Json(added)).into_response())
}

async fn change_server(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(server): ApiPath<String>,
    ApiJson(change): ApiJson<PatchServer>,
) -> ApiResult<Server> {
    if change == PatchServer::default() {
        return Err(ApiError::bad("the body changes nothing")
            .hint(r#"send e.g. {"weight": 6}, {"drained": true}, or both"#));
    }
    if let Some(weight) = change.weight {
        api.watch
            .control
            .order(
                &pass,
                Order::SetWeight {
                    server: server.clone(),
                    weight,
                },
            )
            .await?;
    }
    if let Some(is_drained) = change.drained {
        let named = server.clone();
        let order = if is_drained {
            Order::Drain { server: named }
        } else {
            Order::Undrain { server: named }
        };
        api.watch.control.order(&pass, order).await?;
    }
    let sample = api.watch.sample().await?;
    api.watch
        .server(&sample, &server)
        .map(Json)
        .ok_or_else(|| unknown(server))
}

async fn remove_server(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(server): ApiPath<String>,
) -> Result<Response, ApiError> {
    api.watch
        .control
        .order(&pass, Order::Remove { server })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({}))).into_response())
}

async fn orders(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
) -> ApiResult<StandingOrders> {
    let standing = api.watch.control.standing(&pass).await?;
    let orders = standing.into_iter().map(|(server, held)| StandingOrder {
        server,
        text: held.words(),
        held,
    });
    Ok(Json(StandingOrders {
        orders: orders.collect(),
    }))
}

async fn forget_order(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(server): ApiPath<String>,
) -> Result<Response, ApiError> {
    let order = Order::Forget { server };
    api.watch.control.order(&pass, order).await?;
    Ok(Json(serde_json::json!({})).into_response())
}

/// Which events are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    after: u64,
}

async fn notices(State(api): State<Api>, ApiQuery(since): ApiQuery<Since>) -> Json<NoticeList> {
    Json(NoticeList {
        notices: api.watch.control.events().after(since.after),
    })
}

/// What a listener asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listening {
    after: Option<u64>,
    only: Option<Only>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Only {
    #[serde(rename = "notice")]
    Events,
}

async fn events(
    State(api): State<Api>,
    Extension(Hangup(hangup)): Extension<Hangup>,
    ApiQuery(listening): ApiQuery<Listening>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // First, so that a listener that is refused costs no sample.
    let Some(place) = api.watch.listeners.place() else {
        let error = "there are too many event listeners already";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error).retry_after(5);
        // A listener that is refused has nothing else to ask on this connection.
        return Ok(([(header::CONNECTION, "close")], error).into_response());
    };
    // A browser that reconnects sends this header; its address is still the one it began with.
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse().ok());
    let states = listening.only.is_none();
    let state = if states {
        let sample = api.watch.sample().await?;
        Some(api.watch.state(&sample).await?)
    } else {
        None
    };
    let wanted = Wanted {
        after: last.or(listening.after),
        states,
        hangup,
    };
    let control = &api.watch.control;
    let body = api
        .watch
        .listeners
        .join(place, control, wanted, state.as_ref());
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

async fn reload(State(api): State<Api>) -> ApiResult<Reloaded> {
    let Some(reload) = &api.reload else {
        return Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "the balancer has no configuration file and no certificate to read again",
        )
        .hint("start the balancer with --config FILE"));
    };
    let reloaded = reload()
        .await
        .map_err(|error| ApiError::new(StatusCode::CONFLICT, error).hint("nothing was changed"))?;
    Ok(Json(reloaded))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
