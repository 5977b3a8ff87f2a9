//! All routes of an admin listener: monitoring, the API, the doorway for files, and the page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router, middleware};
use tokio_util::sync::CancellationToken;

use super::api;
use super::error::{self, ApiError};
use super::limits::AdminLimits;
use super::long_answers::{LongAnswers, MAX_CONTENTS, MAX_LISTINGS, MAX_MEMBER_LISTS, MAX_REPORTS};
use super::need::{Need, Route};
use super::state::{Api, Reload};
use super::watch::Watch;
use super::{files, guard, metrics, page};
use crate::access::{Pass, Right};
use crate::balancer::Door;
use crate::balancer::control::Control;
use crate::fleet::Fleet;
use crate::server::ServerGauge;

/// What the admin listener of a balancer works with.
#[derive(Clone)]
pub struct Admin {
    /// For samples and orders.
    pub control: Control,
    /// For files that are handed over.
    pub door: Door,
    /// The members of the fleet.
    pub fleet: Fleet,
    /// The address that clients connect to.
    pub listen: String,
    /// Reads the configuration file again, if the balancer has one.
    pub reload: Option<Reload>,
    /// Bounds on waits.
    pub limits: AdminLimits,
}

/// The routes of a role's listeners.
pub struct Routes {
    /// Those for operators.
    pub operators: Router,
    /// The metrics alone.
    pub metrics: Router,
}

/// The routes of a balancer's listeners. The tasks behind them run until `stop` is cancelled.
pub fn balancer_routes(admin: Admin, stop: CancellationToken) -> Routes {
    let Admin {
        control,
        door,
        fleet,
        listen,
        reload,
        limits,
    } = admin;
    let watch = Arc::new(Watch::new(control, fleet.clone(), listen, &limits));
    tokio::spawn(watch.clone().run(stop));
    let in_time = middleware::from_fn_with_state(limits.answer, api::in_time);
    let probes = probes()
        .into_iter()
        .fold(Router::new(), |probes, probe| probe.add_to(probes));
    let probes = probes.layer(in_time.clone()).with_state(watch.clone());
    let metrics = Route::new("GET", "/metrics", METRICS, get(balancer_metrics));
    let metrics = metrics.add_to(Router::new()).layer(in_time);
    let metrics = with_refusals(metrics.with_state(watch.clone()));
    let api = api::routes(Api {
        watch,
        door: door.clone(),
        fleet,
        reload,
        limits,
        listings: LongAnswers::at_most(MAX_LISTINGS),
        members: LongAnswers::at_most(MAX_MEMBER_LISTS),
        contents: LongAnswers::at_most(MAX_CONTENTS),
        reports: LongAnswers::at_most(MAX_REPORTS),
    });
    let operators = finish(
        probes
            .merge(api)
            .merge(files::routes(door, &limits))
            .merge(page::routes()),
    );
    Routes { operators, metrics }
}

/// The routes for monitoring a balancer.
fn probes() -> Vec<Route<Arc<Watch>>> {
    vec![
        Route::new("GET", "/live", Need::Nothing, get(live)),
        Route::new("GET", "/ready", Need::Nothing, get(balancer_ready)),
        Route::new("GET", "/metrics", METRICS, get(balancer_metrics)),
    ]
}

/// What the metrics need.
const METRICS: Need = Need::Right(Right::Metrics);

/// All methods and paths that a balancer answers, and what they need. Those of the page's other
/// files need nothing, as the page does.
pub fn needs() -> Vec<(&'static str, &'static str, Need)> {
    let probes = probes()
        .into_iter()
        .map(|route| (route.method, route.path, route.need));
    let api = api::table()
        .into_iter()
        .map(|route| (route.method, route.path, route.need));
    api.chain(probes)
        .chain(files::TABLE)
        .chain([("GET", "/", page::NEED)])
        .collect()
}

/// The methods and paths that a balancer answers and that [`OPENAPI`](super::OPENAPI) describes.
pub fn described_routes() -> Vec<(&'static str, &'static str)> {
    // Of WebDAV it describes what hands a file over; it has no words for most other methods.
    let others = ["HEAD", "OPTIONS", "PROPFIND", "MKCOL"];
    let described = |(method, path, _)| (method, path);
    let all = needs().into_iter().map(described);
    all.filter(|(method, _)| !others.contains(method)).collect()
}

/// The routes of a server's listeners.
pub fn server_routes(gauge: ServerGauge) -> Routes {
    let probes = [
        Route::new("GET", "/live", Need::Nothing, get(live)),
        Route::new("GET", "/ready", Need::Nothing, get(server_ready)),
        Route::new("GET", "/metrics", METRICS, get(server_metrics)),
    ];
    let routes = probes
        .into_iter()
        .fold(Router::new(), |routes, probe| probe.add_to(routes));
    let metrics = Route::new("GET", "/metrics", METRICS, get(server_metrics));
    let metrics = metrics.add_to(Router::new()).with_state(gauge.clone());
    Routes {
        operators: finish(routes.with_state(gauge)),
        metrics: with_refusals(metrics),
    }
}

/// Adds what operators' routers have: refusals as JSON, and the guard before everything.
fn finish(routes: Router) -> Router {
    with_refusals(routes).layer(middleware::from_fn(guard::guard))
}

fn with_refusals(routes: Router) -> Router {
    routes
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
}

/// The process runs and answers.
async fn live() -> &'static str {
    "live\n"
}

/// Files are taken, and at least one server is eligible.
async fn balancer_ready(
    State(watch): State<Arc<Watch>>,
    Extension(pass): Extension<Pass>,
) -> Result<Response, ApiError> {
    let trouble = watch.trouble(&watch.sample().await?.status);
    Ok(readiness(trouble, &pass))
}

/// Files can be stored, and balancers may send some.
async fn server_ready(
    State(gauge): State<ServerGauge>,
    Extension(pass): Extension<Pass>,
) -> Response {
    readiness(gauge.trouble().map(str::to_owned), &pass)
}

/// Everybody may know whether it is ready, and who may look at everything also why not.
fn readiness(trouble: Option<String>, pass: &Pass) -> Response {
    let may_know = pass.check(Right::Read).is_ok();
    let trouble = trouble.map(|why| {
        if may_know {
            why
        } else {
            "not ready".to_owned()
        }
    });
    match trouble {
        None => "ready\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn balancer_metrics(
    State(watch): State<Arc<Watch>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let figures = async {
        let sample = watch.sample().await?;
        Ok(metrics::Balancer {
            servers: watch.servers(&sample).await?,
            ready: watch.trouble(&sample.status).is_none(),
            members: watch.members().await?,
            doors: watch.fleet.doors().counts(),
            sample,
        })
    };
    metrics::long_answer(&headers, &watch.scrapes, figures).await
}

async fn server_metrics(
    State(gauge): State<ServerGauge>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    metrics::answer(&headers, gauge)
}
