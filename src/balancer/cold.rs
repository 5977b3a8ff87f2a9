//! The backlog: files too far back in the queue to keep in memory. Each costs 32 bytes here, and 8
//! among those that wait for receipts; the rest is read back from the journal in time for its turn.
//!
//! Invariant: a file is here or with the dispatcher, never in both places. It leaves the backlog
//! only when its record was read back, or turned out to be unreadable.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::room::{Room, Rooms};
use crate::access::users::Charge;
use crate::protocol::lists::StoredFile;
use crate::queue::backlog_entry::BacklogEntry;
use crate::queue::paged::Paged;
use crate::queue::record::History;
use crate::queue::{Handle, Location};
use crate::schedule::Slot;

/// What is kept of a file.
#[derive(Debug, Clone, Copy, Default)]
struct ColdFile {
    brief: BacklogEntry,
    /// The room that it has in the queue, in units; 0 for a file that has no room.
    room: u32,
}

/// A server reports that it has a file.
#[derive(Debug)]
pub(super) struct ColdReport {
    pub(super) slot: Slot,
    pub(super) held: StoredFile,
    /// The identity of the server's directory.
    pub(super) identity: Arc<str>,
}

/// What was kept of a file that leaves the backlog.
#[derive(Debug)]
pub(super) struct Thawed {
    pub(super) brief: BacklogEntry,
    pub(super) location: Option<Location>,
    pub(super) room: Option<Room>,
    /// The attempts that were recorded after the file's own record, which does not have them.
    pub(super) history: Option<History>,
    pub(super) claims: Vec<ColdReport>,
}

/// The files of the backlog.
#[derive(Debug)]
pub(super) struct Cold {
    files: Paged<ColdFile>,
    bytes: u64,
    /// The segments that the records stand in, by the lower half of their numbers, and how many
    /// records stand in each.
    segments: BTreeMap<u32, (Handle, usize)>,
    rooms: Arc<Rooms>,
    // Few files have these.
    histories: BTreeMap<u64, History>,
    claims: BTreeMap<u64, Vec<ColdReport>>,
    /// What files count for their users, where there are users.
    charges: BTreeMap<u64, Charge>,
}

impl Cold {
    /// An empty backlog, whose files have their room from `rooms`.
    pub(super) fn new(rooms: Arc<Rooms>) -> Self {
        Self {
            files: Paged::default(),
            bytes: 0,
            segments: BTreeMap::new(),
            rooms,
            histories: BTreeMap::new(),
            claims: BTreeMap::new(),
            charges: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Bytes of content of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, number: u64) -> Option<&BacklogEntry> {
        self.files.get(number).map(|entry| &entry.brief)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.files.contains(number)
    }

    /// The files with higher numbers than `after`, in order.
    pub(super) fn above(&self, after: u64) -> impl Iterator<Item = (u64, &BacklogEntry)> {
        self.files
            .above(after)
            .map(|(number, entry)| (number, &entry.brief))
    }

    /// When the oldest file was accepted, in milliseconds since the beginning of 1970, UTC.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.above(0)
            .next()
            .map(|(_, brief)| u64::from(brief.accepted_s) * 1000)
    }

    /// The files that servers report they have, and wait for an answer about.
    pub(super) fn claimed(&self) -> impl Iterator<Item = u64> {
        self.claims.keys().copied()
    }

    /// Whether a server reports that it has the file.
    pub(super) fn is_claimed(&self, number: u64) -> bool {
        self.claims.contains_key(&number)
    }

    /// Whether any server waits for an answer.
    pub(super) fn has_claims(&self) -> bool {
        !self.claims.is_empty()
    }

    /// The attempts that were recorded after the file's own record.
    pub(super) fn history(&self, number: u64) -> Option<&History> {
        self.histories.get(&number)
    }

    /// Takes a file in, whose record stands in the segment of this handle.
    pub(super) fn insert(
        &mut self,
        number: u64,
        brief: BacklogEntry,
        handle: &Handle,
        room: Option<Room>,
    ) {
        self.bytes += brief.size();
        self.enter(brief, handle);
        let (room, charge) = room.map_or((0, None), Room::into_parts);
        if let Some(charge) = charge {
            self.charges.insert(number, charge);
        }
        self.files.insert(number, ColdFile { brief, room });
    }

    /// Notes the attempts that were recorded after the file's own record.
    pub(super) fn set_history(&mut self, number: u64, history: History) {
        self.histories.insert(number, history);
    }

    /// Notes that a server reports the file.
    pub(super) fn claim(&mut self, number: u64, claim: ColdReport) {
        self.claims.entry(number).or_default().push(claim);
    }

    /// The record of a file was written again: it stands at `to` now.
    pub(super) fn moved(&mut self, number: u64, to: &Location) {
        let Some(entry) = self.files.get_mut(number) else {
            return;
        };
        let before = std::mem::replace(&mut entry.brief.spot, to.spot());
        let brief = entry.brief;
        self.leave(before.segment);
        self.enter(brief, to.handle());
    }

    /// Where the record of a file stands. Inline content ends the record.
    pub(super) fn location(&self, number: u64) -> Option<Location> {
        let entry = self.files.get(number)?;
        self.place(&entry.brief)
    }

    /// Takes a file out.
    pub(super) fn remove(&mut self, number: u64) -> Option<Thawed> {
        let ColdFile { brief, room } = self.files.remove(number)?;
        let (room, charge) = (self.rooms.room(room), self.charges.remove(&number));
        let location = self.place(&brief);
        self.bytes -= brief.size();
        self.leave(brief.spot.segment);
        Some(Thawed {
            brief,
            location,
            room: room.map(|room| room.charged(charge)),
            history: self.histories.remove(&number),
            claims: self.claims.remove(&number).unwrap_or_default(),
        })
    }

    fn place(&self, brief: &BacklogEntry) -> Option<Location> {
        let (handle, _) = self.segments.get(&brief.spot.segment)?;
        Some(Location::new(handle.clone(), brief.spot, brief.size()))
    }

    fn enter(&mut self, brief: BacklogEntry, handle: &Handle) {
        self.segments
            .entry(brief.spot.segment)
            .or_insert_with(|| (handle.clone(), 0))
            .1 += 1;
    }

    /// Closes the segment if no record of the backlog stands in it any more: the disk gets its
    /// room back when the journal removes it.
    fn leave(&mut self, segment: u32) {
        if let Some((_, files)) = self.segments.get_mut(&segment) {
            *files -= 1;
            if *files == 0 {
                self.segments.remove(&segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::RecordPosition;
    use crate::queue::disk::Disk;
    use crate::queue::record::Meta;
    use crate::queue::sim::SimDisk;
    use tokio::sync::Semaphore;

    fn rooms() -> Arc<Rooms> {
        Arc::new(Rooms {
            files: Semaphore::new(2_000_000),
            bytes: Semaphore::new(100_000_000),
        })
    }

    fn take_room(rooms: &Arc<Rooms>, units: u32) -> Option<Room> {
        rooms.files.try_acquire().unwrap().forget();
        rooms.bytes.try_acquire_many(units).unwrap().forget();
        rooms.room(units)
    }

    fn handle(segment: u64) -> Handle {
        let disk = SimDisk::new();
        Handle {
            segment,
            file: disk.create("segment").unwrap(),
        }
    }

    fn brief(number: u64, segment: u32) -> BacklogEntry {
        let meta = Meta {
            title: "t".into(),
            key: None,
            from: "f".into(),
            size: (5 << 32) + number,
            crc32c: 7,
            accepted_ms: 9_000 + number,
        };
        BacklogEntry::new(
            &meta,
            RecordPosition {
                segment,
                offset: 64,
                end: 1000,
            },
        )
    }

    #[test]
    fn what_goes_in_comes_out_and_room_comes_back() {
        let rooms = rooms();
        let mut cold = Cold::new(rooms.clone());
        let first = handle(1);
        cold.insert(1, brief(1, 1), &first, take_room(&rooms, 6));
        cold.insert(2, brief(2, 1), &first, take_room(&rooms, 7));
        cold.insert(3, brief(3, 1), &first, None);
        let history = History {
            attempts: 3,
            ..History::default()
        };
        cold.set_history(3, history);
        assert_eq!((cold.len(), cold.bytes()), (3, 3 * (5 << 32) + 6));
        assert_eq!(cold.oldest_ms(), Some(9_000));
        assert_eq!(rooms.bytes.available_permits(), 100_000_000 - 13);

        let spot = RecordPosition {
            segment: 2,
            offset: 640,
            end: 2000,
        };
        let second = Location::new(handle(2), spot, 0);
        cold.moved(1, &second);
        cold.moved(99, &second);
        assert_eq!(cold.segments.keys().collect::<Vec<_>>(), [&1, &2]);
        let thawed = cold.remove(1).unwrap();
        let location = thawed.location.unwrap();
        assert_eq!(location.handle().segment, 2);
        assert_eq!(location.spot().offset, 640);
        assert!(thawed.history.is_none() && cold.remove(1).is_none());
        assert_eq!(
            cold.segments.keys().collect::<Vec<_>>(),
            [&1],
            "nothing stands in the second one any more"
        );
        drop(thawed.room);
        assert_eq!(rooms.files.available_permits(), 1_999_999);
        assert_eq!(rooms.bytes.available_permits(), 99_999_993);

        cold.remove(2).unwrap();
        let last = cold.remove(3).unwrap();
        assert_eq!(last.history.unwrap().attempts, 3);
        assert!(last.room.is_none());
        assert!(cold.segments.is_empty(), "segments are let go");
        assert_eq!(rooms.files.available_permits(), 2_000_000);
    }

    /// With 8 bytes for its client, a million waiting files are counted at 40 bytes each; keys and
    /// the writer's index come on top.
    #[test]
    fn a_file_costs_little_more_than_thirty_two_bytes() {
        let rooms = rooms();
        let mut cold = Cold::new(rooms.clone());
        let handle = handle(1);
        for number in 1..=100_000 {
            let room = take_room(&rooms, 6);
            cold.insert(number, brief(number, 1), &handle, room);
        }
        assert!(cold.histories.is_empty() && cold.claims.is_empty());
        assert_eq!(cold.segments.len(), 1);
        let each = cold.files.heap_bytes() / 100_000;
        assert!(each <= 33, "{each}");
    }
}
