//! The index: which stored files their balancers have not confirmed yet. It is kept in a file that
//! outlives the server.
//!
//! It answers three questions. Is this number of this journal stored already, even if the file was
//! moved away since? Which files does a balancer that reconnects have to be told of? Which file
//! must be removed? Owns the file `.bilico-index` and the directory's identity in it. Leaves the
//! stored files themselves, and the order of writes and syncs around them, to the keeper.
//!
//! # On disk
//!
//! Lines of text, appended; each begins with the CRC32C of its rest (see [`mod@line`]).
//!
//! ```text
//! <crc> bilico-index 1 <identity>                           the first line
//! <crc> storing <journal> <number> <size> <crc32c> <name>   about to be published; synced first
//! <crc> stored|shared <journal> <number>…                   published, and the directory synced
//! <crc> confirmed|dropped|forgotten <journal> <number>…     no longer in the index
//! <crc> confirmed|forgotten * 0                             other journals stored nothing|something
//! <crc> confirmed - <number>                                highest number without a journal
//! <crc> confirmed in:<place> 0                              where the index was opened last
//! <crc> confirmed of:<balancer>=<journal> 0                 the balancer that has proved its name
//! ```
//!
//! The highest number that any line names for a journal is the highest that was ever stored for it,
//! so a file that is rewritten begins with a `confirmed` for each journal. Earlier versions know
//! neither `*` nor `-` nor `in:` nor `of:`, and take those for journals that no balancer has; an index of an
//! earlier version, which has no such lines, is read like any other.
//!
//! The announcement comes first: if a file were published before the index knows of it, and the
//! server died in between, the file would be a copy that nobody asks for. An announced file without
//! a later line is looked for when the index is opened. If the file is there and whole it counts as
//! stored, otherwise as dropped.
//!
//! # Damage
//!
//! A last line without a line feed is what a crash left of an append, and is cut off. A line with a
//! wrong checksum is skipped. It may have been the one that removed an entry, so after damage an
//! entry does not count if its file is not there. An index without a readable first line is set
//! aside and a new one begun. An index of another version stays as it is and cannot be opened. Only
//! a regular file is opened, and links are not followed: as long as anything else has the index's
//! name there is no index, and the error says so.
//!
//! # Set back
//!
//! Opening the index logs whether the index or its directory is a copy or was restored, whether
//! files are here that are newer than the index, and whether files are missing. Nothing else
//! follows from that: only a person can say which of several copies is the right one.
//!
//! Invariant: every file that [`Index::files_of`] lists is stored. While the file on disk may
//! differ from memory (`sound` is false), nothing is announced: first the file is rewritten from
//! memory, into a new file.

mod disk;
mod entry;
mod later;
mod line;
mod live;
mod open;
mod owners;
mod place;
mod replay;
mod seen;
mod table;
#[cfg(test)]
mod tests;

pub(super) use self::entry::{IndexEntry, Key, Settled};
pub(super) use self::live::Index;
