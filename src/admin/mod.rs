//! The admin listener: what an operator looks at and works with, over HTTP on this machine only.
//!
//! `listen` owns the connections and their bounds, `guard` keeps web pages of others out, and `api`
//! has the routes under `/api/v1`, in one table that a test holds against `openapi.json`. `watch`
//! asks the balancer how it is, `history` makes rates and shares of that, `events` tells it to
//! everybody who listens, and `metrics` to Prometheus. All of it goes by the balancer's
//! [`Control`]. `files` is a doorway for files.

mod api;
mod error;
mod events;
mod files;
mod guard;
mod history;
mod listen;
mod metrics;
mod page;
pub mod types;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;

pub use api::{MAX_BODY, OPENAPI};
pub use error::ApiError;
pub use events::{LISTENER_EVENTS, MAX_LISTENERS};
pub use listen::{
    BindError, HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_HEAD, MAX_HEADERS, WRITE_STALL, bind,
    max_connections, serve,
};
pub use metrics::MAX_SERVER_SERIES;

use crate::balancer::Door;
use crate::balancer::control::Control;
use crate::config::Reloaded;
use crate::server::ServerGauge;
use api::Api;
use watch::Watch;

/// A reload that is under way.
pub type Reloading = Pin<Box<dyn Future<Output = Result<Reloaded, String>> + Send>>;

/// Reads the configuration again and applies what a running balancer can take; an error changes
/// nothing.
pub type Reload = Arc<dyn Fn() -> Reloading + Send + Sync>;

/// What the admin listener of a balancer works with.
#[derive(Clone)]
pub struct Admin {
    /// Where everything is asked and ordered.
    pub control: Control,
    /// Where files are handed over.
    pub door: Door,
    /// Where clients connect.
    pub listen: String,
    /// Reads the configuration again, if there is a file of it.
    pub reload: Option<Reload>,
}

/// Everything that a balancer's listener answers. What it needs beside that runs until `stop` is
/// cancelled.
pub fn balancer_routes(admin: Admin, stop: CancellationToken) -> Router {
    let Admin {
        control,
        door,
        listen,
        reload,
    } = admin;
    let doors = files::routes(door).merge(page::routes());
    let watch = Arc::new(Watch::new(control, listen));
    tokio::spawn(watch.clone().run(stop));
    let probes = probes()
        .into_iter()
        .fold(Router::new(), |probes, (_, path, probe)| {
            probes.route(path, probe)
        });
    let probes = probes
        .layer(middleware::from_fn(api::in_time))
        .with_state(watch.clone());
    finish(
        probes
            .merge(api::routes(Api { watch, reload }))
            .merge(doors),
    )
}

/// What monitoring asks a balancer.
fn probes() -> Vec<(&'static str, &'static str, MethodRouter<Arc<Watch>>)> {
    vec![
        ("GET", "/live", get(live)),
        ("GET", "/ready", get(balancer_ready)),
        ("GET", "/metrics", get(balancer_metrics)),
    ]
}

/// The methods and paths that a balancer answers and that [`OPENAPI`] describes.
pub fn described_routes() -> Vec<(&'static str, &'static str)> {
    let probes = probes().into_iter().map(|(method, path, _)| (method, path));
    let api = api::table()
        .into_iter()
        .map(|(method, path, _)| (method, path));
    api.chain(probes)
        .chain([("PUT", "/files/{title}"), ("GET", "/")])
        .collect()
}

/// Everything that a server's listener answers.
pub fn server_routes(gauge: ServerGauge) -> Router {
    let probes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(server_ready))
        .route("/metrics", get(server_metrics))
        .with_state(gauge);
    finish(probes)
}

/// Adds what all routers have: refusals in our own words, and the guard before everything.
fn finish(routes: Router) -> Router {
    let routes = routes
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method);
    routes.layer(middleware::from_fn(guard::guard))
}

/// The process runs, and answers.
async fn live() -> &'static str {
    "live\n"
}

/// Files are taken, and at least one server may get them.
async fn balancer_ready(State(watch): State<Arc<Watch>>) -> Result<Response, ApiError> {
    let trouble = watch.trouble(&watch.sample().await?.status);
    Ok(readiness(trouble))
}

/// Files can be stored, and balancers may send some.
async fn server_ready(State(gauge): State<ServerGauge>) -> Response {
    readiness(gauge.trouble().map(str::to_owned))
}

fn readiness(trouble: Option<String>) -> Response {
    match trouble {
        None => "ready\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn balancer_metrics(
    State(watch): State<Arc<Watch>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let sample = watch.sample().await?;
    let servers = watch.servers(&sample);
    let ready = watch.trouble(&sample.status).is_none();
    Ok(metrics::answer(
        &headers,
        metrics::Balancer {
            sample,
            servers,
            ready,
        },
    ))
}

async fn server_metrics(State(gauge): State<ServerGauge>, headers: HeaderMap) -> Response {
    metrics::answer(&headers, gauge)
}
