//! Parses lines of a log, in either of the two formats.
//!
//! A line that this program did not write is `None`, never an error.

use std::borrow::Cow;
use std::fmt::Write;

use chrono::NaiveDate;
use serde_json::{Map, Value};
use tracing::Level;

/// Fields whose value is text even if it looks like a number: a title may be `17`.
const TEXT_FIELDS: [&str; 6] = ["title", "name", "key", "reason", "error", "identity"];

/// `2026-11-21T06:27:00.123Z`
const TIME_LEN: usize = 24;

/// The start of every line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Milliseconds since 1970, UTC.
    pub(super) time_ms: i64,
    pub(super) level: Level,
    /// Whether it is a JSON object.
    pub(super) is_json: bool,
}

/// Parses the start of a line; `None` for a line of another program.
pub(super) fn head(line: &[u8]) -> Option<Head> {
    if line.first() == Some(&b'{') {
        return json_head(line);
    }
    let (time, rest) = line.split_at_checked(TIME_LEN)?;
    let level = rest
        .strip_prefix(b" ")?
        .split(|byte| *byte == b' ')
        .next()?;
    Some(Head {
        time_ms: time_ms(time)?,
        level: parse_level(level)?,
        is_json: false,
    })
}

fn json_head(line: &[u8]) -> Option<Head> {
    let quick = || {
        let (time, rest) = line
            .strip_prefix(br#"{"time":""#)?
            .split_at_checked(TIME_LEN)?;
        let level = rest
            .strip_prefix(br#"","level":""#)?
            .split(|byte| *byte == b'"')
            .next()?;
        // An incomplete line starts like a complete one.
        let is_whole = line.trim_ascii_end().ends_with(b"}");
        is_whole.then_some(Head {
            time_ms: time_ms(time)?,
            level: parse_level(level)?,
            is_json: true,
        })
    };
    quick().or_else(|| {
        let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let text = |key: &str| object.get(key)?.as_str().map(str::as_bytes);
        Some(Head {
            time_ms: time_ms(text("time")?)?,
            level: parse_level(text("level")?)?,
            is_json: true,
        })
    })
}

fn parse_level(text: &[u8]) -> Option<Level> {
    Some(match text {
        b"ERROR" => Level::ERROR,
        b"WARN" => Level::WARN,
        b"INFO" => Level::INFO,
        b"DEBUG" => Level::DEBUG,
        b"TRACE" => Level::TRACE,
        _ => return None,
    })
}

/// Parses the fixed form that the log writes. chrono's general parser would cost as much as all
/// other work on a line.
fn time_ms(text: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0_u32, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + u32::from(byte - b'0'))
        })
    };
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (23, b'Z'),
    ];
    if text.len() != TIME_LEN
        || marks
            .iter()
            .any(|(place, mark)| text.get(*place) != Some(mark))
    {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(0, 4)?).ok()?,
        number(5, 7)?,
        number(8, 10)?,
    )?;
    let time = date.and_hms_milli_opt(
        number(11, 13)?,
        number(14, 16)?,
        number(17, 19)?,
        number(20, 23)?,
    )?;
    Some(time.and_utc().timestamp_millis())
}

/// The message and the fields of a line with a head.
pub(super) fn parse(line: &[u8], head: Head) -> Vec<(String, Value)> {
    if head.is_json {
        let object: Map<String, Value> = serde_json::from_slice(line).unwrap_or_default();
        return object
            .into_iter()
            .filter(|(key, _)| key != "time" && key != "level")
            .collect();
    }
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    // The level is padded to five columns.
    let rest = text.get(TIME_LEN + 6..).unwrap_or_default();
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let (message, fields) = split_fields(rest);
    let mut all = vec![("message".to_owned(), Value::from(message))];
    all.extend(
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), field_value(key, &value))),
    );
    all
}

/// The line as a JSON object, without a line end.
pub(super) fn to_json(line: &[u8], head: Head) -> String {
    let text = String::from_utf8_lossy(line);
    if head.is_json {
        return text.trim_end().to_owned();
    }
    let time = text.get(..TIME_LEN).unwrap_or_default();
    let mut json = format!(r#"{{"time":"{time}","level":"{}""#, head.level);
    for (key, value) in parse(line, head) {
        // Writing to a string does not fail.
        let _ = write!(json, ",{}:{value}", Value::from(key));
    }
    json.push('}');
    json
}

/// Splits `message key=value key="a value"`. The message is not quoted, so the fields are the
/// longest run of fields at the end.
fn split_fields(text: &str) -> (&str, Vec<(&str, Cow<'_, str>)>) {
    let (mut at, mut message_end, mut fields) = (0, 0, Vec::new());
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let len = if let Some((key, value, len)) = field(rest) {
            fields.push((key, value));
            len
        } else {
            fields.clear();
            let len = rest.find(' ').unwrap_or(rest.len());
            message_end = at + len;
            len
        };
        // Skip the space that separates two fields.
        at += len + 1;
    }
    (text.get(..message_end).unwrap_or_default(), fields)
}

/// The field at the start of the text: key, value, and length in bytes.
fn field(text: &str) -> Option<(&str, Cow<'_, str>, usize)> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.';
    let name_len = text.bytes().take_while(|byte| is_name(byte)).count();
    let (key, rest) = text
        .split_at_checked(name_len)
        .filter(|(key, _)| !key.is_empty())?;
    let value = rest.strip_prefix('=')?;
    let (value, len) = if let Some(quoted) = value.strip_prefix('"') {
        let (value, len) = unquote(quoted)?;
        (Cow::Owned(value), len + 1)
    } else {
        let len = value.find(' ').unwrap_or(value.len());
        let plain = value
            .get(..len)
            .filter(|plain| !plain.is_empty() && !plain.contains(['"', '\\', '=']))?;
        (Cow::Borrowed(plain), len)
    };
    let len = name_len + 1 + len;
    matches!(text.as_bytes().get(len), None | Some(b' ')).then_some((key, value, len))
}

/// Unescapes text after an opening quote; also returns the offset after the closing quote.
fn unquote(text: &str) -> Option<(String, usize)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        value.push(match chars.next()?.1 {
            '"' => return Some((value, chars.offset())),
            '\\' => match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    chars.next().filter(|(_, c)| *c == '{')?;
                    let digits: String = chars
                        .by_ref()
                        .map(|(_, c)| c)
                        .take_while(|c| *c != '}')
                        .take(6)
                        .collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                other => other,
            },
            other => other,
        });
    }
}

/// Restores numbers and booleans, except in [`TEXT_FIELDS`].
fn field_value(key: &str, text: &str) -> Value {
    if TEXT_FIELDS.contains(&key) {
        return Value::from(text);
    }
    let parsed = serde_json::from_str::<Value>(text).ok();
    parsed
        .filter(|value| value.is_number() || value.is_boolean())
        .unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Value {
        let head = head(line.as_bytes()).unwrap();
        serde_json::from_str(&to_json(line.as_bytes(), head)).unwrap()
    }

    #[test]
    fn both_formats_say_the_same() {
        let human = r#"2026-11-21T06:27:00.123Z INFO  forwarded number=17 title="a \"b\" c=d\n\u{202e}" server=127.0.0.1:5001 ok=true ms=1.5"#;
        let json = r#"{"time":"2026-11-21T06:27:00.123Z","level":"INFO","message":"forwarded","number":17,"title":"a \"b\" c=d\n\u202e","server":"127.0.0.1:5001","ok":true,"ms":1.5}"#;
        assert_eq!(fields(human), fields(json));
        let (human, json) = (
            head(human.as_bytes()).unwrap(),
            head(json.as_bytes()).unwrap(),
        );
        assert_eq!((human.time_ms, human.level), (json.time_ms, json.level));
        assert_eq!(human.time_ms, 1_795_242_420_123);
    }

    #[test]
    fn a_message_may_look_like_fields() {
        let parsed = fields(r"2026-11-21T06:27:00.123Z WARN  a=b is no c=d end number=3 title=17");
        assert_eq!(parsed["message"], "a=b is no c=d end");
        assert_eq!(
            (&parsed["number"], &parsed["title"]),
            (&Value::from(3), &Value::from("17"))
        );
        let parsed = fields("2026-11-21T06:27:00.123Z ERROR server stopped");
        assert_eq!(
            (&parsed["message"], &parsed["level"]),
            (&Value::from("server stopped"), &Value::from("ERROR"))
        );
        assert_eq!(
            fields("2026-11-21T06:27:00.123Z INFO  x title=\"\"")["title"],
            ""
        );
        assert_eq!(
            fields("2026-11-21T06:27:00.123Z INFO  x title=\"open")["message"],
            "x title=\"open"
        );
    }

    #[test]
    fn what_is_no_line_of_a_log() {
        for line in [
            &b""[..],
            b"\n",
            b"thread 'main' panicked",
            b"2026-11-21T06:27:00.123Z",
            b"2026-13-21T06:27:00.123Z INFO  x",
            b"2026-11-21T06:27:00.123Z LOUD  x",
            b"2026-11-21 06:27:00.123Z INFO  x",
            b"{\"time\":\"2026-11-21T06:27:00.123Z\",\"level\":\"INFO\",\"mess",
            b"{}",
            b"\xff\xfe\0",
        ] {
            assert_eq!(head(line), None, "{}", line.escape_ascii());
        }
        let reordered = br#"{"level":"WARN","message":"x","time":"2026-11-21T06:27:00.123Z"}"#;
        assert_eq!(head(reordered).unwrap().level, Level::WARN);
    }
}
