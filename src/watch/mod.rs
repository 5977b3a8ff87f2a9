//! Role: a hot folder. Files that have settled in it are handed over, and then moved, deleted, or
//! left.
//!
//! # How a file is handed over once, whatever dies
//!
//! A watcher keeps a state (`state`, one for a folder) beside the balancer's memory of keys. A
//! file is an `Ident`: inode, time of birth, time of its last write and size. Its way:
//!
//! 1. It has **settled**: its size and time stayed the same for the time that was given; or it was
//!    renamed into place, or has its marker.
//! 2. `begun` (its ident, its path, and a key that is made of both and of the state's identity) is
//!    synced.
//! 3. It is sent under its key. The client sends it only if its ident is still the same, and never
//!    to its end if it changes meanwhile: so no content goes under the key of another.
//! 4. The receipt that was waited for comes, and `done` is synced.
//! 5. The file is taken away by a rename, looked at, and moved or deleted if it is the one that was
//!    handed over. If it is not, it goes back and is a new file. A file that stays gets `kept`.
//! 6. The folders are synced, and `closed` is written.
//!
//! A watcher that is killed, and starts again, reads the state, and looks for the files of the
//! entries that are not closed by their idents, whatever they are called now:
//!
//! - killed before 2: it is a new file, and gets the same key, for nothing touched it;
//! - killed between 2 and 4: it is sent again under its key. The balancer answers with the receipts
//!   of the first time. What the balancer may have forgotten by now (`--remembered`), or has once
//!   accepted, is only asked about: if the balancer does not know it, nobody can tell whether it was
//!   handed over, so it goes to the failed files with that reason;
//! - killed between 4 and 6: only what was to happen then is done, without the balancer;
//! - killed within 5, after the rename: the file has a name that only watchers use, and is found by
//!   that;
//! - an entry whose file is gone is closed: somebody took the file away.
//!
//! A connection that is lost is the same as a kill between 2 and 4, without the kill.
//!
//! # The rooms
//!
//! `folder` decides, and knows no clock and no file system; `rules` knows names, `record` the
//! lines of a state. `walk`, `events` and `after` look at the disk and change it, `hand`
//! talks to the balancer. `watcher` brings them together.

mod acting;
mod after;
mod entry;
mod error;
mod events;
mod file;
mod folder;
mod hand;
mod looking;
mod record;
mod rules;
mod run;
mod sending;
mod spec;
mod state;
mod told;
mod turns;
mod walk;
mod watcher;

#[cfg(test)]
mod tests;

pub use error::WatchError;
pub use rules::{After, Globs, Rule, Rules};
pub use run::watch;
pub use spec::{AFTER, KEYS, RuleSpec};
pub use told::{Summary, Told};
pub use watcher::Config;
