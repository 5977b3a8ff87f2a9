//! The admin listener: what an operator looks at and works with, over HTTP on this machine only.
//!
//! `listen` owns the connections and their bounds, `guard` keeps web pages of others out, and `api` has the routes under
//! `/api/v1`, in one table that a test holds against `openapi.json`. Everything about files and servers is asked of the
//! balancer over its control; nothing here is on the way of a file.

mod api;
mod error;
mod guard;
mod listen;
mod stub;
pub mod types;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::routing::get;
use axum::{Router, middleware};

pub use error::ApiError;
pub use listen::{BindError, HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_HEAD, MAX_HEADERS, WRITE_STALL, bind, serve};
pub use stub::Control;

use crate::config::Reloaded;

/// A reload that is under way.
pub type Reloading = Pin<Box<dyn Future<Output = Result<Reloaded, String>> + Send>>;

/// Reads the configuration again and applies what a running balancer can take; an error changes nothing.
pub type Reload = Arc<dyn Fn() -> Reloading + Send + Sync>;

/// What the admin listener of a balancer works with.
#[derive(Clone)]
pub struct Admin {
    /// Where everything is asked and ordered.
    pub control: Control,
    /// Where clients connect.
    pub listen: String,
    /// Reads the configuration again, if there is a file of it.
    pub reload: Option<Reload>,
}

/// Everything that a balancer's listener answers.
pub fn routes(admin: Admin) -> Router {
    let control = admin.control.clone();
    let probes = Router::new().route("/live", get(live));
    // What hands files over (`files`) and what people look at (`page`) hook in here.
    let doors = Router::new();
    drop(control);
    finish(probes.merge(api::routes(Arc::new(admin))).merge(doors))
}

/// Adds what all routers have: refusals in our own words, and the guard before everything.
fn finish(routes: Router) -> Router {
    routes
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(middleware::from_fn(guard::guard))
}

/// The process runs, and answers.
async fn live() -> &'static str {
    "live\n"
}
