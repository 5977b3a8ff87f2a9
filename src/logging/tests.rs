//! The log as a reader of its files sees it.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Days, Local, TimeZone};
use serde_json::Value;
use tracing::{debug, error, info, warn};

use std::time::{Duration, SystemTime};

use super::line::write_time;
use super::rotation::{SizeAndDay, last_day};
use super::*;
use crate::text::is_printable;

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
    let lines = layer()
        .event_format(LineFormat::new(format))
        .with_ansi(ansi)
        .with_writer(writer);
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

pub(super) fn config(dir: &Path) -> LogConfig {
    LogConfig {
        to: Destination::Directory(dir.to_owned()),
        ..LogConfig::default()
    }
}

/// Logs `count` lines of one size through the whole chain and waits until they are on disk.
pub(super) fn log_through(config: &LogConfig, count: usize) {
    let (subscriber, guard) = subscriber(config).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..count {
            info!(number = format_args!("{number:08}"), "line");
        }
    });
    assert_eq!(guard.lost_lines(), 0);
    drop(guard);
}

pub(super) fn file_names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_human_line_has_time_level_message_and_fields() {
    let line = human(|| {
        info!(
            number = 7_u64,
            title = "a b",
            server = "s1",
            ok = true,
            "file \"stored\""
        );
    });
    assert_eq!(
        line,
        r#" INFO  file "stored" number=7 title="a b" server=s1 ok=true"#
    );
    assert_eq!(human(|| error!("no fields")), " ERROR no fields");
    assert_eq!(
        human(|| warn!(delta = -3, share = 0.5)),
        " WARN  delta=-3 share=0.5"
    );
}

#[test]
fn printable_text_of_any_language_stays_readable() {
    let title = "però-注文-🚚-привет.json";
    assert_eq!(
        human(|| info!(title, "x")),
        format!(" INFO  x title={title}")
    );
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
        assert!(
            line.starts_with(" INFO  got ") && line.chars().all(is_printable),
            "{line:?}"
        );
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
    assert!(
        time.len() == 24 && DateTime::parse_from_rfc3339(time).is_ok(),
        "{time}"
    );
}

#[test]
fn colour_stays_within_the_level() {
    let lines = lines(LogFormat::Human, true, || error!("x"));
    assert_eq!(tail(&lines[0]), " \x1b[31mERROR\x1b[0m x");
}

#[test]
fn times_agree_with_the_calendar() {
    // Steps by a bit over eleven days through five centuries, leap years and century years among
    // them.
    for seconds in (0..500 * 366 * 86_400).step_by(999_983) {
        let mut text = String::new();
        write_time(&mut text, Duration::new(seconds, 45_999_999)).unwrap();
        let expected = DateTime::from_timestamp(seconds.try_into().unwrap(), 45_999_999).unwrap();
        assert_eq!(text, expected.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    }
}

#[test]
fn a_misspelt_level_is_named() {
    for level in [
        "infoo",
        "",
        "bilico",
        "bilico=loud",
        "info,,",
        "inf,bilico=debug",
        " info",
    ] {
        let error = parse_level(level).map(|_| ()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("invalid log level {level:?}: expected error")),
            "{error}"
        );
    }
    for level in ["info", "WARN", "off", "trace", "warn,bilico::queue=debug"] {
        assert!(parse_level(level).is_ok(), "{level}");
    }
}

#[test]
fn levels_below_the_filter_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (subscriber, guard) = subscriber(&LogConfig {
        level: "warn".to_owned(),
        ..config(dir.path())
    })
    .unwrap();
    tracing::subscriber::with_default(subscriber, || {
        debug!("not me");
        info!("nor me");
        warn!("me");
    });
    drop(guard);
    let text = fs::read_to_string(dir.path().join("bilico.log")).unwrap();
    assert!(
        text.ends_with(" WARN  me\n") && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn stderr_does_not_narrow_what_the_file_gets() {
    let dir = tempfile::tempdir().unwrap();
    log_through(
        &LogConfig {
            also_stderr: Some(Level::ERROR),
            ..config(dir.path())
        },
        3,
    );
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
    assert!(
        matches!(error, LogError::NotADirectory { path, .. } if path == nested.join("bilico.log"))
    );
}

#[test]
fn rotation_by_size_keeps_only_so_many() {
    let dir = tempfile::tempdir().unwrap();
    log_through(
        &LogConfig {
            max_bytes: 1000,
            keep: 3,
            ..config(dir.path())
        },
        500,
    );
    assert_eq!(
        file_names(dir.path()),
        ["bilico.log", "bilico.log.1", "bilico.log.2", "bilico.log.3"]
    );
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
    for name in [
        "bilico.log.2",
        "bilico.log.3",
        "bilico.log.9",
        "bilico.log.old",
        "other.log.9",
    ] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    log_through(
        &LogConfig {
            keep: 2,
            ..config(dir.path())
        },
        1,
    );
    assert_eq!(
        file_names(dir.path()),
        [
            "bilico.log",
            "bilico.log.2",
            "bilico.log.old",
            "other.log.9"
        ]
    );
}

#[test]
fn the_log_of_an_earlier_day_is_rotated_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bilico.log");
    fs::write(&path, "earlier\n").unwrap();
    let two_days_ago = SystemTime::now() - Duration::from_hours(48);
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(two_days_ago)
        .unwrap();

    log_through(&config(dir.path()), 1);
    log_through(&config(dir.path()), 1);

    assert_eq!(
        fs::read_to_string(dir.path().join("bilico.log.1")).unwrap(),
        "earlier\n"
    );
    assert_eq!(
        file_names(dir.path()),
        ["bilico.log", "bilico.log.1"],
        "the same day goes on in the same file"
    );
}

#[test]
fn a_day_rotates_once_and_a_clock_set_back_never() {
    let noon = Local.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap();
    let (before, after) = (noon - Days::new(1), noon + Days::new(1));
    let mut condition = SizeAndDay::new(0, noon.date_naive());
    let answers =
        [noon, before, noon, after, after, noon].map(|now| condition.is_due(now.date_naive(), 10));
    assert_eq!(answers, [false, false, false, true, false, false]);
    assert!(
        !condition.is_due((after + Days::new(1)).date_naive(), 0),
        "an empty file is not worth rotating"
    );
}

#[test]
fn a_failed_rotation_is_not_tried_again_at_each_line() {
    let now = Local::now();
    let mut condition = SizeAndDay::new(100, now.date_naive());
    let answers =
        [99, 100, 110, 199, 200, 210, 50, 100].map(|size| condition.is_due(now.date_naive(), size));
    assert_eq!(
        answers,
        [false, true, false, false, true, false, false, true]
    );
}

#[test]
fn a_time_stamp_from_the_future_counts_as_today() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file()
        .set_modified(SystemTime::now() + Duration::from_hours(96))
        .unwrap();
    let today = Local::now().date_naive();
    assert_eq!(last_day(&file.as_file().metadata().unwrap(), today), today);
}

#[test]
fn the_level_can_be_changed_while_lines_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (subscriber, guard) = subscriber(&LogConfig {
        level: "warn".to_owned(),
        ..config(dir.path())
    })
    .unwrap();
    let level = guard.level();
    tracing::subscriber::with_default(subscriber, || {
        let say = |n: u8| info!(n, "line");
        say(1);
        level.set("info").unwrap();
        say(2);
        level.set("inof").unwrap_err();
        say(3);
        level.set("error").unwrap();
        say(4);
    });
    drop(guard);
    let text = fs::read_to_string(dir.path().join("bilico.log")).unwrap();
    let lines: Vec<_> = text.lines().map(|line| tail(line).to_owned()).collect();
    assert_eq!(lines, [" INFO  line n=2", " INFO  line n=3"]);
    level.set("info").unwrap();
}

/// A line once had `ms=7.2193179999999995`.
#[test]
fn a_time_has_three_decimals_at_the_most() {
    let log = || info!(ms = 7.219_317_999_999_999_5_f64, whole = 3.0_f64, "took");
    assert_eq!(human(log), " INFO  took ms=7.219 whole=3");
    assert_eq!(json(log)["ms"].to_string(), "7.219");
}

/// A loss of power cuts the last line; the next one was glued to it.
#[test]
fn half_a_line_of_an_earlier_run_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bilico.log");
    fs::write(&path, "whole\nhal").unwrap();
    log_through(&config(dir.path()), 1);
    log_through(&config(dir.path()), 1);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[1]), (4, "hal"), "{text}");
}

#[test]
fn days_do_not_rotate_a_file_of_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.jsonl");
    fs::write(&path, "earlier\n").unwrap();
    let two_days_ago = SystemTime::now() - Duration::from_hours(48);
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(two_days_ago).unwrap();
    let open = || DataFile::open("data", dir.path(), "data.jsonl", (100, 2), |_, _| {}).unwrap();
    open().write([&b"{}\n"[..]]);
    assert_eq!(file_names(dir.path()), ["data.jsonl"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "earlier\n{}\n");
    let mut data = open();
    for _ in 0..20 {
        data.write([&*[&[b'x'; 60][..], b"\n"].concat()]);
    }
    assert_eq!(
        file_names(dir.path()),
        ["data.jsonl", "data.jsonl.1", "data.jsonl.2"]
    );
    assert_eq!(data.health.lost_lines(), 0);
}
