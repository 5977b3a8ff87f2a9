//! A balancer's live events.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{Api, MAX_ANSWER};
use crate::admin::types::State;
use crate::balancer::events::Event;
use crate::cli::output::Failure;
use crate::protocol::object;

/// The first and the longest time between two attempts to reach a balancer that was there before.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How old an answer may be when it is given: the balancer keeps it for others who ask, too.
const KEPT: Duration = Duration::from_secs(1);

/// What a listener hears.
#[derive(Debug)]
pub(in crate::cli) enum Heard {
    /// The state of everything, and the JSON that it came as.
    State(Box<State>, String),
    /// Something happened; and the JSON that it came as.
    Event(Event, String),
    /// The connection to the balancer was lost, for this reason.
    Lost(String),
    /// The balancer answers again; `restarted` if it is another process.
    Back { restarted: bool },
}

/// Listens to a balancer's events until `tell` says to stop, and connects again when the connection
/// is lost. `notices_after` is the id of the last event that is known. An error if the first
/// connection cannot be made.
pub(in crate::cli) fn listen(
    api: &Api,
    with_states: bool,
    mut notices_after: u64,
    mut tell: impl FnMut(Heard) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let mut process = Process::find(api)?;
    let mut events = Events::open(api, with_states, notices_after)?;
    let mut pause = AGAIN.0;
    loop {
        let ended = follow(&mut events, |heard| {
            // Only a connection that brings something makes the next pause short again.
            pause = AGAIN.0;
            if let Heard::Event(event, _) = &heard {
                notices_after = event.id;
            }
            tell(heard)
        });
        let ControlFlow::Continue(lost) = ended else {
            return Ok(());
        };
        if tell(Heard::Lost(lost)).is_break() {
            return Ok(());
        }
        let restarted;
        (events, restarted) = loop {
            std::thread::sleep(pause);
            pause = (pause * 2).min(AGAIN.1);
            let found = reopen(api, &mut process, with_states, &mut notices_after);
            if let Some(found) = found {
                break found;
            }
        };
        if tell(Heard::Back { restarted }).is_break() {
            return Ok(());
        }
    }
}

/// Connects again, and says whether another process answers; `None` if nobody does yet.
fn reopen(
    api: &Api,
    process: &mut Process,
    with_states: bool,
    notices_after: &mut u64,
) -> Option<(Events, bool)> {
    let found = Process::find(api).ok()?;
    let restarted = !found.is(process);
    if restarted {
        // Another process counts its events from the beginning.
        *notices_after = 0;
    }
    let events = Events::open(api, with_states, *notices_after).ok()?;
    *process = found;
    Some((events, restarted))
}

/// Tells the events of one connection until it is lost, and gives the reason; breaks when `tell`
/// says to stop.
fn follow(
    events: &mut Events,
    mut tell: impl FnMut(Heard) -> ControlFlow<()>,
) -> ControlFlow<(), String> {
    loop {
        let event = match events.next() {
            Ok(Some(event)) => event,
            Ok(None) => return ControlFlow::Continue("the connection was closed".to_owned()),
            // The library has a word of its own for it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return ControlFlow::Continue("the connection was closed".to_owned());
            }
            Err(error) => return ControlFlow::Continue(error.to_string()),
        };
        if let Some(heard) = event.read() {
            tell(heard)?;
        }
    }
}

/// A balancer's process, as far as it can be told from another one.
#[derive(Debug, Clone, Copy)]
struct Process {
    pid: u32,
    uptime: Duration,
    asked: Instant,
    answered: Instant,
}

impl Process {
    fn find(api: &Api) -> Result<Self, Failure> {
        let asked = Instant::now();
        let overview = api.overview()?;
        let uptime = Duration::try_from_secs_f64(overview.uptime_s).unwrap_or_default();
        Ok(Self {
            pid: overview.pid,
            uptime,
            asked,
            answered: Instant::now(),
        })
    }

    /// Whether this is the process that was found earlier. In a container every process may have
    /// the same id, but the uptime of one that has gone on has grown by the time between the two
    /// answers, however long the answers took.
    fn is(&self, earlier: &Self) -> bool {
        let between = self.asked.saturating_duration_since(earlier.answered);
        self.pid == earlier.pid && self.uptime + KEPT >= earlier.uptime + between
    }
}

/// A stream of Server-Sent Events.
struct Events {
    reader: BufReader<Box<dyn Read + Send>>,
}

/// An event as it came over the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamEvent {
    kind: String,
    data: String,
}

impl StreamEvent {
    /// Reads the data; `None` if this version does not know the kind of event.
    fn read(self) -> Option<Heard> {
        match self.kind.as_str() {
            "state" => Some(Heard::State(object::from_str(&self.data).ok()?, self.data)),
            "notice" => Some(Heard::Event(object::from_str(&self.data).ok()?, self.data)),
            _ => None,
        }
    }
}

impl Events {
    fn open(api: &Api, with_states: bool, notices_after: u64) -> Result<Self, Failure> {
        let path = if with_states {
            "events"
        } else {
            "events?only=notice"
        };
        let headers = [
            ("accept", "text/event-stream".to_owned()),
            ("last-event-id", notices_after.to_string()),
        ];
        let response = api.request("GET", path, None, &headers)?;
        if !response.status().is_success() {
            return Err(match api.answer::<Value>(response) {
                Err(failure) => failure,
                Ok(_) => api.strange(&"no events"),
            });
        }
        Ok(Self {
            reader: BufReader::new(Box::new(response.into_body().into_reader())),
        })
    }

    /// Waits for the next event; `None` at the end of the stream.
    fn next(&mut self) -> io::Result<Option<StreamEvent>> {
        let (mut event, mut read) = (StreamEvent::default(), 0);
        loop {
            let mut line = Vec::new();
            let len = (&mut self.reader)
                .take(MAX_ANSWER - read)
                .read_until(b'\n', &mut line)?;
            read += len as u64;
            let Some(text) = line.strip_suffix(b"\n") else {
                let is_end = read < MAX_ANSWER;
                return if is_end {
                    Ok(None)
                } else {
                    Err(io::Error::other("an event is too large"))
                };
            };
            let text = String::from_utf8_lossy(text);
            let text = text.trim_end_matches('\r');
            if text.is_empty() {
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
                (event, read) = (StreamEvent::default(), 0);
                continue;
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.kind),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data = format!("{}\n{value}", event.data),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_over_any_number_of_lines() {
        let stream = ": hello\n\nevent: a\ndata: 1\n\n\
            id: 7\r\nevent:b\r\ndata: 2\r\ndata: 3\r\n\r\n\
            event: c\n\ndata: half";
        let mut events = Events {
            reader: BufReader::new(Box::new(stream.as_bytes())),
        };
        let event = |kind: &str, data: &str| StreamEvent {
            kind: kind.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(events.next().unwrap(), Some(event("a", "1")));
        assert_eq!(events.next().unwrap(), Some(event("b", "2\n3")));
        assert_eq!(events.next().unwrap(), None, "half an event is none");
    }
}
