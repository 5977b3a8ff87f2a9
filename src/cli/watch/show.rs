//! What people and programs see of a watcher's work.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::output::{complain, note, say, say_json, warn};
use crate::cli::progress::Bar;
use crate::numbers::count;
use crate::os_text;
use crate::text::{printable, printable_path};
use crate::units::ByteSize;
use crate::watch::{Summary, Told};

/// How a watcher does, in a line.
#[derive(Debug, Default)]
pub(super) struct Progress {
    folder: String,
    files: AtomicU64,
    failed: AtomicU64,
    waiting: Mutex<Option<String>>,
}

impl Progress {
    fn count(&self, told: &Told) {
        let waits = match told {
            Told::HandedOver { .. } => {
                self.files.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Told::Failed { .. } => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Told::Waiting { reason } => Some(reason.clone()),
            Told::Resumed => None,
            _ => return,
        };
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waits;
    }

    /// The line.
    pub(super) fn line(&self) -> String {
        let files = self.files.load(Ordering::Relaxed);
        let mut line = format!("{}: {} handed over", self.folder, count(files, "file"));
        let failed = self.failed.load(Ordering::Relaxed);
        if failed > 0 {
            let _ = write!(line, ", {failed} failed");
        }
        let waits = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &*waits {
            let _ = write!(line, ", waiting: {}", printable(reason));
        }
        line
    }
}

/// Shows what a watcher tells.
pub(super) struct Show {
    is_json: bool,
    is_quiet: bool,
    is_once: bool,
    bar: Option<Bar>,
    pub(super) progress: Arc<Progress>,
}

impl Show {
    /// Of this folder; on a terminal with a status line.
    pub(super) fn new(folder: &Path, (is_json, is_quiet): (bool, bool), is_once: bool) -> Self {
        let bar = if is_quiet || is_json {
            None
        } else {
            Bar::of_text(Duration::from_millis(500))
        };
        let progress = Progress {
            folder: printable_path(folder),
            ..Progress::default()
        };
        Self {
            is_json,
            is_quiet,
            is_once,
            bar,
            progress: Arc::new(progress),
        }
    }

    /// Shows one thing.
    pub(super) fn tell(&mut self, told: &Told) {
        self.progress.count(told);
        if self.is_json {
            say_json(line(told));
        }
        match &self.bar {
            Some(bar) => {
                bar.suspend(|| self.show(told));
                bar.set_text(self.progress.line());
            }
            None => self.show(told),
        }
    }

    fn show(&self, told: &Told) {
        let is_chatty = !self.is_quiet && !self.is_json;
        match told {
            Told::Started {
                unfinished,
                by_events,
            } if is_chatty => {
                let how = match by_events {
                    _ if self.is_once => " once",
                    true => "",
                    false => ", by looking again and again",
                };
                let before = match unfinished {
                    0 => String::new(),
                    unfinished => format!("; {} from before", count(*unfinished as u64, "file")),
                };
                let verb = if self.is_once {
                    "looking at"
                } else {
                    "watching"
                };
                note(format_args!("{verb} {}{how}{before}", self.progress.folder));
            }
            Told::HandedOver {
                path,
                bytes,
                number,
                server,
                to,
                stays,
                ..
            } if is_chatty => {
                let path = printable_path(path);
                let bytes = ByteSize(*bytes);
                let stored = server
                    .as_ref()
                    .map_or_else(String::new, |server| format!(", stored on {server}"));
                let then = match to {
                    Some(to) => format!("moved to {}", printable_path(to)),
                    None if *stays => "left".to_owned(),
                    None => "deleted".to_owned(),
                };
                say(format_args!(
                    "{path}  {bytes}  number {number}{stored}, {then}"
                ));
            }
            Told::Failed { path, reason, to } => {
                let path = printable_path(path);
                let to = to.as_ref().map_or_else(
                    || "left".to_owned(),
                    |to| format!("moved to {}", printable_path(to)),
                );
                complain(&format!("{path}: {reason}; {to}"), None);
            }
            Told::Stuck { path, reason } => {
                let path = printable_path(path);
                warn(&format!(
                    "{path}: handed over, and cannot be put away: {reason}; it is tried again"
                ));
            }
            Told::Skipped { path, reason } => {
                warn(&format!("{}: {reason}; left alone", printable_path(path)));
            }
            Told::Changed { path, reason } if !self.is_quiet => warn(&format!(
                "{}: {reason}; it is handed over as it is now",
                printable_path(path)
            )),
            Told::Gone { path } if !self.is_quiet => warn(&format!(
                "{}: taken away while it was being handed over",
                printable_path(path)
            )),
            Told::Waiting { reason } => warn(&format!("waiting for the balancer: {reason}")),
            Told::Resumed if !self.is_quiet => note("the balancer takes files again"),
            Told::Note(text) => warn(text),
            _ => {}
        }
    }

    /// Shows what was done.
    pub(super) fn end(&mut self, summary: &Summary) {
        self.bar = None;
        if self.is_json {
            say_json(json!({
                "event": "ended", "files": summary.files, "bytes": summary.bytes,
                "failed": summary.failed, "skipped": summary.skipped, "left": summary.left,
            }));
        } else if !self.is_quiet {
            let mut text = format!(
                "{} handed over, {}",
                count(summary.files, "file"),
                ByteSize(summary.bytes)
            );
            for (number, what) in [
                (summary.failed, "failed"),
                (summary.skipped, "left alone"),
                (summary.left as u64, "left for the next time"),
            ] {
                if number > 0 {
                    let _ = write!(text, ", {number} {what}");
                }
            }
            say(text);
        }
    }
}

/// The line of one event with `--json`.
fn line(told: &Told) -> Value {
    match told {
        Told::Started {
            unfinished,
            by_events,
        } => json!({"event": "started", "unfinished": unfinished, "by_events": by_events}),
        Told::HandedOver {
            path,
            bytes,
            key,
            number,
            server,
            to,
            stays,
        } => json!({
            "event": "handed_over", "path": text(path), "bytes": bytes, "key": key,
            "request_number": number, "server": server, "to": to.as_deref().map(text),
            "stays": stays,
        }),
        Told::Failed { path, reason, to } => json!({
            "event": "failed", "path": text(path), "reason": reason,
            "to": to.as_deref().map(text),
        }),
        Told::Stuck { path, reason } => about("stuck", path, reason),
        Told::Skipped { path, reason } => about("skipped", path, reason),
        Told::Changed { path, reason } => about("changed", path, reason),
        Told::Gone { path } => json!({"event": "gone", "path": text(path)}),
        Told::Waiting { reason } => json!({"event": "waiting", "reason": reason}),
        Told::Resumed => json!({"event": "resumed"}),
        Told::Note(text) => json!({"event": "note", "text": text}),
    }
}

/// A path as text from which it can be had back.
fn text(path: &Path) -> String {
    os_text::encode(path.as_os_str()).into_owned()
}

fn about(event: &str, path: &Path, reason: &str) -> Value {
    json!({"event": event, "path": text(path), "reason": reason})
}
