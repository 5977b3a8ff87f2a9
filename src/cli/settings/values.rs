//! Value parsers and defaults that several commands share.

use std::time::Duration;

use crate::config::parse_address;
use crate::logging;
use crate::units::parse_duration;

/// Default address of the balancer.
pub(in crate::cli) const BALANCER: &str = "127.0.0.1:60002";

/// Default address of the balancer's admin listener.
pub(in crate::cli) const ADMIN: &str = "127.0.0.1:60080";

/// An address: HOST:PORT.
pub(in crate::cli) fn address(text: &str) -> Result<String, String> {
    parse_address(text).map_err(|error| error.to_string())
}

/// A log level, or directives for single modules.
pub(in crate::cli) fn level(text: &str) -> Result<String, logging::LogError> {
    logging::check_level(text).map(|()| text.to_owned())
}

/// A time longer than zero.
pub(in crate::cli) fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err(format!("invalid time {text:?}: expected more than 0")),
        other => other.map_err(|error| error.to_string()),
    }
}
