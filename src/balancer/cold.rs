//! The files that wait behind so many others that their turn is not near: 40 bytes each, and what
//! else is known of them stands in the journal.
//!
//! Invariant: a file is here or with the dispatcher, never in both places, and leaves this one only
//! when its record was read back, or cannot be.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::hub::add_reply;
use super::messages::{Reply, ToClient};
use super::room::{Room, Rooms};
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
    /// The room that it has in the queue, in units; 0 is none.
    room: u32,
    /// Who waits for its receipts, counted from 1; 0 is nobody.
    client: u32,
    /// The client's name for it.
    id: u32,
}

/// A client that waits for receipts.
#[derive(Debug)]
struct Client {
    connection: u64,
    to: mpsc::UnboundedSender<ToClient>,
    /// Of how many files.
    files: u32,
}

/// The clients that wait for receipts, by small numbers.
#[derive(Debug, Default)]
struct Clients {
    by_place: Vec<Option<Client>>,
    places: HashMap<u64, u32>,
    free: Vec<u32>,
}

/// A server says that it has a file.
#[derive(Debug)]
pub(super) struct ColdReport {
    pub(super) slot: Slot,
    pub(super) held: StoredFile,
    /// What the server's directory is called by itself.
    pub(super) identity: Arc<str>,
}

/// A file that leaves: what was kept of it.
#[derive(Debug)]
pub(super) struct Thawed {
    pub(super) brief: BacklogEntry,
    pub(super) location: Option<Location>,
    pub(super) replies: Vec<Reply>,
    pub(super) room: Option<Room>,
    /// What was recorded of it after its record, if that is not all in its record.
    pub(super) history: Option<History>,
    pub(super) claims: Vec<ColdReport>,
}

/// The files that are kept like this.
#[derive(Debug)]
pub(super) struct Cold {
    files: Paged<ColdFile>,
    bytes: u64,
    /// The segments that they stand in, and how many of them in each.
    segments: BTreeMap<u32, (Handle, usize)>,
    clients: Clients,
    rooms: Arc<Rooms>,
    /// What few of them have.
    replies: BTreeMap<u64, Vec<Reply>>,
    histories: BTreeMap<u64, History>,
    claims: BTreeMap<u64, Vec<ColdReport>>,
}

impl Cold {
    /// No files; those that come have their room from `rooms`.
    pub(super) fn new(rooms: Arc<Rooms>) -> Self {
        Self {
            files: Paged::default(),
            bytes: 0,
            segments: BTreeMap::new(),
            clients: Clients::default(),
            rooms,
            replies: BTreeMap::new(),
            histories: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// How many bytes of content they have.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is known of a file.
    pub(super) fn get(&self, number: u64) -> Option<&BacklogEntry> {
        self.files.get(number).map(|entry| &entry.brief)
    }

    /// Whether the file is here.
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

    /// The files whose servers wait for an answer.
    pub(super) fn claimed(&self) -> impl Iterator<Item = u64> {
        self.claims.keys().copied()
    }

    /// What was recorded of a file after its record, if that is not all in its record.
    pub(super) fn history(&self, number: u64) -> Option<&History> {
        self.histories.get(&number)
    }

    /// Takes a file in.
    pub(super) fn insert(
        &mut self,
        number: u64,
        brief: BacklogEntry,
        handle: &Handle,
        replies: Vec<Reply>,
        room: Option<Room>,
    ) {
        self.bytes += brief.size();
        self.enter(brief, handle);
        let room = room.map_or(0, Room::into_units);
        self.files.insert(
            number,
            ColdFile {
                brief,
                room,
                client: 0,
                id: 0,
            },
        );
        for reply in replies {
            self.add_reply(number, reply);
        }
    }

    /// Notes what was recorded of a file after its record.
    pub(super) fn set_history(&mut self, number: u64, history: History) {
        self.histories.insert(number, history);
    }

    /// One more client waits for the receipts of a file.
    pub(super) fn add_reply(&mut self, number: u64, reply: Reply) {
        let Some(entry) = self.files.get_mut(number) else {
            return;
        };
        // One that has gone makes way.
        if self.clients.is_gone(entry.client) {
            self.clients.release(std::mem::take(&mut entry.client));
        }
        match u32::try_from(reply.id) {
            Ok(id) if entry.client == 0 => {
                (entry.client, entry.id) = (self.clients.enter(reply), id)
            }
            _ => add_reply(self.replies.entry(number).or_default(), reply),
        }
    }

    /// Notes that a server says that it has the file.
    pub(super) fn claim(&mut self, number: u64, claim: ColdReport) {
        self.claims.entry(number).or_default().push(claim);
    }

    /// The record of a file stands elsewhere now. False if the file is not here.
    pub(super) fn moved(&mut self, number: u64, to: &Location) -> bool {
        let Some(entry) = self.files.get_mut(number) else {
            return false;
        };
        let before = std::mem::replace(&mut entry.brief.spot, to.spot());
        let brief = entry.brief;
        self.leave(before.segment);
        self.enter(brief, to.handle());
        true
    }

    /// Where the record of a file stands. The content that is in it comes with the file.
    pub(super) fn location(&self, number: u64) -> Option<Location> {
        self.files
            .get(number)
            .and_then(|entry| self.place(&entry.brief))
    }

    /// Takes a file out.
    pub(super) fn remove(&mut self, number: u64) -> Option<Thawed> {
        let ColdFile {
            brief,
            room,
            client,
            id,
        } = self.files.remove(number)?;
        let location = self.place(&brief);
        self.bytes -= brief.size();
        self.leave(brief.spot.segment);
        let mut replies = self.replies.remove(&number).unwrap_or_default();
        replies.extend(self.clients.reply(client, id));
        self.clients.release(client);
        let room = self.rooms.room(room);
        let (history, claims) = (
            self.histories.remove(&number),
            self.claims.remove(&number).unwrap_or_default(),
        );
        Some(Thawed {
            brief,
            location,
            replies,
            room,
            history,
            claims,
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

    /// A segment that no file stands in any more is let go, so that its room comes back once it was
    /// removed.
    fn leave(&mut self, segment: u32) {
        if let Some((_, files)) = self.segments.get_mut(&segment) {
            *files -= 1;
            if *files == 0 {
                self.segments.remove(&segment);
            }
        }
    }
}

impl Clients {
    fn get(&self, client: u32) -> Option<&Client> {
        self.by_place
            .get((client as usize).checked_sub(1)?)?
            .as_ref()
    }

    fn is_gone(&self, client: u32) -> bool {
        self.get(client).is_some_and(|client| client.to.is_closed())
    }

    fn reply(&self, client: u32, id: u32) -> Option<Reply> {
        let Client { connection, to, .. } = self.get(client)?;
        Some(Reply {
            connection: *connection,
            to: to.clone(),
            id: id.into(),
        })
    }

    /// Counts a file for the client of this reply, and gives its number.
    fn enter(&mut self, reply: Reply) -> u32 {
        let client = self
            .places
            .get(&reply.connection)
            .copied()
            .unwrap_or_else(|| {
                let new = Client {
                    connection: reply.connection,
                    to: reply.to,
                    files: 0,
                };
                let connection = new.connection;
                let client = self.free.pop().unwrap_or_else(|| {
                    self.by_place.push(None);
                    u32::try_from(self.by_place.len()).unwrap_or(u32::MAX)
                });
                if let Some(place) = self.by_place.get_mut(client as usize - 1) {
                    *place = Some(new);
                }
                self.places.insert(connection, client);
                client
            });
        if let Some(Some(client)) = self.by_place.get_mut(client as usize - 1) {
            client.files += 1;
        }
        client
    }

    /// One file less for this client. One that has none left is let go: its connection may end.
    fn release(&mut self, client: u32) {
        let Some(place) = (client as usize)
            .checked_sub(1)
            .and_then(|at| self.by_place.get_mut(at))
        else {
            return;
        };
        let Some(known) = place else { return };
        known.files -= 1;
        if known.files == 0 {
            self.places.remove(&known.connection);
            *place = None;
            self.free.push(client);
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

    fn reply(connection: u64, to: &mpsc::UnboundedSender<ToClient>, id: u64) -> Reply {
        Reply {
            connection,
            to: to.clone(),
            id,
        }
    }

    #[test]
    fn what_goes_in_comes_out_and_room_comes_back() {
        let rooms = rooms();
        let mut cold = Cold::new(rooms.clone());
        let (to, _from) = mpsc::unbounded_channel();
        let first = handle(1);
        cold.insert(
            1,
            brief(1, 1),
            &first,
            vec![reply(8, &to, 11)],
            take_room(&rooms, 6),
        );
        cold.insert(
            2,
            brief(2, 1),
            &first,
            vec![reply(8, &to, u64::MAX)],
            take_room(&rooms, 7),
        );
        cold.insert(
            3,
            brief(3, 1),
            &first,
            vec![reply(8, &to, 1), reply(9, &to, 2)],
            None,
        );
        cold.set_history(
            3,
            History {
                attempts: 3,
                ..History::default()
            },
        );
        assert_eq!(
            (cold.len(), cold.bytes(), cold.oldest_ms()),
            (3, 3 * (5 << 32) + 6, Some(9_000))
        );
        assert_eq!(rooms.bytes.available_permits(), 100_000_000 - 13);

        let second = Location::new(
            handle(2),
            RecordPosition {
                segment: 2,
                offset: 640,
                end: 2000,
            },
            0,
        );
        assert!(cold.moved(1, &second) && !cold.moved(99, &second));
        let thawed = cold.remove(1).unwrap();
        let location = thawed.location.unwrap();
        assert_eq!(
            (location.handle().segment, location.spot().offset),
            (2, 640)
        );
        assert_eq!(
            thawed
                .replies
                .iter()
                .map(|reply| (reply.connection, reply.id))
                .collect::<Vec<_>>(),
            [(8, 11)]
        );
        assert!(thawed.history.is_none() && cold.remove(1).is_none());
        assert_eq!(
            cold.segments.keys().collect::<Vec<_>>(),
            [&1],
            "nothing stands in the second one any more"
        );
        drop(thawed.room);
        assert_eq!(
            (
                rooms.files.available_permits(),
                rooms.bytes.available_permits()
            ),
            (1_999_999, 99_999_993)
        );

        assert_eq!(cold.remove(2).unwrap().replies[0].id, u64::MAX);
        let last = cold.remove(3).unwrap();
        let ids: Vec<_> = last
            .replies
            .iter()
            .map(|reply| (reply.connection, reply.id))
            .collect();
        assert_eq!(
            (ids, last.history.unwrap().attempts, last.room.is_none()),
            (vec![(9, 2), (8, 1)], 3, true)
        );
        assert!(
            cold.clients.places.is_empty() && cold.segments.is_empty(),
            "connections and segments are let go"
        );
        assert_eq!(rooms.files.available_permits(), 2_000_000);
    }

    #[test]
    fn a_client_that_comes_again_takes_the_place_of_its_old_connection() {
        let mut cold = Cold::new(rooms());
        let (old, from) = mpsc::unbounded_channel();
        let (new, _from) = mpsc::unbounded_channel();
        for number in 1..=3 {
            cold.insert(
                number,
                brief(number, 1),
                &handle(1),
                vec![reply(1, &old, number)],
                None,
            );
        }
        drop((old, from));
        for number in 1..=3 {
            cold.add_reply(number, reply(2, &new, 10 + number));
        }
        assert!(cold.replies.is_empty());
        assert_eq!(cold.clients.places.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(
            cold.remove(2)
                .unwrap()
                .replies
                .iter()
                .map(|reply| reply.id)
                .collect::<Vec<_>>(),
            [12]
        );
    }

    /// The bound that a million waiting files are counted with; keys and the writer's index come on
    /// top.
    #[test]
    fn a_file_costs_little_more_than_forty_bytes() {
        let rooms = rooms();
        let mut cold = Cold::new(rooms.clone());
        let ((to, _from), handle) = (mpsc::unbounded_channel(), handle(1));
        for number in 1..=100_000 {
            let room = take_room(&rooms, 6);
            cold.insert(
                number,
                brief(number, 1),
                &handle,
                vec![reply(1, &to, number)],
                room,
            );
        }
        assert!(cold.replies.is_empty() && cold.histories.is_empty() && cold.claims.is_empty());
        assert_eq!((cold.segments.len(), cold.clients.by_place.len()), (1, 1));
        assert!(
            cold.files.heap_bytes() / 100_000 <= 41,
            "{}",
            cold.files.heap_bytes() / 100_000
        );
    }
}
