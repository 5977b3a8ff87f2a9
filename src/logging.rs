//! The program's log: where lines go, how they look, and when their file is rotated.
//!
//! Owns the `tracing` subscriber. What is worth a line, and at which level, is for the code that logs. Two
//! invariants: a value can never forge, split or hide a line, whatever bytes a title holds; and a line never makes
//! its writer wait. Lines go through a bounded queue to a thread of their own. When that queue is full, because the
//! disk stalls, lines are lost and counted rather than the data path held up.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local, NaiveDate};
use rolling_file::{RollingCondition, RollingFileAppender};
use serde::Serialize;
use serde_json::ser::Formatter;
use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for the disk: some 8 MiB of ordinary ones. More are lost and counted.
const QUEUED_LINES: usize = 32_768;

/// What the file's thread gathers before it writes, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;

/// Where the log goes and what it holds.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The directory of the log; created if it is missing.
    pub dir: PathBuf,
    /// The name of the current file, e.g. `balancer.log`. Rotated ones are `balancer.log.1` (the newest), `.2` …
    pub file: String,
    /// The file is rotated once it has grown to this many bytes; 0 means by day only.
    pub max_bytes: u64,
    /// How many rotated files are kept; at least one is.
    pub keep: usize,
    /// How lines look.
    pub format: LogFormat,
    /// A level, or directives such as `info,bilico::queue=debug`.
    pub level: String,
    /// Lines at this level and worse go to stderr too.
    pub also_stderr: Option<Level>,
}

impl Default for LogConfig {
    /// `logs/bilico.log` at `info`, 64 MiB a file, 8 rotated ones kept, nothing on stderr.
    fn default() -> Self {
        Self {
            dir: PathBuf::from("logs"),
            file: "bilico.log".to_owned(),
            max_bytes: 64 << 20,
            keep: 8,
            format: LogFormat::Human,
            level: "info".to_owned(),
            also_stderr: None,
        }
    }
}

/// How a line looks. Both forms print one event a line, the time in UTC, and no spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `2026-11-21T06:27:00.123Z INFO  message key=value key="a value"`
    #[default]
    Human,
    /// One JSON object a line: `time`, `level`, `message`, then the fields. Numbers stay numbers.
    Json,
}

/// Why the log could not be set up. Each needs a person to change something first.
#[derive(Debug, Error)]
pub enum LogError {
    /// The directory could not be made.
    #[error("cannot create the log directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be opened for appending.
    #[error("cannot open the log file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The level is none, and no directive either.
    #[error("`{0}` is no log level; write error, warn, info, debug, trace or off, or e.g. info,bilico::queue=debug")]
    Level(String),
    /// This process logs already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Keeps the log's threads alive. Dropping it writes out what still waits, for a second at most a destination, and
/// tells stderr how many lines were lost. Hold it to the end of `main`; `std::process::exit` skips it.
#[must_use = "dropping the guard ends the log"]
#[derive(Debug)]
pub struct LogGuard {
    file: Destination,
    stderr: Option<Destination>,
}

impl LogGuard {
    /// How many lines the file has lost: the queue was full, or the write failed.
    pub fn lost_lines(&self) -> usize {
        self.file.lost_lines()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        drop(self.stderr.take());
        self.file.worker.take();
        let lost = self.lost_lines();
        if lost > 0 {
            // A closed stderr is no reason to panic on the way out.
            let _ =
                writeln!(io::stderr(), "warning: {lost} log lines were lost: the disk was too slow, full or failing");
        }
    }
}

/// Sets up logging for the whole process.
pub fn init(config: &LogConfig) -> Result<LogGuard, LogError> {
    let (subscriber, guard) = subscriber(config)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(guard)
}

/// Builds what [`init`] installs, for a caller that wants it for one thread or one scope.
pub fn subscriber(config: &LogConfig) -> Result<(impl Subscriber + Send + Sync + use<>, LogGuard), LogError> {
    let filter = parse_level(&config.level)?;
    let format = LineFormat(config.format);
    let (file_writer, file) = Destination::start("log-file", open(config)?);
    let stderr = config.also_stderr.map(|level| (level, Destination::start("log-stderr", io::stderr())));
    let (stderr_layer, stderr) = stderr
        .map(|(level, (writer, destination))| {
            let lines = layer().event_format(format).with_ansi(stderr_takes_colour()).with_writer(writer);
            (lines.with_filter(LevelFilter::from_level(level)), destination)
        })
        .unzip();
    let file_layer = layer().event_format(format).with_ansi(false).with_writer(file_writer);
    let subscriber = tracing_subscriber::registry().with(filter).with(file_layer).with(stderr_layer);
    Ok((subscriber, LogGuard { file, stderr }))
}

/// `EnvFilter` takes any bare word for the name of a target, so a misspelt level would silence the log unnoticed.
fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let refused = || LogError::Level(level.to_owned());
    let known = |part: &str| !part.is_empty() && (part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok());
    if level.split(',').all(known) { EnvFilter::try_new(level).map_err(|_| refused()) } else { Err(refused()) }
}

fn open(config: &LogConfig) -> Result<RollingFileAppender<SizeAndDay>, LogError> {
    let dir = &config.dir;
    fs::create_dir_all(dir).map_err(|source| LogError::Directory { dir: dir.clone(), source })?;
    let keep = config.keep.max(1);
    let path = dir.join(&config.file);
    remove_surplus(dir, &config.file, keep);
    let condition = SizeAndDay::new(config.max_bytes, last_day(&path, Local::now().date_naive()));
    RollingFileAppender::new_with_buffer_capacity(&path, condition, keep, WRITE_BUFFER)
        .map_err(|source| LogError::File { path, source })
}

/// Rotation drops only the file it pushes over the end: what an earlier, larger `keep` left is dropped here.
/// A file that will not go is no reason not to start.
fn remove_surplus(dir: &Path, file: &str, keep: usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(file)?.strip_prefix('.')?.parse::<usize>().ok());
        if number.is_some_and(|number| number > keep) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The day of the last line of an earlier run. A time stamp from the future must not hold up the next rotation.
fn last_day(path: &Path, today: NaiveDate) -> NaiveDate {
    let modified = fs::metadata(path).and_then(|file| file.modified());
    modified.map_or(today, |time| DateTime::<Local>::from(time).date_naive().min(today))
}

/// Rotates by size and by local day, across restarts too.
///
/// Days only move forward, so a clock set back does not rotate; and dates are compared, never turned into a local
/// midnight, which some time zones do not have on some days.
#[derive(Debug)]
struct SizeAndDay {
    max_bytes: u64,
    /// The size at which the next rotation is due.
    due: u64,
    day: NaiveDate,
}

impl SizeAndDay {
    fn new(max_bytes: u64, day: NaiveDate) -> Self {
        let max_bytes = if max_bytes == 0 { u64::MAX } else { max_bytes };
        Self { max_bytes, due: max_bytes, day }
    }
}

impl RollingCondition for SizeAndDay {
    fn should_rollover(&mut self, now: &DateTime<Local>, size: u64) -> bool {
        let today = now.date_naive();
        let new_day = today > self.day && size > 0;
        self.day = self.day.max(today);
        if size < self.max_bytes {
            self.due = self.max_bytes;
        }
        let full = size >= self.due;
        if full {
            // If the renaming fails the file stays large: without this each further line would try again.
            self.due = size.saturating_add(self.max_bytes);
        }
        new_day || full
    }
}

/// A queue, the thread that empties it, and what was lost on the way.
#[derive(Debug)]
struct Destination {
    worker: Option<WorkerGuard>,
    overflowed: ErrorCounter,
    failed: Arc<AtomicUsize>,
}

impl Destination {
    fn start(thread: &str, sink: impl Write + Send + 'static) -> (NonBlocking, Self) {
        let failed = Arc::new(AtomicUsize::new(0));
        let counting = CountFailures { sink, failed: Arc::clone(&failed) };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES);
        let (writer, worker) = builder.thread_name(thread).finish(counting);
        let overflowed = writer.error_counter();
        (writer, Self { worker: Some(worker), overflowed, failed })
    }

    fn lost_lines(&self) -> usize {
        self.overflowed.dropped_lines().saturating_add(self.failed.load(Ordering::Relaxed))
    }
}

/// Counts the writes that fail. The thread behind the queue would swallow the errors, and not end cleanly on them.
struct CountFailures<W> {
    sink: W,
    failed: Arc<AtomicUsize>,
}

impl<W: Write> Write for CountFailures<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sink.write_all(line).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.sink.flush().is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn stderr_takes_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

/// Writes an event as one line; give it to a `fmt` layer's `event_format`.
///
/// Fields are not to be called `time`, `level` or `message`: in JSON the key would be there twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineFormat(pub LogFormat);

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let level = *event.metadata().level();
        match self.0 {
            LogFormat::Human => human_head(&mut out, now, level)?,
            LogFormat::Json => json_head(&mut out, now, level)?,
        }
        let mut fields = Fields { out: &mut out, format: self.0, scratch: String::new(), result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        out.write_str(if self.0 == LogFormat::Json { "}\n" } else { "\n" })
    }
}

fn human_head(out: &mut Writer<'_>, now: Duration, level: Level) -> fmt::Result {
    write_time(out, now)?;
    if out.has_ansi_escapes() {
        write!(out, " \x1b[{}m{level:<5}\x1b[0m", colour(level))
    } else {
        write!(out, " {level:<5}")
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

/// `2026-11-21T06:27:00.123Z`. By hand, because a general formatter costs as much as the rest of the line.
fn write_time(out: &mut impl fmt::Write, since_epoch: Duration) -> fmt::Result {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since_epoch.subsec_millis();
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from the first of March, so that the leap day ends one, and in eras of 400 years, which all
/// have 146,097 days (Howard Hinnant's `civil_from_days`).
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Writes an event's fields as they come; `tracing` gives the message first.
struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    format: LogFormat,
    /// Holds a value that must be seen whole before it is known whether it needs quotes.
    scratch: String,
    /// A visitor returns nothing, so the first failure waits here.
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn scalar(&mut self, field: &Field, value: impl fmt::Display) {
        self.result = self.result.and_then(|()| {
            self.key(field)?;
            write!(self.out, "{value}")
        });
    }

    fn text(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| {
            self.key(field)?;
            match self.format {
                LogFormat::Json => write_json_string(self.out, value),
                LogFormat::Human if field.name() == "message" => write_escaped(self.out, value),
                LogFormat::Human => write_value(self.out, value),
            }
        });
    }

    fn key(&mut self, field: &Field) -> fmt::Result {
        let name = field.name().trim_start_matches("r#");
        match self.format {
            LogFormat::Json => write!(self.out, r#","{name}":"#),
            LogFormat::Human if name == "message" => self.out.write_char(' '),
            LogFormat::Human => write!(self.out, " {name}="),
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        self.result = self.result.and_then(|()| write!(text, "{value:?}"));
        self.text(field, &text);
        self.scratch = text;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() { self.scalar(field, value) } else { self.record_debug(field, &value) }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.scalar(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.scalar(field, value);
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

/// Plain where that is unmistakable, else quoted and escaped.
fn write_value(out: &mut impl fmt::Write, value: &str) -> fmt::Result {
    let plain = |c: char| !matches!(c, ' ' | '"' | '\\' | '=') && is_printable(c);
    if !value.is_empty() && value.chars().all(plain) { out.write_str(value) } else { write!(out, "{value:?}") }
}

/// Whether a character shows as itself: no control, no line separator, no bidi mark, nothing invisible.
fn is_printable(c: char) -> bool {
    // The standard library's own table is not public, but `escape_debug` leaves alone what it calls printable.
    matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().len() == 1)
}

/// Splits off the printable start; behind it stand the first character that is not, and the rest.
fn split_printable(text: &str) -> (&str, Option<(char, &str)>) {
    let end = text.find(|c| !is_printable(c)).unwrap_or(text.len());
    let (printable, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let mut rest = rest.chars();
    (printable, rest.next().map(|bad| (bad, rest.as_str())))
}

/// For messages, which stand without quotes: escapes no more than what could forge a line.
fn write_escaped(out: &mut impl fmt::Write, mut text: &str) -> fmt::Result {
    while let (printable, Some((bad, rest))) = split_printable(text) {
        write!(out, "{printable}{}", bad.escape_debug())?;
        text = rest;
    }
    out.write_str(text)
}

fn write_json_string(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let mut serializer = serde_json::Serializer::with_formatter(Utf8(out), PrintableJson);
    text.serialize(&mut serializer).map_err(|_| fmt::Error)
}

/// JSON that also escapes what JSON lets pass and a terminal or a reader of lines acts on, e.g. U+2028 or C1 controls.
struct PrintableJson;

impl Formatter for PrintableJson {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono::{Days, TimeZone};
    use serde_json::Value;
    use tracing::{debug, error, info, warn};

    use super::*;

    /// What would forge, split, hide or recolour a line, were it written as it is.
    const HOSTILE: [&str; 10] = [
        "",
        "a\r\n2026-11-21T06:27:00.123Z ERROR forged",
        "\x1b[2J\x1b]0;title\x07",
        "a b=\"c\"",
        r"C:\temp",
        "gpj.\u{202e}exe",
        "\u{85}\u{9b}31m\u{7f}",
        "a\u{2028}b\u{2029}c",
        "\u{feff}\u{200b}\0",
        "x\" level=ERROR message=\"forged",
    ];

    /// The lines that `log` writes in this format.
    fn lines(format: LogFormat, ansi: bool, log: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let writer = move || Sink(Arc::clone(&sink));
        let lines = layer().event_format(LineFormat(format)).with_ansi(ansi).with_writer(writer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(str::to_owned).collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What stands behind the time stamp of a human line.
    fn tail(line: &str) -> &str {
        line.split_at("2026-11-21T06:27:00.123Z".len()).1
    }

    fn human(log: impl FnOnce()) -> String {
        let lines = lines(LogFormat::Human, false, log);
        assert_eq!(lines.len(), 1, "{lines:?}");
        tail(&lines[0]).to_owned()
    }

    fn json(log: impl FnOnce()) -> Value {
        let lines = lines(LogFormat::Json, false, log);
        assert_eq!(lines.len(), 1, "{lines:?}");
        serde_json::from_str(&lines[0]).unwrap()
    }

    fn config(dir: &Path) -> LogConfig {
        LogConfig { dir: dir.to_owned(), ..LogConfig::default() }
    }

    /// Logs `count` lines of one size through the whole chain and waits until they are on disk.
    fn log_through(config: &LogConfig, count: usize) {
        let (subscriber, guard) = subscriber(config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..count {
                info!(number = format_args!("{number:08}"), "line");
            }
        });
        assert_eq!(guard.lost_lines(), 0);
        drop(guard);
    }

    fn file_names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_human_line_has_time_level_message_and_fields() {
        let line = human(|| info!(number = 7_u64, title = "a b", server = "s1", ok = true, "file \"stored\""));
        assert_eq!(line, r#" INFO  file "stored" number=7 title="a b" server=s1 ok=true"#);
        assert_eq!(human(|| error!("no fields")), " ERROR no fields");
        assert_eq!(human(|| warn!(delta = -3, share = 0.5)), " WARN  delta=-3 share=0.5");
    }

    #[test]
    fn printable_text_of_any_language_stays_readable() {
        let title = "però-注文-🚚-привет.json";
        assert_eq!(human(|| info!(title, "x")), format!(" INFO  x title={title}"));
    }

    #[test]
    fn displayed_and_debugged_values_are_escaped_like_strings() {
        let line = human(|| info!(shown = %"a\nb", debugged = ?"c", "x"));
        assert_eq!(line, r#" INFO  x shown="a\nb" debugged="\"c\"""#);
    }

    #[test]
    fn no_title_forges_a_human_line() {
        for title in HOSTILE {
            let line = human(|| info!(title, after = 1, "x"));
            assert!(line.chars().all(is_printable), "{line:?}");
            assert_eq!(line, format!(" INFO  x title={title:?} after=1"));
        }
    }

    #[test]
    fn no_message_forges_a_line() {
        for title in HOSTILE {
            let line = human(|| info!("got {title}"));
            assert!(line.starts_with(" INFO  got ") && line.chars().all(is_printable), "{line:?}");
        }
        assert_eq!(human(|| info!("a\r\n\u{202e}b")), r" INFO  a\r\n\u{202e}b");
    }

    #[test]
    fn no_title_forges_a_json_line() {
        for title in HOSTILE {
            let lines = lines(LogFormat::Json, false, || info!(title, "got {title}"));
            assert!(lines[0].chars().all(is_printable), "{:?}", lines[0]);
            let value: Value = serde_json::from_str(&lines[0]).unwrap();
            assert_eq!(value["title"], title);
            assert_eq!(value["message"], format!("got {title}"));
        }
    }

    #[test]
    fn a_json_line_keeps_its_types() {
        let value = json(|| {
            warn!(
                count = u64::MAX,
                delta = -3,
                big = u128::MAX,
                share = 0.5,
                ok = false,
                odd = f64::NAN,
                r#type = "t",
                "x"
            );
        });
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["message"], "x");
        assert_eq!(value["count"], u64::MAX);
        assert_eq!(value["delta"], -3);
        assert!(value["big"].is_number());
        assert_eq!(value["share"], 0.5);
        assert_eq!(value["ok"], false);
        assert_eq!(value["odd"], "NaN");
        assert_eq!(value["type"], "t");
        let time = value["time"].as_str().unwrap();
        assert!(time.len() == 24 && DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    }

    #[test]
    fn colour_stays_within_the_level() {
        let lines = lines(LogFormat::Human, true, || error!("x"));
        assert_eq!(tail(&lines[0]), " \x1b[31mERROR\x1b[0m x");
    }

    #[test]
    fn times_agree_with_the_calendar() {
        // Steps by a bit over eleven days through five centuries, leap years and century years among them.
        for seconds in (0..500 * 366 * 86_400).step_by(999_983) {
            let mut text = String::new();
            write_time(&mut text, Duration::new(seconds, 45_999_999)).unwrap();
            let expected = DateTime::from_timestamp(seconds.try_into().unwrap(), 45_999_999).unwrap();
            assert_eq!(text, expected.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        }
    }

    #[test]
    fn a_misspelt_level_is_named() {
        for level in ["infoo", "", "bilico", "bilico=loud", "info,,", "inf,bilico=debug", " info"] {
            let error = parse_level(level).map(|_| ()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{level}` is no log level")), "{error}");
        }
        for level in ["info", "WARN", "off", "trace", "warn,bilico::queue=debug"] {
            assert!(parse_level(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn levels_below_the_filter_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (subscriber, guard) = subscriber(&LogConfig { level: "warn".to_owned(), ..config(dir.path()) }).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            debug!("not me");
            info!("nor me");
            warn!("me");
        });
        drop(guard);
        let text = fs::read_to_string(dir.path().join("bilico.log")).unwrap();
        assert!(text.ends_with(" WARN  me\n") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn stderr_does_not_narrow_what_the_file_gets() {
        let dir = tempfile::tempdir().unwrap();
        log_through(&LogConfig { also_stderr: Some(Level::ERROR), ..config(dir.path()) }, 3);
        let text = fs::read_to_string(dir.path().join("bilico.log")).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn a_missing_directory_is_made_and_an_impossible_one_named() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b");
        log_through(&config(&nested), 1);
        assert_eq!(file_names(&nested), ["bilico.log"]);

        let below_a_file = nested.join("bilico.log/logs");
        let error = subscriber(&config(&below_a_file)).map(|_| ()).unwrap_err();
        assert!(matches!(error, LogError::Directory { dir, .. } if dir == below_a_file));
    }

    #[test]
    fn rotation_by_size_keeps_only_so_many() {
        let dir = tempfile::tempdir().unwrap();
        log_through(&LogConfig { max_bytes: 1000, keep: 3, ..config(dir.path()) }, 500);
        assert_eq!(file_names(dir.path()), ["bilico.log", "bilico.log.1", "bilico.log.2", "bilico.log.3"]);
        for name in file_names(dir.path()) {
            let size = fs::metadata(dir.path().join(&name)).unwrap().len();
            assert!((1..1100).contains(&size), "{name}: {size}");
        }
        let newest = fs::read_to_string(dir.path().join("bilico.log")).unwrap();
        assert!(newest.ends_with("number=00000499\n"), "{newest}");
    }

    #[test]
    fn a_smaller_keep_drops_what_an_earlier_run_left() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bilico.log.2", "bilico.log.3", "bilico.log.9", "bilico.log.old", "other.log.9"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        log_through(&LogConfig { keep: 2, ..config(dir.path()) }, 1);
        assert_eq!(file_names(dir.path()), ["bilico.log", "bilico.log.2", "bilico.log.old", "other.log.9"]);
    }

    #[test]
    fn the_log_of_an_earlier_day_is_rotated_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bilico.log");
        fs::write(&path, "earlier\n").unwrap();
        let two_days_ago = SystemTime::now() - Duration::from_hours(48);
        fs::File::options().append(true).open(&path).unwrap().set_modified(two_days_ago).unwrap();

        log_through(&config(dir.path()), 1);
        log_through(&config(dir.path()), 1);

        assert_eq!(fs::read_to_string(dir.path().join("bilico.log.1")).unwrap(), "earlier\n");
        assert_eq!(file_names(dir.path()), ["bilico.log", "bilico.log.1"], "the same day goes on in the same file");
    }

    #[test]
    fn a_day_rotates_once_and_a_clock_set_back_never() {
        let noon = Local.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap();
        let (before, after) = (noon - Days::new(1), noon + Days::new(1));
        let mut condition = SizeAndDay::new(0, noon.date_naive());
        let answers = [noon, before, noon, after, after, noon].map(|now| condition.should_rollover(&now, 10));
        assert_eq!(answers, [false, false, false, true, false, false]);
        assert!(!condition.should_rollover(&(after + Days::new(1)), 0), "an empty file is not worth rotating");
    }

    #[test]
    fn a_failed_rotation_is_not_tried_again_at_each_line() {
        let now = Local::now();
        let mut condition = SizeAndDay::new(100, now.date_naive());
        let answers = [99, 100, 110, 199, 200, 210, 50, 100].map(|size| condition.should_rollover(&now, size));
        assert_eq!(answers, [false, true, false, false, true, false, false, true]);
    }

    #[test]
    fn a_time_stamp_from_the_future_counts_as_today() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_modified(SystemTime::now() + Duration::from_hours(96)).unwrap();
        let today = Local::now().date_naive();
        assert_eq!(last_day(file.path(), today), today);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut writer, mut destination) = Destination::start("log-test", Full);
        writer.write_all(b"one").unwrap();
        writer.write_all(b"two").unwrap();
        destination.worker.take();
        assert_eq!(destination.lost_lines(), 2);
    }
}
