//! What a watcher sees in its folder.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::after::give_back;
use super::entry::Entry;
use super::error::WatchError;
use super::events::Event;
use super::file::Found;
use super::folder::{How, Next};
use super::record::Record;
use super::rules::Rules;
use super::told::Told;
use super::walk::{Ground, Thing, aside_of};
use super::watcher::{FIRST, Watcher, by_polling};
use crate::client::Wait;

/// Where the system tells of changes, the whole folder is looked at this often all the same.
const SAFETY: Duration = Duration::from_mins(1);

impl Watcher<'_> {
    /// Looks at the whole folder.
    pub(super) fn scan(&mut self) -> Result<(), WatchError> {
        let started = Instant::now();
        self.next_scan = None;
        self.scans += 1;
        self.folder.begin_scan();
        self.watch_folder(&Path::new("").into());
        let ground = Arc::clone(&self.ground);
        let walked = ground.walk(|thing| self.meet(thing, &ground, started));
        match walked {
            Ok(true) => {
                let missing = self.folder.end_scan(|path| ground.at(path).exists());
                for file in missing.kept {
                    self.state.add(&Record::Gone { file });
                }
                for n in missing.entries {
                    self.close_gone(n);
                }
                let written = self.state.write();
                written.map_err(|error| self.cannot_write(error))?;
            }
            Ok(false) => {}
            Err(source) if self.config.once.is_some() => {
                let path = self.config.folder.clone();
                return Err(WatchError::Folder { path, source });
            }
            Err(error) => {
                let reason = format!("the folder cannot be read: {error}");
                self.skip(self.config.folder.clone(), reason);
            }
        }
        self.skipped.0 = std::mem::take(&mut self.skipped.1);
        let ended = Instant::now();
        let took = ended - started;
        self.scanned = (ended, took);
        // However long a look takes, little of the time goes into looks.
        self.next_scan = match (self.config.once, &self.events) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(ended + SAFETY.max(took * 100)),
            (None, None) => {
                let poll = self.config.poll.unwrap_or(FIRST);
                Some(ended + poll.max(took * 20))
            }
        };
        Ok(())
    }

    /// The whole folder is to be looked at soon.
    pub(super) fn scan_soon(&mut self) {
        let (ended, took) = self.scanned;
        let soon = ended + (took * 10).max(Duration::from_millis(100));
        let is_sooner = self.next_scan.is_none_or(|at| soon < at);
        if is_sooner {
            self.next_scan = Some(soon);
        }
    }

    pub(super) fn see(&mut self, event: Event) {
        match event {
            Event::Everything => self.scan_soon(),
            Event::At(path, how) => self.look(&path, how),
        }
    }

    /// Looks at one path below the folder.
    pub(super) fn look(&mut self, path: &Path, how: How) {
        match self.ground.look(path, how) {
            Ok(Some(Thing::Folder(_))) => self.scan_soon(),
            Ok(Some(Thing::File(found, place, how))) => {
                let kind = kind(&self.ground.rules, place);
                self.take_note(found, kind, how, Instant::now());
            }
            Ok(Some(Thing::Skipped(path, reason))) => self.skip(path, reason),
            Ok(Some(Thing::Aside(_)) | None) => {}
            Err(_) => self.folder.gone(path),
        }
    }

    /// Something was found by a look at the whole folder.
    pub(super) fn meet(&mut self, thing: Thing, ground: &Ground, now: Instant) {
        match thing {
            Thing::Folder(path) => self.watch_folder_of(&ground.root, &path),
            Thing::File(found, place, how) => {
                self.take_note(found, kind(&ground.rules, place), how, now);
            }
            Thing::Aside(found) => self.meet_aside(found, ground, now),
            Thing::Skipped(path, reason) => self.skip(path, reason),
        }
    }

    pub(super) fn take_note(&mut self, found: Found, kind: (usize, bool), how: How, now: Instant) {
        if let Next::Act(n) = self.folder.look(found, kind, how, now) {
            self.acts.push_back(n);
        }
    }

    /// A file that a watcher had put aside to delete it, before it was killed.
    pub(super) fn meet_aside(&mut self, found: Found, ground: &Ground, now: Instant) {
        let Some((n, name)) = aside_of(&found.path) else {
            return;
        };
        let is_ours = |entry: &Entry| entry.found.ident == found.ident;
        if self.folder.entry(n).is_some_and(is_ours) {
            let rule = self
                .folder
                .entry(n)
                .and_then(|entry| ground.rules.place(&entry.found.path));
            let rule = rule.unwrap_or(ground.rules.kinds.len());
            self.take_note(found, kind(&ground.rules, rule), How::There, now);
            return;
        }
        // It is not the file that was handed over: it is a new one.
        let from = ground.at(&found.path);
        let given = give_back(&from, &from.with_file_name(name));
        if let Err(error) = given {
            self.skip(found.path.to_path_buf(), error.to_string());
        }
        self.scan_soon();
    }

    pub(super) fn watch_folder(&mut self, dir: &Arc<Path>) {
        let root = self.ground.root.clone();
        self.watch_folder_of(&root, dir);
    }

    pub(super) fn watch_folder_of(&mut self, root: &Path, dir: &Arc<Path>) {
        let Some((events, _)) = &self.events else {
            return;
        };
        match events.add(root, dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                self.events = None;
                (self.tell)(Told::Note(by_polling(&error)));
            }
            _ => {}
        }
    }

    /// Tells once why something is left alone, for as long as it is.
    pub(super) fn skip(&mut self, path: PathBuf, reason: String) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(path.as_os_str().as_bytes()).update(b"\0");
        let hash = hasher.update(reason.as_bytes()).finalize();
        let is_new = self.skipped.1.insert(hash) && !self.skipped.0.contains(&hash);
        if is_new {
            self.summary.skipped += 1;
            (self.tell)(Told::Skipped { path, reason });
        }
    }

    pub(super) fn close_gone(&mut self, n: u64) {
        if let Some(entry) = self.folder.close(n) {
            self.state.add(&Record::Closed { n });
            (self.tell)(Told::Gone {
                path: entry.found.path.to_path_buf(),
            });
        }
    }
}

/// The rule's place, and whether it waits for a server.
fn kind(rules: &Rules, place: usize) -> (usize, bool) {
    (place, rules.rule(place).until == Wait::Delivered)
}
