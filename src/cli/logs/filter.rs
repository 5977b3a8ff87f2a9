//! The conditions for a line to be shown.

use std::str::FromStr;

use chrono::{DateTime, Local, NaiveDateTime, NaiveTime, TimeZone};
use memchr::memmem::Finder;
use serde_json::Value;
use tracing::Level;

use super::line::{self, Head};
use crate::units::parse_duration;

/// The time of the first lines to show, in milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Since(i64);

impl Since {
    /// In milliseconds since 1970; 0 before that.
    pub(in crate::cli) fn ms(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        since(text, Local::now()).ok_or_else(|| {
            format!(
                "invalid time {text:?}: expected e.g. 10m, 06:27, \"2026-11-21 06:27:00\" or \
                 2026-11-21T06:27:00Z"
            )
        })
    }
}

fn since(text: &str, now: DateTime<Local>) -> Option<Since> {
    if let Ok(ago) = parse_duration(text) {
        let ago = chrono::Duration::from_std(ago).ok()?;
        return now
            .checked_sub_signed(ago)
            .map(|time| Since(time.timestamp_millis()));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(Since(time.timestamp_millis()));
    }
    let forms = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
    ];
    let day = || NaiveDateTime::parse_from_str(&format!("{text} 00:00"), "%Y-%m-%d %H:%M").ok();
    let today = || {
        let time = ["%H:%M", "%H:%M:%S"]
            .iter()
            .find_map(|form| NaiveTime::parse_from_str(text, form).ok())?;
        Some(now.date_naive().and_time(time))
    };
    let local = forms
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let local = local.or_else(day).or_else(today)?;
    // A time that a change of the clock skips is invalid; of one that occurs twice, the first
    // counts.
    Local
        .from_local_datetime(&local)
        .earliest()
        .map(|time| Since(time.timestamp_millis()))
}

pub(in crate::cli) fn level(text: &str) -> Result<Level, String> {
    text.parse()
        .map_err(|_| format!("invalid level {text:?}: expected error, warn, info, debug or trace"))
}

/// The conditions for a line to be shown.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) since: Option<i64>,
    level: Level,
    server: Option<String>,
    number: Option<u64>,
    /// Finds the digits of `number`: a quick test before a line is parsed.
    digits: Option<Finder<'static>>,
    /// Finds the port of `server`: a quick test before a line is parsed.
    port: Option<Finder<'static>>,
}

impl Filter {
    pub(super) fn new(
        since: Option<Since>,
        level: Option<Level>,
        server: Option<&str>,
        number: Option<u64>,
    ) -> Self {
        let finder = |text: &str| Finder::new(text).into_owned();
        Self {
            since: since.map(|since| since.0),
            level: level.unwrap_or(Level::TRACE),
            server: server.map(str::to_owned),
            number,
            digits: number.map(|number| finder(&number.to_string())),
            port: server.map(|server| finder(port(server))),
        }
    }

    /// Whether all lines are shown, including lines without a time.
    pub(super) fn is_open(&self) -> bool {
        self.since.is_none()
            && self.level == Level::TRACE
            && self.server.is_none()
            && self.number.is_none()
    }

    pub(super) fn shows(&self, role: &str, bytes: &[u8], head: Head) -> bool {
        if self.since.is_some_and(|since| head.time_ms < since) || head.level > self.level {
            return false;
        }
        // All lines of a server's own log are about that server.
        let server = self
            .server
            .as_deref()
            .filter(|server| !is_log_of(role, server));
        if server.is_none() && self.number.is_none() {
            return true;
        }
        // Most lines need not be parsed.
        let lacks = |finder: &Option<Finder>| {
            finder
                .as_ref()
                .is_some_and(|finder| finder.find(bytes).is_none())
        };
        if lacks(&self.digits) || (server.is_some() && lacks(&self.port)) {
            return false;
        }
        let fields = line::parse(bytes, head);
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
        };
        let is_number = self
            .number
            .is_none_or(|number| field("number").and_then(Value::as_u64) == Some(number));
        is_number
            && server.is_none_or(|server| {
                field("server")
                    .and_then(Value::as_str)
                    .is_some_and(|s| is(s, server))
            })
    }
}

/// The part of a server's name after the last colon.
fn port(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(_, port)| port)
}

/// Whether `meant` names the server: by its name, or by its port alone.
fn is(name: &str, meant: &str) -> bool {
    let meant_port = meant.strip_prefix(':').unwrap_or(meant);
    name == meant || (!meant_port.contains(':') && name.contains(':') && port(name) == meant_port)
}

fn is_log_of(role: &str, server: &str) -> bool {
    role.strip_prefix("server-")
        .is_some_and(|role| role == port(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let now = Local.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap();
        let at = |hour, minute| {
            Some(Since(
                Local
                    .with_ymd_and_hms(2026, 11, 21, hour, minute, 0)
                    .unwrap()
                    .timestamp_millis(),
            ))
        };
        for (text, expected) in [
            ("10m", at(11, 50)),
            ("0", at(12, 0)),
            ("11:30", at(11, 30)),
            ("11:30:00", at(11, 30)),
            ("2026-11-21 09:15", at(9, 15)),
            ("2026-11-21T09:15:00", at(9, 15)),
            ("2026-11-21", at(0, 0)),
            ("2026-11-21T06:27:00.123Z", Some(Since(1_795_242_420_123))),
            (
                "2026-11-21T07:27:00.123+01:00",
                Some(Since(1_795_242_420_123)),
            ),
            ("10", None),
            ("yesterday", None),
            ("2026-11-31", None),
            ("", None),
        ] {
            assert_eq!(since(text, now), expected, "{text}");
        }
    }

    #[test]
    fn servers_by_name_and_by_port() {
        for meant in ["127.0.0.1:5003", ":5003", "5003"] {
            assert!(is("127.0.0.1:5003", meant), "{meant}");
            assert!(is_log_of("server-5003", meant), "{meant}");
        }
        for meant in ["127.0.0.2:5003", "003", ":500", "127.0.0.1", ""] {
            assert!(!is("127.0.0.1:5003", meant), "{meant}");
        }
    }
}
