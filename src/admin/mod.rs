//! The admin listener: HTTP for operators, on this machine only.
//!
//! `listen` owns the connections and their bounds, and asks the lock who is there; `guard` keeps the
//! web pages of others out; `need` looks whether somebody may ask; and `routes` joins all routes;
//! those under `/api/v1` stand in one table in `api`, which a test holds against `openapi.json`.
//! `watch` samples the balancer, `history` makes rates and shares of the samples, `events` streams
//! them to listeners, `long_answers` bounds those, and `metrics` shows them to Prometheus. All of
//! it goes through the balancer's [`Control`](crate::balancer::control::Control). `files` is a
//! doorway for files and has a [`Door`](crate::balancer::Door) instead.

mod api;
mod content;
mod credentials;
mod error;
mod events;
mod extract;
mod files;
mod files_api;
mod fleet_api;
mod guard;
mod history;
mod impatient;
mod json;
mod limits;
mod listen;
mod long_answers;
mod metrics;
mod need;
mod page;
mod routes;
mod state;
pub mod types;
mod users_api;
mod watch;

pub use crate::transport::{MAX_HEAD, MAX_HEADERS};
pub use api::OPENAPI;
pub use error::ApiError;
pub use events::{LISTENER_EVENTS, MAX_LISTENERS};
pub use extract::MAX_BODY;
pub(crate) use guard::is_loopback;
pub use limits::{AdminLimits, MAX_CONNECTIONS, METRICS_CONNECTIONS, max_connections};
pub use listen::{BindError, bind, bind_anywhere, serve, serve_secure};
pub use metrics::MAX_SERVER_SERIES;
pub use need::Need;
pub use routes::{Admin, Routes, balancer_routes, described_routes, needs, server_routes};
pub use state::{Reload, Reloading};
