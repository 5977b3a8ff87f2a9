//! What the doorway remembers of the files that it took, so that clients which look at what they
//! have sent find it.
//!
//! It is a memory of names: the files themselves go their way, and it can be lost without harm.
//! Invariant: it is bounded in names, bytes and time, and nobody sees the names of another user.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::access::Pass;

/// How long a name is remembered after it was last sent.
pub(super) const KEPT: Duration = Duration::from_hours(1);

/// The most names.
pub(super) const MOST_NAMES: usize = 20_000;

/// The most bytes of names.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// What is remembered of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its request number.
    pub(super) number: u64,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The BLAKE3 hash of its content.
    pub(super) hash: blake3::Hash,
    /// When its client has changed it, if the client has said so, or else when it came.
    pub(super) modified: SystemTime,
    /// A checksum that its client has told, and that was right, as ownCloud writes it.
    pub(super) checksum: Option<Box<str>>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    File(Known),
    /// A folder that a client has made.
    Folder,
}

/// A name, and when it was noted.
struct Note {
    thing: Thing,
    at: SystemTime,
    /// Of several notes of a name, only the last one counts.
    turn: u64,
}

/// What there is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Child {
    File(String, Known),
    Folder(String),
}

/// Names by user.
#[derive(Default)]
pub(super) struct Shelf {
    /// By user and title. The title of a folder ends in a slash.
    notes: BTreeMap<Arc<str>, Note>,
    /// The same in the order of their coming, with some that came again later.
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    turn: u64,
}

/// The part of the shelf that somebody sees, as the start of its names.
#[derive(Debug, Clone)]
pub(super) struct Owner(String);

impl Owner {
    pub(super) fn of(pass: &Pass) -> Self {
        // No user's name has this character.
        let user = pass.user().map(ToString::to_string);
        Self(format!("{}\u{1f}", user.unwrap_or_default()))
    }

    fn name(&self, title: &str) -> String {
        format!("{}{title}", self.0)
    }
}

impl Shelf {
    /// Notes what a title stands for from now on.
    pub(super) fn note(&mut self, owner: &Owner, title: &str, thing: Thing, now: SystemTime) {
        let name: Arc<str> = owner.name(title).into();
        self.turn += 1;
        let turn = self.turn;
        let note = Note {
            thing,
            at: now,
            turn,
        };
        self.bytes += name.len();
        if self.notes.insert(name.clone(), note).is_some() {
            self.bytes -= name.len();
        }
        self.order.push_back((turn, name));
        self.forget(now);
    }

    /// Forgets what is too old or too much.
    fn forget(&mut self, now: SystemTime) {
        while let Some((turn, name)) = self.order.front() {
            let note = self.notes.get(name).filter(|note| note.turn == *turn);
            let is_due = match note {
                // It came again later.
                None => true,
                Some(note) => {
                    self.notes.len() > MOST_NAMES
                        || self.bytes > MOST_BYTES
                        || now.duration_since(note.at).is_ok_and(|age| age > KEPT)
                }
            };
            // Names that come again and again must not fill the order.
            if !is_due && self.order.len() <= 2 * MOST_NAMES {
                return;
            }
            if note.is_some() {
                self.notes.remove(name);
                self.bytes -= name.len();
            }
            self.order.pop_front();
        }
    }

    /// What a title stands for: a file, or a folder under which there is something.
    pub(super) fn find(&mut self, owner: &Owner, title: &str, now: SystemTime) -> Option<Thing> {
        self.forget(now);
        let name = owner.name(title);
        let folder = format!("{}/", name.strip_suffix('/').unwrap_or(&name));
        match self.notes.get(name.as_str()) {
            Some(note) => Some(note.thing.clone()),
            None if title.is_empty() => Some(Thing::Folder),
            None => {
                let below = (Included(folder.as_str()), Unbounded);
                let (first, _) = self.notes.range::<str, _>(below).next()?;
                first.starts_with(&folder).then_some(Thing::Folder)
            }
        }
    }

    /// What there is in a folder, whose title is empty or ends in a slash. Folders below it are
    /// passed in one step each.
    pub(super) fn children(&self, owner: &Owner, folder: &str) -> Children<'_> {
        let start = owner.name(folder);
        Children {
            shelf: self,
            from: Excluded(start.clone()),
            start,
        }
    }
}

/// The children of a folder, by name.
pub(super) struct Children<'a> {
    shelf: &'a Shelf,
    start: String,
    /// Where the next one is looked for.
    from: Bound<String>,
}

impl Iterator for Children<'_> {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        loop {
            let from = self.from.as_ref().map(String::as_str);
            let mut left = self.shelf.notes.range::<str, _>((from, Unbounded));
            let (name, note) = left.next()?;
            let rest = name.strip_prefix(self.start.as_str())?;
            if let Some((folder, _)) = rest.split_once('/') {
                // Behind all that begins with the folder's name and a slash: `0` follows `/`.
                self.from = Included(format!("{}{folder}0", self.start));
                if !folder.is_empty() {
                    return Some(Child::Folder(folder.to_owned()));
                }
            } else {
                self.from = Excluded(name.to_string());
                if let Thing::File(known) = &note.thing {
                    return Some(Child::File(rest.to_owned(), known.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Lock;

    fn file(number: u64) -> Thing {
        Thing::File(Known {
            number,
            size: number,
            hash: blake3::hash(b""),
            modified: SystemTime::UNIX_EPOCH,
            checksum: None,
        })
    }

    fn shelf(titles: &[&str]) -> (Shelf, Owner, SystemTime) {
        let (mut shelf, now) = (Shelf::default(), SystemTime::now());
        let owner = Owner::of(&Lock::own());
        for (number, title) in titles.iter().enumerate() {
            shelf.note(&owner, title, file(number as u64), now);
        }
        (shelf, owner, now)
    }

    fn names(shelf: &Shelf, owner: &Owner, folder: &str) -> Vec<String> {
        let name = |child| match child {
            Child::File(name, _) => name,
            Child::Folder(name) => format!("{name}/"),
        };
        shelf.children(owner, folder).map(name).collect()
    }

    #[test]
    fn a_folder_has_what_lies_in_it_and_each_folder_below_it_once() {
        let titles = [
            "a", "b/1", "b/2", "b/c/3", "b0", "b0/4", "b-/5", "/etc/x", "c/",
        ];
        let (mut shelf, owner, now) = shelf(&titles);
        shelf.note(&owner, "empty/", Thing::Folder, now);
        let top = names(&shelf, &owner, "");
        assert_eq!(top, ["a", "b-/", "b/", "b0", "b0/", "c/", "empty/"]);
        assert_eq!(names(&shelf, &owner, "b/"), ["1", "2", "c/"]);
        assert_eq!(names(&shelf, &owner, "empty/"), [""; 0]);
        for (title, is_folder) in [
            ("b", true),
            ("b/", true),
            ("b/c", true),
            ("", true),
            ("empty", true),
        ] {
            let found = shelf.find(&owner, title, now);
            assert_eq!(found == Some(Thing::Folder), is_folder, "{title}");
        }
        assert_eq!(shelf.find(&owner, "a", now), Some(file(0)));
        for unknown in ["x", "b/3", "a/", "b/c/3/", "A"] {
            assert_eq!(shelf.find(&owner, unknown, now), None, "{unknown}");
        }
    }

    #[test]
    fn it_forgets_what_is_old_and_has_bounds() {
        let (mut shelf, owner, now) = shelf(&["a", "b"]);
        let later = now + KEPT / 2;
        shelf.note(&owner, "a", file(7), later);
        let end = now + KEPT + Duration::from_secs(1);
        assert_eq!(shelf.find(&owner, "b", end), None);
        assert_eq!(shelf.find(&owner, "a", end), Some(file(7)));
        for n in 0..MOST_NAMES as u64 + 10 {
            shelf.note(&owner, &format!("n{n}"), file(n), end);
        }
        assert_eq!(shelf.notes.len(), MOST_NAMES);
        assert_eq!(shelf.find(&owner, "a", end), None);
        for n in 0..3 * MOST_NAMES as u64 {
            shelf.note(&owner, "same", file(n), end);
        }
        assert!(shelf.order.len() <= 2 * MOST_NAMES && shelf.find(&owner, "same", end).is_some());
        let long = "x".repeat(4000);
        for n in 0..2000 {
            shelf.note(&owner, &format!("{n}{long}"), file(n), end);
        }
        assert!(shelf.bytes <= MOST_BYTES && shelf.notes.len() > 1000);
        let bytes: usize = shelf.notes.keys().map(|name| name.len()).sum();
        assert_eq!(bytes, shelf.bytes);
    }
}
