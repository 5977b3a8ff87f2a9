//! The two formats of a line: for people, and JSON.
//!
//! Invariant: no value can forge, split or hide a line, whatever bytes it holds.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::ser::Formatter;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::config::LogFormat;
use crate::numbers::thousandths;
use crate::text::{is_printable, split_printable, start, write_printable};

/// Bytes of a value that a line shows, before they are escaped; the rest is cut off.
const MAX_VALUE: usize = 8 * 1024;

/// Writes an event as one line; give it to a `fmt` layer's `event_format`.
///
/// Do not name fields `time`, `level` or `message`: JSON would have the key twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineFormat {
    format: LogFormat,
    is_for_journal: bool,
}

impl LineFormat {
    /// Lines with their time and level.
    pub fn new(format: LogFormat) -> Self {
        Self {
            format,
            is_for_journal: false,
        }
    }

    /// Lines for systemd's journal, if it is the reader: marked with their level, and those for
    /// people without the time, which the journal has.
    #[must_use]
    pub fn to_journal(self, is_for_journal: bool) -> Self {
        Self {
            is_for_journal,
            ..self
        }
    }

    fn head(self, out: &mut Writer<'_>, now: Duration, level: Level) -> fmt::Result {
        if self.is_for_journal {
            write!(out, "<{}>", priority(level))?;
        }
        match self.format {
            LogFormat::Json => json_head(out, now, level),
            LogFormat::Human if self.is_for_journal => write!(out, "{level:<5}"),
            LogFormat::Human => human_head(out, now, level),
        }
    }
}

/// The level as `syslog` counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let level = *event.metadata().level();
        self.head(&mut out, now, level)?;
        SCRATCH.with_borrow_mut(|scratch| {
            let mut fields = Fields {
                out: &mut out,
                format: self.format,
                scratch,
                result: Ok(()),
            };
            event.record(&mut fields);
            fields.result
        })?;
        out.write_str(if self.format == LogFormat::Json {
            "}\n"
        } else {
            "\n"
        })
    }
}

/// A line of the log itself, independent of the filter.
pub(super) fn own_line(format: LineFormat, level: Level, message: &str) -> String {
    let mut text = String::new();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut out = Writer::new(&mut text);
    // Writing to a string does not fail.
    let head = format.head(&mut out, now, level);
    let _ = head.and_then(|()| match format.format {
        LogFormat::Human => {
            out.write_char(' ')?;
            write_printable(&mut out, message)
        }
        LogFormat::Json => {
            out.write_str(",\"message\":")?;
            write_json_string(&mut out, message)?;
            out.write_char('}')
        }
    });
    text.push('\n');
    text
}

thread_local! {
    /// Buffer for a value: whether it needs quotes is known only when it is complete.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };

    /// The last second that was written, and its text: most lines are of the same second as the
    /// line before.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

fn human_head(out: &mut Writer<'_>, now: Duration, level: Level) -> fmt::Result {
    write_time(out, now)?;
    if out.has_ansi_escapes() {
        write!(out, " \x1b[{}m{level:<5}\x1b[0m", colour(level))
    } else {
        out.write_str(match level {
            Level::ERROR => " ERROR",
            Level::WARN => " WARN ",
            Level::INFO => " INFO ",
            Level::DEBUG => " DEBUG",
            _ => " TRACE",
        })
    }
}

fn json_head(out: &mut Writer<'_>, now: Duration, level: Level) -> fmt::Result {
    out.write_str(r#"{"time":""#)?;
    write_time(out, now)?;
    write!(out, r#"","level":"{level}""#)
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        _ => 35,
    }
}

/// `2026-11-21T06:27:00.123Z`. chrono's general formatter would cost as much as the rest of the
/// line.
pub(super) fn write_time(out: &mut impl fmt::Write, since_epoch: Duration) -> fmt::Result {
    let seconds = since_epoch.as_secs();
    SECOND.with_borrow_mut(|(written, text)| {
        if *written != seconds {
            text.clear();
            write_seconds(text, seconds)?;
            *written = seconds;
        }
        out.write_str(text)
    })?;
    let millis = since_epoch.subsec_millis();
    let digit = |value: u32| char::from_digit(value % 10, 10).unwrap_or_default();
    [
        '.',
        digit(millis / 100),
        digit(millis / 10),
        digit(millis),
        'Z',
    ]
    .into_iter()
    .try_for_each(|c| out.write_char(c))
}

fn write_seconds(out: &mut impl fmt::Write, seconds: u64) -> fmt::Result {
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    )
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from the first of March, so that the leap day ends one, and in eras of 400
/// years, which all have 146,097 days (Howard Hinnant's `civil_from_days`).
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Writes an event's fields in their order; `tracing` passes the message first.
struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    format: LogFormat,
    scratch: &'a mut String,
    /// The first error: a visitor cannot return it.
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn scalar(&mut self, field: &Field, value: impl fmt::Display) {
        self.result = self.result.and_then(|()| {
            self.key(field)?;
            write!(self.out, "{value}")
        });
    }

    /// The same without the general formatter.
    fn integer(&mut self, field: &Field, value: impl itoa::Integer) {
        self.result = self.result.and_then(|()| {
            self.key(field)?;
            self.out.write_str(itoa::Buffer::new().format(value))
        });
    }

    fn text(&mut self, field: &Field, value: &str) {
        let value = &*bounded(value);
        self.result = self.result.and_then(|()| {
            self.key(field)?;
            match self.format {
                LogFormat::Json => write_json_string(self.out, value),
                LogFormat::Human if field.name() == "message" => write_printable(self.out, value),
                LogFormat::Human => write_value(self.out, value),
            }
        });
    }

    fn key(&mut self, field: &Field) -> fmt::Result {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let (before, after) = match self.format {
            LogFormat::Json => (",\"", "\":"),
            LogFormat::Human if name == "message" => return self.out.write_char(' '),
            LogFormat::Human => (" ", "="),
        };
        [before, name, after]
            .into_iter()
            .try_for_each(|part| self.out.write_str(part))
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(self.scratch);
        text.clear();
        self.result = self.result.and_then(|()| write!(text, "{value:?}"));
        self.text(field, &text);
        *self.scratch = text;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.scalar(field, thousandths(value));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.scalar(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.scalar(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.scalar(field, value);
    }
}

/// A value, cut if it is too long: longer than any title.
fn bounded(value: &str) -> Cow<'_, str> {
    let kept = start(value, MAX_VALUE);
    if kept.len() < value.len() {
        Cow::Owned(format!("{kept}…"))
    } else {
        Cow::Borrowed(value)
    }
}

/// Plain if that is unambiguous, otherwise quoted and escaped.
fn write_value(out: &mut impl fmt::Write, value: &str) -> fmt::Result {
    let plain = |c: char| !matches!(c, ' ' | '"' | '\\' | '=') && is_printable(c);
    if !value.is_empty() && value.chars().all(plain) {
        out.write_str(value)
    } else {
        write!(out, "{value:?}")
    }
}

fn write_json_string(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let mut serializer = serde_json::Serializer::with_formatter(Utf8(out), PrintableJson);
    text.serialize(&mut serializer).map_err(|_| fmt::Error)
}

/// JSON that also escapes characters that JSON allows but that act on a terminal or end a line,
/// e.g. U+2028 or C1 controls.
struct PrintableJson;

impl Formatter for PrintableJson {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut text = fragment;
        while let (printable, Some((bad, rest))) = split_printable(text) {
            out.write_all(printable.as_bytes())?;
            for unit in bad.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            text = rest;
        }
        out.write_all(text.as_bytes())
    }
}

/// Lets `serde_json`, which writes whole UTF-8 fragments as bytes, write into text.
struct Utf8<'a, W>(&'a mut W);

impl<W: fmt::Write> Write for Utf8<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
