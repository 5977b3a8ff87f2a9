//! What a watcher does with files that need nothing more from the balancer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::after::{Left, Taken};
use super::entry::Stage;
use super::error::WatchError;
use super::record::Record;
use super::rules::After;
use super::state;
use super::told::Told;
use super::watcher::{Watcher, later};

impl Watcher<'_> {
    /// Puts away what the balancer is done with.
    pub(super) fn act_all(&mut self) -> Result<(), WatchError> {
        if self.acts.is_empty() {
            let written = self.state.write();
            return written.map_err(|error| self.cannot_write(error));
        }
        // What is done with is on disk before anything happens to it.
        let synced = self.state.sync();
        synced.map_err(|error| self.cannot_write(error))?;
        let now = Instant::now();
        for n in std::mem::take(&mut self.acts) {
            let Some(entry) = self.folder.entry(n).filter(|entry| entry.is_here) else {
                continue;
            };
            let rule = entry.rule;
            if self
                .blocked
                .get(&rule)
                .is_some_and(|(until, _)| *until > now)
            {
                self.acts.push_back(n);
                continue;
            }
            match self.act(n) {
                Ok(true) => {
                    if self.blocked.remove(&rule).is_some() {
                        self.stuck.clear();
                    }
                    self.folder.close(n);
                    self.closing.add(n, now);
                }
                Ok(false) => {}
                Err(error) => {
                    let tries = self.blocked.get(&rule).map_or(0, |(_, tries)| *tries) + 1;
                    self.blocked.insert(rule, (now + later(tries), tries));
                    self.acts.push_back(n);
                    self.tell_stuck(n, &error);
                }
            }
        }
        let written = self.state.write();
        written.map_err(|error| self.cannot_write(error))
    }

    /// What was moved and deleted is synced, and then the entries are closed: many at once, for a
    /// sync of a folder can take long. Until then they are as good as done with.
    pub(super) fn close_all(&mut self) -> Result<(), WatchError> {
        let closing = std::mem::take(&mut self.closing);
        for dir in closing.dirs {
            // A folder that is gone holds nothing that could come back.
            let _ = state::sync_dir(&dir);
        }
        for n in closing.entries {
            self.state.add(&Record::Closed { n });
        }
        let written = self.state.write();
        written.map_err(|error| self.cannot_write(error))
    }

    fn tell_stuck(&mut self, n: u64, error: &std::io::Error) {
        let Some(entry) = self.folder.entry(n) else {
            return;
        };
        let reason = error.to_string();
        if self.stuck.insert(format!("{} {reason}", entry.rule)) {
            (self.tell)(Told::Stuck {
                path: entry.found.path.to_path_buf(),
                reason,
            });
        }
    }

    /// Puts one file away. Says whether its entry is to be closed.
    fn act(&mut self, n: u64) -> std::io::Result<bool> {
        let Some(entry) = self.folder.entry(n) else {
            return Ok(false);
        };
        let rule = self.ground.rules.rule(entry.rule).clone();
        let path = Arc::clone(&entry.found.path);
        let taken = Taken {
            n,
            place: self.ground.at(&entry.place),
            path: &path,
            ident: entry.found.ident,
        };
        if rule.after != After::Leave
            && let Some(marker) = self.ground.rules.marker_of(&path)
        {
            // Before the file: a marker alone would let a new file of this name in too early.
            let _ = std::fs::remove_file(self.ground.at(&marker));
        }
        let left = match (&entry.stage, rule.after) {
            (_, After::Leave) => None,
            (Stage::Failed { reason }, _) => Some(taken.fail(&rule.failed, reason)?),
            (_, After::Move) => Some(taken.move_to(&rule.done)?),
            (_, After::Delete) => Some(taken.delete()?),
        };
        let folders = [Some(taken.place.as_path()), moved(left.as_ref())];
        let folders = folders.into_iter().flatten().filter_map(Path::parent);
        for dir in folders {
            if !self.closing.dirs.contains(dir) {
                self.closing.dirs.insert(dir.to_owned());
            }
        }
        match left {
            Some(Left::Missing) => {
                if self.folder.missed(n) {
                    self.acts.push_back(n);
                } else {
                    self.scan_soon();
                }
                Ok(false)
            }
            Some(Left::Changed) => {
                let reason = "it changed after it was handed over".to_owned();
                self.changed(n, reason);
                Ok(false)
            }
            Some(left) => {
                let to = moved(Some(&left)).map(Path::to_owned);
                self.tell_end(n, to);
                Ok(true)
            }
            None => {
                self.tell_end(n, None);
                if let Some((_, file)) = self.folder.keep(n) {
                    self.state.add(&Record::Kept { n: Some(n), file });
                }
                Ok(false)
            }
        }
    }

    /// Tells how a file ended.
    fn tell_end(&mut self, n: u64, to: Option<PathBuf>) {
        let Some(entry) = self.folder.entry(n) else {
            return;
        };
        let path = entry.found.path.to_path_buf();
        let server = self.servers.remove(&n);
        let told = match &entry.stage {
            Stage::Failed { reason } => {
                self.summary.failed += 1;
                Told::Failed {
                    path,
                    reason: reason.clone(),
                    to,
                }
            }
            Stage::Done { number } => {
                self.summary.files += 1;
                self.summary.bytes += entry.found.ident.size;
                let after = self.ground.rules.rule(entry.rule).after;
                Told::HandedOver {
                    path,
                    bytes: entry.found.ident.size,
                    key: entry.key.to_string(),
                    number: *number,
                    server,
                    to,
                    stays: after == After::Leave,
                }
            }
            Stage::Queued | Stage::Sending => return,
        };
        (self.tell)(told);
    }
}

fn moved(left: Option<&Left>) -> Option<&Path> {
    match left {
        Some(Left::Moved(path)) => Some(path),
        _ => None,
    }
}
