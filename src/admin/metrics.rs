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

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub(super) use balancer::Balancer;
pub use families::MAX_SERVER_SERIES;

use super::error::ApiError;
use process::Process;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of a role, in the format that the request accepts.
pub(super) fn answer(headers: &HeaderMap, figures: impl Collector) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    registry.register_collector(Box::new(Process));
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        return ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be encoded",
        )
        .into_response();
    }
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if accept
        .into_iter()
        .any(|accept| accept.contains("application/openmetrics-text"))
    {
        return ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response();
    }
    ([(header::CONTENT_TYPE, TEXT)], older(&text)).into_response()
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
