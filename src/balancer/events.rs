//! What happens that an operator wants to hear of: a ring of the last notices, and those to come.
//!
//! Files that pass make no notice: there are as many of those as there are files, and the log has
//! them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::happening::Happening;

/// How many notices are kept; a listener that is further behind misses some.
pub const KEPT: usize = 256;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It is as it should be.
    Info,
    /// Somebody should know.
    Warn,
    /// Somebody should act.
    Error,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The balancer started.
    Started,
    /// It is stopping.
    Stopping,
    /// The state of a server changed.
    Server,
    /// A server has another weight.
    Weight,
    /// A server is drained, or no longer.
    Drain,
    /// There is a new server.
    Added,
    /// A server is to go, or gone.
    Removed,
    /// A file is a dead letter.
    Dead,
    /// A dead letter waits again.
    Replayed,
    /// A dead letter was thrown away.
    Dropped,
    /// The configuration was read again and holds now.
    Reloaded,
    /// The configuration was read again and is broken: nothing changed.
    ReloadFailed,
    /// The journal cannot write, or can again.
    Journal,
    /// Files are refused, or clients not read from, for want of room; or no longer.
    Full,
    /// Lines of the log are lost, or its file cannot be opened or rotated; or that is over.
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

/// Something that happened.
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
    /// The server that it is about.
    pub server: Option<String>,
    /// The request number of the file that it is about.
    pub number: Option<u64>,
    /// What happened, for people.
    pub text: String,
}

/// The last notices, and those to come.
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

impl Default for Events {
    fn default() -> Self {
        Self {
            ring: Arc::default(),
            to_come: broadcast::Sender::new(KEPT),
        }
    }
}

impl Events {
    /// The kept notices with higher ids than this, oldest first.
    pub fn after(&self, id: u64) -> Vec<Event> {
        self.ring()
            .kept
            .iter()
            .filter(|notice| notice.id > id)
            .cloned()
            .collect()
    }

    /// The notices from now on. To miss none and see none twice, subscribe first, then ask for
    /// those before.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.to_come.subscribe()
    }

    /// Logs what happened, and notes it as an event.
    pub(super) fn report(&self, happening: &Happening<'_>) {
        happening.log();
        if let Some(kind) = happening.kind() {
            self.tell(
                happening.level(),
                kind,
                happening.server(),
                happening.number(),
                happening.text(),
            );
        }
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
        let notice = Event {
            id: ring.last,
            at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
            level,
            kind,
            server: server.map(str::to_owned),
            number,
            text: text.into(),
        };
        ring.kept.push_back(notice.clone());
        if ring.kept.len() > KEPT {
            ring.kept.pop_front();
        }
        // Sent under the lock, so that ids come in their order; nobody need listen.
        let _ = self.to_come.send(notice);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_notices_are_kept_in_order_and_listeners_get_each_once() {
        let notices = Events::default();
        notices.tell(Level::Info, Kind::Started, None, None, "first");
        let mut listener = notices.subscribe();
        for number in 0..KEPT as u64 + 10 {
            notices.tell(Level::Warn, Kind::Dead, None, Some(number), "later");
            assert_eq!(listener.try_recv().unwrap().number, Some(number));
        }
        assert!(listener.try_recv().is_err());
        let kept = notices.after(0);
        assert_eq!(kept.len(), KEPT);
        assert!(kept.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
        assert_eq!(kept.last().unwrap().number, Some(KEPT as u64 + 9));
        assert_eq!(notices.after(kept[KEPT - 2].id).len(), 1);
        assert_eq!(notices.after(u64::MAX), []);
    }
}
