//! The metrics for Prometheus: every figure of a role, as a bounded number of series.
//!
//! A request that accepts `OpenMetrics` gets that. Any other gets the older text format, in which a
//! counter's family has the name of its only sample.

mod balancer;
mod families;
mod fleet;
mod process;
mod server;
mod tls;

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::spawn_blocking;

pub(super) use balancer::Balancer;
pub use families::MAX_SERVER_SERIES;

use super::error::ApiError;
use super::long_answers::LongAnswers;
use process::Process;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of a role, in the format that the request accepts.
pub(super) fn answer(headers: &HeaderMap, figures: impl Collector) -> Result<Response, ApiError> {
    let is_open = is_open(headers);
    let text = text(is_open, figures)?;
    Ok(([(header::CONTENT_TYPE, kind(is_open))], text).into_response())
}

/// The same for a balancer, whose figures of thousands of servers and members are long.
pub(super) async fn long_answer(
    headers: &HeaderMap,
    places: &LongAnswers,
    figures: impl Future<Output = Result<Balancer, ApiError>>,
) -> Result<Response, ApiError> {
    let is_open = is_open(headers);
    let text = async {
        let figures = figures.await?;
        let text = spawn_blocking(move || text(is_open, figures)).await;
        text.map_err(|_| ApiError::gone())?.map(String::into_bytes)
    };
    let kind = HeaderValue::from_static(kind(is_open));
    places.body(StatusCode::OK, kind, text).await
}

/// Whether the request accepts `OpenMetrics`.
fn is_open(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|accept| accept.contains("application/openmetrics-text"))
}

fn kind(is_open: bool) -> &'static str {
    if is_open { OPEN_METRICS } else { TEXT }
}

fn text(is_open: bool, figures: impl Collector) -> Result<String, ApiError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    registry.register_collector(Box::new(Process));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be encoded",
        )
    })?;
    Ok(if is_open { text } else { older(&text) })
}

/// Turns `OpenMetrics` into the older text format.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len() + text.len() / 16);
    // The help of the family whose type comes next.
    let mut help = "";
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = line;
            continue;
        }
        let Some(described) = line.strip_prefix("# TYPE ") else {
            if !line.starts_with('#') {
                older.push_str(line);
                older.push('\n');
            }
            continue;
        };
        let (name, kind) = described.split_once(' ').unwrap_or((described, "untyped"));
        let total = if kind == "counter" { "_total" } else { "" };
        let help = help
            .strip_prefix("# HELP ")
            .and_then(|help| help.split_once(' '))
            .map_or("", |(_, help)| help);
        let _ = write!(
            older,
            "# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}\n"
        );
    }
    older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_a_family_like_its_samples() {
        let open = "# HELP a_files Files.\n# TYPE a_files counter\na_files_total 1\n\
                    # HELP b B.\n# TYPE b gauge\nb 2\n# EOF\n";
        let text = "# HELP a_files_total Files.\n# TYPE a_files_total counter\na_files_total 1\n\
                    # HELP b B.\n# TYPE b gauge\nb 2\n";
        assert_eq!(older(open), text);
    }
}
