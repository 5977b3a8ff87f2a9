//! The file `journal-id`: which journal this is, and the identity that servers know it by.
//!
//! Its first line is the identity that the segments have in their headers, too. Once the journal
//! was adopted there is a second line, the identity that servers know the journal by from then on.
//!
//! A first start writes a part, begins a segment, and only then gives the part its name. So
//! `journal-id` without segments means that the segments are gone, and segments with records but
//! without `journal-id` mean that `journal-id` is gone.

use bytes::Bytes;

use super::disk::{Disk, read_full_at, write_all_at};
use super::error::{IDENTITY, JournalError, failed, unsynced, unsynced_names};
use super::segment::JournalId;
use bilico_core::checksum;

/// Its name until it is whole, and at a first start until there is a segment.
pub(super) const PART: &str = "journal-id.part";

/// The length of a line in bytes: 32 digits, a space, a checksum of 8, and a newline.
const LINE: usize = 42;

/// What the file, or its part, says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Its bytes, or one more than it may have if it is too long; `None` if there is no file.
    pub(super) bytes: Option<Bytes>,
    /// Which journal this is, if that can be read.
    pub(super) id: Option<JournalId>,
    /// The identity that servers know it by.
    pub(super) name: Name,
}

/// The identity that servers know a journal by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Name {
    /// Its own identity.
    #[default]
    Own,
    /// Another one, since it was adopted.
    Other(JournalId),
    /// Another one that cannot be read.
    Lost,
}

impl Name {
    /// The identity that servers know the journal with the identity `id` by.
    pub(super) fn of(self, id: JournalId) -> JournalId {
        if let Self::Other(name) = self {
            name
        } else {
            id
        }
    }
}

/// Reads the file, or its part.
pub(super) fn read(disk: &dyn Disk, name: &str, is_there: bool) -> Result<Written, JournalError> {
    if !is_there {
        return Ok(Written::default());
    }
    let file = disk.open(name).map_err(failed("open", name))?;
    let mut bytes = vec![0; 2 * LINE + 1];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(failed("read", name))?;
    bytes.truncate(read);
    Ok(parse(bytes.into()))
}

fn parse(bytes: Bytes) -> Written {
    let (first, second) = bytes.split_at(bytes.len().min(LINE));
    let name = match second {
        [] => Name::Own,
        line => parse_line(line).map_or(Name::Lost, Name::Other),
    };
    Written {
        id: parse_line(first),
        name,
        bytes: Some(bytes),
    }
}

fn parse_line(line: &[u8]) -> Option<JournalId> {
    let (digits, crc) = std::str::from_utf8(line)
        .ok()?
        .strip_suffix('\n')?
        .split_once(' ')?;
    let is_sound =
        digits.len() == 32 && crc == format!("{:08x}", checksum::crc32c(digits.as_bytes()));
    u128::from_str_radix(digits, 16)
        .ok()
        .filter(|_| is_sound)
        .map(u128::to_be_bytes)
}

fn line(id: JournalId) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(id));
    format!("{digits} {:08x}\n", checksum::crc32c(digits.as_bytes()))
}

fn text(id: JournalId, name: Name) -> String {
    let second = if let Name::Other(name) = name {
        line(name)
    } else {
        String::new()
    };
    line(id) + &second
}

/// Writes the part of a new journal, durably. A part that says the same is written again in place:
/// after a sync that failed it may be in memory only, and a segment may have been begun with it.
pub(super) fn begin(disk: &dyn Disk, id: JournalId, part: &Written) -> Result<(), JournalError> {
    write_part(disk, id, Name::Own, part.id == Some(id))?;
    disk.sync_dir().map_err(unsynced_names)
}

/// Gives the part its name, durably.
pub(super) fn name_part(disk: &dyn Disk) -> Result<(), JournalError> {
    disk.rename(PART, IDENTITY)
        .map_err(failed("rename", PART))?;
    disk.sync_dir().map_err(unsynced_names)
}

/// Writes the file in place of the one that is there. After a crash it is the one or the other.
pub(super) fn write(disk: &dyn Disk, id: JournalId, name: Name) -> Result<(), JournalError> {
    write_part(disk, id, name, false)?;
    name_part(disk)
}

fn write_part(
    disk: &dyn Disk,
    id: JournalId,
    name: Name,
    is_there: bool,
) -> Result<(), JournalError> {
    let file = if is_there {
        disk.open(PART).map_err(failed("open", PART))?
    } else {
        // A part that a crash left may not be whole.
        let _ = disk.remove(PART);
        disk.create(PART).map_err(failed("create", PART))?
    };
    write_all_at(&*file, text(id, name).as_bytes(), 0).map_err(failed("write to", PART))?;
    file.sync().map_err(unsynced(PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read_back() {
        for name in [Name::Own, Name::Other([0xAB; 16])] {
            let written = parse(text([7; 16], name).into());
            assert_eq!((written.id, written.name), (Some([7; 16]), name));
        }
        assert_eq!(text([7; 16], Name::Own).len(), LINE);
    }

    #[test]
    fn no_flipped_bit_is_another_identity_or_another_name() {
        let whole = text([7; 16], Name::Other([0xAB; 16])).into_bytes();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let written = parse(bytes.into());
            let expected = if bit / 8 < LINE {
                (None, Name::Other([0xAB; 16]))
            } else {
                (Some([7; 16]), Name::Lost)
            };
            assert_eq!((written.id, written.name), expected, "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_or_has_something_behind_it_has_no_name() {
        let whole = text([7; 16], Name::Other([0xAB; 16])).into_bytes();
        for len in (0..whole.len()).filter(|len| *len != LINE) {
            let written = parse(Bytes::copy_from_slice(&whole[..len]));
            assert!(
                written.id.is_none() || written.name == Name::Lost,
                "cut to {len}"
            );
        }
        let longer = parse([&whole[..], b"x"].concat().into());
        assert_eq!(longer.name, Name::Lost);
    }
}
