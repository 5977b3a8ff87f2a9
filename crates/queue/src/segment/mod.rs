//! A segment of the journal: its header, the frame around each record, and how a segment is read.
//!
//! ```text
//! header   magic:8  journal:16  segment:u64  oldest:u64  next_number:u64  first_sequence:u64
//!          crc32c:u32  0:u32
//! record   crc32c:u32  body_len:u32  sequence:u64  base:u32  kind:u8  0:3   body   0 to 7 zeros
//! ```
//!
//! A record's checksum covers its place, too (journal, segment and offset), so that bytes which
//! were copied here from elsewhere, say inside the content of a file, are never taken for a record.
//! `base` is where the part of the segment ends that was synced before this record was written:
//! where its batch begins, or the mark before it. That tells a torn tail, which nobody was given a
//! receipt for, from damage to what was safe. `docs/journal.md` shows every byte.

mod frame;
mod header;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use frame::{ALIGN, Found, Framer, HEAD_LEN, KIND_AT, MAX_BATCH, MAX_BODY};
pub(crate) use header::{HEADER_LEN, Header, MAGIC};
pub use header::{JournalId, name, parse_name};
pub(crate) use scan::{Item, Scan};
