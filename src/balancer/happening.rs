//! What can happen to a balancer, its servers and its files that an operator wants to hear of.
//! [`Events::report`] logs a happening and notes it as an event:
//! one place decides how much it matters and in which words it is told.

use std::time::Duration;

use super::events::{Events, Kind, Level};
use super::query::Bulk;
use crate::numbers::seconds;
use crate::protocol::CANCELLED;
use crate::queue::JournalError;
use crate::schedule::{Flip, Trouble};
use crate::units::format_duration;

/// Something that happened.
pub(super) enum Happening<'a> {
    /// The balancer started.
    Started,
    /// The balancer was told to stop.
    Stopping,
    /// A file is a dead letter.
    Dead {
        number: u64,
        title: &'a str,
        reason: &'a str,
    },
    /// A dead letter waits again.
    Replayed { number: u64, title: &'a str },
    /// An operator dropped a file.
    Dropped {
        number: u64,
        title: &'a str,
        reason: &'a str,
    },
    /// An operator's order about many files was carried out.
    Bulk {
        what: Bulk,
        files: usize,
        /// Which ones.
        which: &'a str,
    },
    /// An operator gave a server another weight.
    Weight { server: &'a str, weight: u32 },
    /// An operator drains a server.
    Drained { server: &'a str },
    /// An operator no longer drains a server.
    Undrained { server: &'a str },
    /// There is a new server, or one that was leaving stays.
    Added { server: &'a str, weight: u32 },
    /// Orders of earlier runs are in force, one text a server.
    OrdersStand { orders: &'a [String] },
    /// The file of these orders cannot be used.
    OrdersLost { reason: &'a str, place: &'a str },
    /// The file of the fleet's members cannot be used.
    FleetLost { reason: &'a str, place: &'a str },
    /// A server leaves once nothing is in flight to it.
    Leaving { server: &'a str },
    /// A server has left.
    Removed { server: &'a str },
    /// A server gets files from now on; again after this long.
    Up {
        server: &'a str,
        after: Option<Duration>,
    },
    /// A server gets no files from now on.
    Trouble {
        server: &'a str,
        trouble: Trouble,
        reason: &'a str,
    },
    /// No server can take files.
    NoServer { why: &'a str },
    /// A server can take files again, after this long.
    ServersAgain { after: Duration },
    /// A fact about a server changed. That is for the log.
    Flipped { server: &'a str, flip: &'a Flip },
    /// A server's directory is a copy of another server's.
    CopiedDirectory { server: &'a str, reason: &'a str },
    /// A server's directory was set back to an earlier state.
    DirectorySetBack {
        server: &'a str,
        identity: &'a str,
        /// The highest number that the directory has acknowledged.
        acknowledged: u64,
        /// The highest number that it knows now.
        seen: u64,
        /// How many remembered files were delivered there with higher numbers.
        files: u64,
        bytes: u64,
    },
    /// A server gets no more files: as many are in doubt there as may be.
    TooDoubtful { server: &'a str, most: usize },
    /// Very many files are remembered only because they are in doubt at these servers.
    ManyPinned { files: usize, servers: &'a str },
    /// The journal is a copy, or was set back to an earlier state.
    JournalSetBack { journal: &'a str, error: &'a str },
    /// The journal cannot write for now, for this reason.
    JournalFull(&'a str),
    /// The journal can write again.
    JournalHasRoom,
    /// The journal, or the directory of content beside it, failed for good.
    JournalFailed(&'a JournalError),
    /// Files are refused, or clients not read from, from now on.
    Shortage {
        level: Level,
        what: &'static str,
        reason: &'a str,
    },
    /// There is room again.
    ShortageOver { text: &'a str },
}

impl Events {
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
}

/// Logs at a level that is known when the program runs.
macro_rules! log_at {
    ($level:expr, $($event:tt)+) => {
        match $level {
            Level::Info => tracing::info!($($event)+),
            Level::Warn => tracing::warn!($($event)+),
            Level::Error => tracing::error!($($event)+),
        }
    };
}

impl Happening<'_> {
    pub(super) fn level(&self) -> Level {
        match self {
            Self::Started
            | Self::Up { .. }
            | Self::ServersAgain { .. }
            | Self::OrdersStand { .. }
            | Self::Replayed { .. }
            | Self::Weight { .. }
            | Self::Undrained { .. }
            | Self::Added { .. }
            | Self::Removed { .. }
            | Self::JournalHasRoom
            | Self::ShortageOver { .. } => Level::Info,
            Self::Bulk { what, .. } => match what {
                Bulk::Replay => Level::Info,
                Bulk::Drop | Bulk::Cancel => Level::Warn,
            },
            Self::Stopping
            | Self::Dropped { .. }
            | Self::Drained { .. }
            | Self::Leaving { .. }
            | Self::ManyPinned { .. } => Level::Warn,
            Self::Dead { .. }
            | Self::NoServer { .. }
            | Self::OrdersLost { .. }
            | Self::FleetLost { .. }
            | Self::CopiedDirectory { .. }
            | Self::DirectorySetBack { .. }
            | Self::TooDoubtful { .. }
            | Self::JournalSetBack { .. }
            | Self::JournalFull(_)
            | Self::JournalFailed(_) => Level::Error,
            Self::Trouble { trouble, .. } => match trouble {
                Trouble::Twice => Level::Error,
                Trouble::Down | Trouble::Overloaded | Trouble::Paused => Level::Warn,
            },
            Self::Flipped { flip, .. } => {
                if flip.good {
                    Level::Info
                } else {
                    Level::Warn
                }
            }
            Self::Shortage { level, .. } => *level,
        }
    }

    /// What the event is about. `None` if there is no event: a fact is told as what follows from it.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Started => Some(Kind::Started),
            Self::OrdersStand { .. } | Self::OrdersLost { .. } => Some(Kind::Orders),
            Self::FleetLost { .. } => Some(Kind::Fleet),
            Self::Stopping => Some(Kind::Stopping),
            Self::Dead { .. } => Some(Kind::Dead),
            Self::Replayed { .. } => Some(Kind::Replayed),
            Self::Dropped { reason, .. } if *reason == CANCELLED => Some(Kind::Cancelled),
            Self::Dropped { .. } => Some(Kind::Dropped),
            Self::Bulk { what, .. } => Some(match what {
                Bulk::Replay => Kind::Replayed,
                Bulk::Drop => Kind::Dropped,
                Bulk::Cancel => Kind::Cancelled,
            }),
            Self::Weight { .. } => Some(Kind::Weight),
            Self::Drained { .. } | Self::Undrained { .. } => Some(Kind::Drain),
            Self::Added { .. } => Some(Kind::Added),
            Self::Leaving { .. } | Self::Removed { .. } => Some(Kind::Removed),
            Self::Flipped { .. } => None,
            Self::NoServer { .. } | Self::ServersAgain { .. } => Some(Kind::NoServer),
            Self::Up { .. }
            | Self::Trouble { .. }
            | Self::CopiedDirectory { .. }
            | Self::DirectorySetBack { .. }
            | Self::TooDoubtful { .. }
            | Self::ManyPinned { .. } => Some(Kind::Server),
            Self::JournalSetBack { .. }
            | Self::JournalFull(_)
            | Self::JournalHasRoom
            | Self::JournalFailed(_) => Some(Kind::Journal),
            Self::Shortage { .. } | Self::ShortageOver { .. } => Some(Kind::Full),
        }
    }

    /// The server that it is about.
    pub(super) fn server(&self) -> Option<&str> {
        match self {
            Self::Weight { server, .. }
            | Self::Drained { server }
            | Self::Undrained { server }
            | Self::Added { server, .. }
            | Self::Leaving { server }
            | Self::Removed { server }
            | Self::Up { server, .. }
            | Self::Trouble { server, .. }
            | Self::Flipped { server, .. }
            | Self::CopiedDirectory { server, .. }
            | Self::DirectorySetBack { server, .. }
            | Self::TooDoubtful { server, .. } => Some(server),
            _ => None,
        }
    }

    /// The request number of the file that it is about.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Dead { number, .. }
            | Self::Replayed { number, .. }
            | Self::Dropped { number, .. } => Some(*number),
            _ => None,
        }
    }

    /// What happened, for people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Started => "the balancer started".to_owned(),
            Self::OrdersStand { orders } => {
                format!(
                    "orders from before the start are in force: {}",
                    list(orders)
                )
            }
            Self::OrdersLost { reason, place } => format!(
                "the orders from before the start cannot be read, and servers are as they are configured: {reason}; \
                 drains, weights and servers that were ordered have to be ordered again. The file \
                 is kept as {place}"
            ),
            Self::FleetLost { reason, place } => format!(
                "the members of the fleet from before the start cannot be read: {reason}; servers that \
                 had registered are known again when they register, and files that were on their way \
                 to them may be stored twice until then. The file is kept as {place}"
            ),
            Self::Stopping => "the balancer is stopping: it takes no more files".to_owned(),
            Self::Dead { title, reason, .. } => format!("{title}: {reason}"),
            Self::Replayed { title, .. } | Self::Dropped { title, .. } => (*title).to_owned(),
            Self::Bulk { what, files, which } => {
                let (one, more, done) = match what {
                    Bulk::Replay => ("dead letter", "dead letters", "replayed"),
                    Bulk::Drop => ("dead letter", "dead letters", "thrown away"),
                    Bulk::Cancel => ("waiting file", "waiting files", "cancelled"),
                };
                let what = if *files == 1 { one } else { more };
                format!("{files} {what}{which} {done}")
            }
            Self::Weight { weight, .. } => format!("weight {weight}"),
            Self::Drained { .. } => {
                "drained: what is in flight finishes, and it gets nothing new".to_owned()
            }
            Self::Undrained { .. } => "no longer drained".to_owned(),
            Self::Added { weight, .. } => format!("added with weight {weight}"),
            Self::Leaving { .. } => "being removed: what is in flight finishes first".to_owned(),
            Self::Removed { .. } => "removed".to_owned(),
            Self::Up { after: None, .. } => "up".to_owned(),
            Self::Up {
                after: Some(after), ..
            } => format!("up again after {}", format_duration(*after)),
            Self::Trouble {
                trouble, reason, ..
            } => match trouble {
                Trouble::Down => format!("down: {reason}"),
                Trouble::Twice => format!("it gets no files: {reason}"),
                Trouble::Overloaded => format!("overloaded: {reason}"),
                Trouble::Paused => format!("it gets no files for a while: {reason}"),
            },
            Self::NoServer { why } => format!("no server can take files: {why}"),
            Self::ServersAgain { after } => {
                format!(
                    "servers can take files again, after {}",
                    format_duration(*after)
                )
            }
            Self::Flipped { flip, .. } => format!("{}: {}", flip.fact.name(), flip.reason),
            Self::CopiedDirectory { reason, .. } => format!("it gets no files: {reason}"),
            Self::DirectorySetBack {
                acknowledged,
                seen,
                files,
                bytes,
                ..
            } => format!(
                "its directory was set back: it acknowledged number {acknowledged}, and now knows \
                 none above {seen}. Of the files that are remembered, {files} of {bytes} bytes, \
                 with numbers above {seen}, were delivered there: look for them, and send again \
                 what is missing"
            ),
            Self::TooDoubtful { most, .. } => format!(
                "{most} files are in doubt here, the most that are remembered: it gets no more \
                 until it has listed its files, or was removed"
            ),
            Self::ManyPinned { files, servers } => format!(
                "{files} delivered files are remembered until these servers have listed their \
                 files: {servers}. Remove those that do not come back"
            ),
            Self::JournalSetBack { error, .. } => (*error).to_owned(),
            Self::JournalFull(error) => {
                format!("the journal waits until it can write, and deliveries go on: {error}")
            }
            Self::JournalHasRoom => "the journal goes on".to_owned(),
            Self::JournalFailed(error) => {
                format!("the journal failed, nothing more can be accepted: {error}")
            }
            Self::Shortage { what, reason, .. } => format!("{what}: {reason}"),
            Self::ShortageOver { text } => (*text).to_owned(),
        }
    }

    /// Writes it to the log, its parts as fields.
    pub(super) fn log(&self) {
        let level = self.level();
        match *self {
            Self::Dead {
                number,
                title,
                reason,
            } => log_at!(level, number, title, reason, "dead letter"),
            Self::Replayed { number, title } => log_at!(level, number, title, "replayed"),
            Self::Dropped {
                number,
                title,
                reason,
            } if reason == CANCELLED => log_at!(level, number, title, reason, "cancelled"),
            Self::Dropped {
                number,
                title,
                reason,
            } => log_at!(level, number, title, reason, "thrown away"),
            Self::Weight { server, weight } => log_at!(level, server, weight, "weight set"),
            Self::Drained { server } => log_at!(level, server, "drained by the operator"),
            Self::Undrained { server } => log_at!(level, server, "no longer drained"),
            Self::Added { server, weight } => log_at!(level, server, weight, "server added"),
            Self::Leaving { server } => log_at!(level, server, "server is being removed"),
            Self::Removed { server } => log_at!(level, server, "server removed"),
            // Each fact that led to it is in the log.
            Self::Up { .. } | Self::Trouble { .. } => {}
            Self::Flipped { server, flip } => log_flip(server, flip),
            Self::CopiedDirectory { server, reason } => {
                log_at!(level, server, reason, "server ineligible");
            }
            Self::DirectorySetBack {
                server,
                identity,
                acknowledged,
                seen,
                files,
                bytes,
            } => log_at!(
                level,
                server,
                directory = identity,
                acknowledged,
                seen,
                files,
                bytes,
                "{}",
                self.text()
            ),
            Self::TooDoubtful { server, .. } => log_at!(level, server, "{}", self.text()),
            Self::JournalSetBack { journal, error } => log_at!(
                level,
                error,
                journal,
                "the journal must not go on under its name"
            ),
            Self::JournalFull(error) => log_at!(
                level,
                error,
                "the journal waits until it can write, and deliveries go on"
            ),
            Self::JournalFailed(error) => log_at!(
                level,
                error = %error,
                "the journal failed: nothing more can be accepted"
            ),
            Self::Shortage { what, reason, .. } => log_at!(level, reason, "{what}"),
            Self::Started => log_at!(level, "balancer started"),
            Self::Stopping
            | Self::NoServer { .. }
            | Self::ServersAgain { .. }
            | Self::OrdersStand { .. }
            | Self::OrdersLost { .. }
            | Self::FleetLost { .. }
            | Self::Bulk { .. }
            | Self::ManyPinned { .. }
            | Self::JournalHasRoom
            | Self::ShortageOver { .. } => log_at!(level, "{}", self.text()),
        }
    }
}

/// The most servers whose orders one event names.
const NAMED: usize = 20;

fn list(orders: &[String]) -> String {
    let named: Vec<&str> = orders.iter().take(NAMED).map(String::as_str).collect();
    let more = orders.len().saturating_sub(NAMED);
    if more == 0 {
        return named.join("; ");
    }
    format!("{}; and of {more} more servers", named.join("; "))
}

/// In the log every flip to bad is a warning: an identity that is an error for operators is logged
/// as one when it turns out to be a copy.
fn log_flip(server: &str, flip: &Flip) {
    let fact = flip.fact.name();
    let reason = &*flip.reason;
    let after_s = seconds(flip.lasted);
    if flip.good {
        tracing::info!(server, fact, reason, after_s, "server recovered");
    } else {
        tracing::warn!(server, fact, reason, after_s, "server ineligible");
    }
}

#[cfg(test)]
mod tests;
