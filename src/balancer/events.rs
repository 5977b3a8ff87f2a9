//! Events for operators: the last ones, and a channel of those to come.
//!
//! Files that pass are no events: there are as many as files, and they are in the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// How many events are kept. A listener that is further behind misses some.
pub const KEPT: usize = 256;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is wrong.
    Info,
    /// Operators should know.
    Warn,
    /// Operators should act.
    Error,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The balancer started.
    Started,
    /// The balancer is stopping.
    Stopping,
    /// The state of a server changed.
    Server,
    /// No server can take files, or one can again.
    NoServer,
    /// A server has another weight.
    Weight,
    /// A drain began or ended.
    Drain,
    /// Orders of before the start are in force, or are lost.
    Orders,
    /// A member of the fleet joined, moved, left or was lost.
    Fleet,
    /// A server was added.
    Added,
    /// A server is leaving, or has left.
    Removed,
    /// A file is a dead letter.
    Dead,
    /// A dead letter waits again.
    Replayed,
    /// A dead letter or a waiting file was dropped.
    Dropped,
    /// Waiting files were cancelled.
    Cancelled,
    /// The configuration was read again and applies now.
    Reloaded,
    /// The configuration was read again and is invalid: nothing changed.
    ReloadFailed,
    /// The journal cannot write, or can again.
    Journal,
    /// A shortage of room began or ended: files are refused, or clients not read from.
    Full,
    /// Trouble with the log began or ended: lines are lost, or its file cannot be opened or
    /// rotated.
    Log,
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            _ => Self::Info,
        }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from 1 since the balancer's start.
    pub id: u64,
    /// When it happened, in milliseconds since the beginning of 1970, UTC.
    pub at_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub kind: Kind,
    /// The name of the server that it is about.
    pub server: Option<String>,
    /// The request number of the file that it is about.
    pub number: Option<u64>,
    /// What happened, for people.
    pub text: String,
}

/// The last events, and those to come. Clones share them.
#[derive(Debug, Clone)]
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    to_come: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Event>,
    last: u64,
}

impl Ring {
    /// Removes the oldest event of the kind that has most of them. So ten thousand changes of weights
    /// do not wash away that a server died.
    fn make_room(&mut self) {
        let mut counts: Vec<(Kind, usize)> = Vec::new();
        for event in &self.kept {
            match counts.iter_mut().find(|(kind, _)| *kind == event.kind) {
                Some((_, count)) => *count += 1,
                None => counts.push((event.kind, 1)),
            }
        }
        let most = counts.iter().max_by_key(|(_, count)| *count);
        let of_it = |event: &Event| most.is_some_and(|(kind, _)| *kind == event.kind);
        if let Some(oldest) = self.kept.iter().position(of_it) {
            self.kept.remove(oldest);
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            ring: Arc::default(),
            to_come: broadcast::Sender::new(KEPT),
        }
    }
}

impl Events {
    /// The kept events with higher ids than this, oldest first.
    pub fn after(&self, id: u64) -> Vec<Event> {
        self.ring()
            .kept
            .iter()
            .filter(|event| event.id > id)
            .cloned()
            .collect()
    }

    /// The events from now on. To miss none and see none twice, subscribe first, then ask for
    /// earlier ones with [`Self::after`].
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.to_come.subscribe()
    }

    /// Notes an event that happened now.
    pub fn tell(
        &self,
        level: Level,
        kind: Kind,
        server: Option<&str>,
        number: Option<u64>,
        text: impl Into<String>,
    ) {
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let mut ring = self.ring();
        ring.last += 1;
        let event = Event {
            id: ring.last,
            at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
            level,
            kind,
            server: server.map(str::to_owned),
            number,
            text: text.into(),
        };
        ring.kept.push_back(event.clone());
        if ring.kept.len() > KEPT {
            ring.make_room();
        }
        // Under the lock, so that events are sent in the order of their ids. Nobody has to listen.
        let _ = self.to_come.send(event);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_in_order_and_listeners_get_each_once() {
        let events = Events::default();
        events.tell(Level::Info, Kind::Started, None, None, "first");
        let mut listener = events.subscribe();
        for number in 0..KEPT as u64 + 10 {
            events.tell(Level::Warn, Kind::Dead, None, Some(number), "later");
            assert_eq!(listener.try_recv().unwrap().number, Some(number));
        }
        assert!(listener.try_recv().is_err());
        let kept = events.after(0);
        assert_eq!(kept.len(), KEPT);
        assert!(kept.windows(2).all(|pair| pair[1].id > pair[0].id));
        assert_eq!(kept[0].text, "first", "others of one kind leave it room");
        assert_eq!(kept.last().unwrap().number, Some(KEPT as u64 + 9));
        assert_eq!(events.after(kept[KEPT - 2].id).len(), 1);
        assert_eq!(events.after(u64::MAX), []);
    }

    #[test]
    fn ten_thousand_weights_wash_no_death_away_and_new_kinds_find_room() {
        let events = Events::default();
        events.tell(Level::Warn, Kind::Server, Some("s"), None, "down");
        for weight in 0..10_000 {
            events.tell(
                Level::Info,
                Kind::Weight,
                Some("s"),
                None,
                weight.to_string(),
            );
        }
        for number in 0..50 {
            events.tell(Level::Error, Kind::Dead, None, Some(number), "dead");
        }
        for weight in 0..10_000 {
            events.tell(
                Level::Info,
                Kind::Weight,
                Some("s"),
                None,
                weight.to_string(),
            );
        }
        let kept = events.after(0);
        assert_eq!(kept.len(), KEPT);
        let count = |kind| kept.iter().filter(|event| event.kind == kind).count();
        assert_eq!((count(Kind::Server), count(Kind::Dead)), (1, 50));
        assert_eq!(kept.last().unwrap().text, "9999");
    }
}
