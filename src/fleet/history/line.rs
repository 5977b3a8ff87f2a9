//! The lines of a history's files: one JSON object for a member and minute, or for a change of its
//! identity. `docs/fleet.md` describes them for their readers.

use std::fmt::{self, Write};

use chrono::{DateTime, SecondsFormat};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::note::{Change, Note};
use crate::fleet_core::{Figure, Identity, Minute, Summary};
use crate::protocol::object;

/// The longest line that is read, in bytes.
pub(super) const MAX_LINE: usize = 16 * 1024;

/// A line as it was read.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Minute(Minute),
    Note(Note),
    /// The writer's own word about lines that were lost.
    Message,
}

/// The line of a minute, with its end.
pub(super) fn of_minute(minute: &Minute) -> Vec<u8> {
    let mut line = head(minute.time, &minute.member);
    // Writing to a string does not fail.
    let _ = write!(line, ",\"samples\":{}", minute.samples);
    for (figure, summary) in &minute.figures {
        let _ = write!(line, ",\"{}\":{}", figure.name(), json(summary));
    }
    ended(line)
}

/// The line of a change, with its end.
pub(super) fn of_note(note: &Note) -> Vec<u8> {
    let mut line = head(note.time, &note.member);
    match &note.what {
        Change::Was(old) => {
            let _ = write!(line, ",\"was\":{}", json(&old.to_string()));
        }
        Change::Forgotten => line.push_str(",\"forgotten\":true"),
    }
    ended(line)
}

fn head(time: u64, member: &Identity) -> String {
    let time = i64::try_from(time)
        .ok()
        .and_then(|time| DateTime::from_timestamp(time, 0));
    let time = time.unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!(
        "{{\"time\":\"{time}\",\"member\":{}",
        json(&member.to_string())
    )
}

fn ended(mut line: String) -> Vec<u8> {
    line.push_str("}\n");
    line.into_bytes()
}

fn json(value: &impl Serialize) -> String {
    // Texts and numbers are always JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a line, without its end; `None` if it is damaged.
pub(super) fn read(line: &[u8]) -> Option<Line> {
    object::from_slice::<Entries>(line).ok()?.line()
}

/// What stands in a line. Other fields, which a later version may write, are skipped.
#[derive(Default)]
struct Entries {
    time: Option<String>,
    member: Option<String>,
    samples: Option<u32>,
    was: Option<String>,
    is_forgotten: bool,
    is_message: bool,
    figures: Vec<(Figure, Summary)>,
}

impl Entries {
    fn line(self) -> Option<Line> {
        if self.is_message && self.member.is_none() {
            return Some(Line::Message);
        }
        let time = DateTime::parse_from_rfc3339(&self.time?).ok()?;
        let time = u64::try_from(time.timestamp()).ok()?;
        let member: Identity = self.member?.parse().ok()?;
        if let Some(samples) = self.samples {
            return Some(Line::Minute(Minute {
                time,
                member,
                samples,
                figures: self.figures,
            }));
        }
        let what = match self.was {
            Some(old) => Change::Was(old.parse().ok()?),
            None if self.is_forgotten => Change::Forgotten,
            None => return None,
        };
        Some(Line::Note(Note { time, member, what }))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*key {
                "time" => entries.time = Some(map.next_value()?),
                "member" => entries.member = Some(map.next_value()?),
                "samples" => entries.samples = Some(map.next_value()?),
                "was" => entries.was = Some(map.next_value()?),
                "forgotten" => entries.is_forgotten = map.next_value()?,
                "message" => {
                    map.next_value::<IgnoredAny>()?;
                    entries.is_message = true;
                }
                name => match Figure::named(name) {
                    Some(figure) if entries.figures.len() < Figure::ALL.len() => {
                        entries.figures.push((figure, map.next_value()?));
                    }
                    _ => drop(map.next_value::<IgnoredAny>()?),
                },
            }
        }
        Ok(entries)
    }
}
