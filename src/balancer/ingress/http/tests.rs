use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

use super::arriving::{HttpUpload, UploadBody};
use crate::access::Lock;
use crate::balancer::gate::Gate;
use crate::balancer::ingress::Uploads;
use crate::balancer::ingress::door::{Door, Inner, Inside};
use crate::balancer::join::{Join, Joining};
use crate::balancer::messages::{Admission, Arrived, Declined, Sum, ToHub};
use crate::balancer::room::QueueLimits;
use crate::balancer::{BalancerLimits, Settings};
use crate::fleet::Fleet;
use crate::protocol::limits::MAX_LARGE_UPLOADS;
use crate::protocol::{Message, RefusalCode};
use crate::queue::disk::Disk;
use crate::queue::sim::SimDisk;
use crate::queue::{Durability, INLINE};
use crate::transport::ReadError;

const STALL: Duration = Duration::from_millis(300);

const PATIENCE: Duration = Duration::from_secs(5);

/// A doorway to a queue of so many bytes, its disk, and what comes to its hub.
fn door(queue: u64) -> (Inside, SimDisk, UnboundedReceiver<ToHub>) {
    let disk = SimDisk::new();
    let (hub, events) = mpsc::unbounded_channel();
    let settings = Settings {
        queue: QueueLimits {
            files: 10,
            bytes: queue,
        },
        stall: STALL,
        idle: STALL,
        max_json: 1024,
        ..Settings::default()
    };
    let limits = BalancerLimits {
        room_patience: PATIENCE,
        ..BalancerLimits::default()
    };
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let gate = Gate::new(
        settings.queue,
        settings.max_json,
        on.clone(),
        0,
        hub.clone(),
    );
    let uploads = Uploads::new(on, Durability::Disk, 100, hub.clone());
    let inner = Inner {
        gate: Arc::new(gate),
        uploads: Arc::new(uploads),
        hub,
    };
    let door = Door::new(
        Lock::off_at_balancer(),
        None,
        Joining::new(Fleet::default(), Join::None),
        inner,
        &settings,
        limits,
    );
    let inside = door.enter(Lock::own().allow().unwrap());
    (inside, disk, events)
}

/// A body that brings these pieces, then ends, or stops.
struct Pieces {
    left: VecDeque<Bytes>,
    ends: bool,
}

impl UploadBody for Pieces {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        // Others get their turn between two pieces.
        tokio::task::yield_now().await;
        match self.left.pop_front() {
            None if !self.ends => std::future::pending().await,
            piece => Ok(piece),
        }
    }
}

fn upload(size: Option<u64>, pieces: impl IntoIterator<Item = usize>) -> HttpUpload<Pieces> {
    let left = pieces
        .into_iter()
        .map(|len| Bytes::from(vec![b'x'; len]))
        .collect();
    let body = Pieces { left, ends: true };
    HttpUpload {
        title: "t".to_owned(),
        key: None,
        size,
        claims: Vec::new(),
        body,
    }
}

fn admitted(events: &mut UnboundedReceiver<ToHub>) -> Box<Admission> {
    match events.try_recv() {
        Ok(ToHub::Admit(admission, _)) => admission,
        other => panic!("{other:?}"),
    }
}

async fn assert_untouched(door: &Inside, disk: &SimDisk, queue: u64) {
    assert_eq!(disk.list().unwrap().len(), 0, "nothing is left on the disk");
    let rooms = door.gate().rooms();
    assert_eq!(
        (
            rooms.files.available_permits(),
            rooms.bytes.available_permits() as u64
        ),
        (10, queue / 256)
    );
    let most = door.gate().max_file();
    assert!(door.gate().try_room(most).is_some());
    // What the disk has is asked for now and then only.
    tokio::time::timeout(Duration::from_secs(10), door.gate().wait_for_disk(most))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_file_of_unknown_size_takes_as_much_room_as_one_of_known_size() {
    for pieces in [
        vec![],
        vec![0, 5, 0],
        vec![65_536],
        vec![65_536, 1],
        vec![40_000; 20],
        vec![3 << 20, 1, 3 << 20],
    ] {
        let (size, mut units) = (pieces.iter().sum::<usize>() as u64, Vec::new());
        for declared in [Some(size), None] {
            let (door, disk, mut events) = door(64 << 20);
            let receipts = door
                .receive(upload(declared, pieces.clone()))
                .await
                .unwrap();
            let admission = admitted(&mut events);
            let content = vec![b'x'; usize::try_from(size).unwrap()];
            assert_eq!((receipts.size, admission.size), (size, size));
            assert_eq!(
                (receipts.crc32c, admission.crc32c),
                (crc32c::crc32c(&content), crc32c::crc32c(&content))
            );
            match &admission.content {
                Arrived::Memory(bytes) => assert!(*bytes == content && size <= INLINE),
                Arrived::Own(_) => assert!(size > INLINE && disk.list().unwrap()[0].len == size),
            }
            units.push(door.gate().rooms().bytes.available_permits());
            let own = disk.list().unwrap();
            drop(admission);
            for entry in own {
                disk.remove(&entry.name).unwrap();
            }
            assert_untouched(&door, &disk, 64 << 20).await;
        }
        assert_eq!(units[0], units[1], "{pieces:?}");
    }
}

#[tokio::test]
async fn a_file_that_turns_out_to_be_too_large_leaves_nothing() {
    let (door, disk, mut events) = door(1 << 20);
    for key in [None, Some("key".to_owned())] {
        let upload = HttpUpload {
            key,
            ..upload(None, [100_000; 6])
        };
        let error = door.receive(upload).await.unwrap_err();
        assert!(
            matches!(&error, ReadError::Refused(refusal) if refusal.code == RefusalCode::TooLarge),
            "{error:?}"
        );
        assert!(events.try_recv().is_err());
        assert_untouched(&door, &disk, 1 << 20).await;
    }
}

#[tokio::test]
async fn files_that_grow_do_not_wait_for_each_other_for_ever() {
    let (door, disk, _events) = door(1 << 20);
    let grow = || door.receive(upload(None, [10_000; 45]));
    let (one, two, three) = tokio::join!(grow(), grow(), grow());
    let ends = [one, two, three].map(|received| match received {
        Ok(_) => "taken".to_owned(),
        Err(ReadError::Refused(refusal)) => refusal.code.to_string(),
        Err(other) => panic!("{other:?}"),
    });
    assert!(ends.iter().any(|end| end == "busy"), "{ends:?}");
    assert!(
        disk.list()
            .unwrap()
            .iter()
            .all(|entry| !entry.name.starts_with("part-"))
    );
}

#[tokio::test]
async fn a_file_that_stops_half_way_is_given_up_and_leaves_nothing() {
    for (size, pieces) in [
        (Some(1 << 20), vec![100_000]),
        (None, vec![100_000]),
        (Some(1000), vec![10]),
        (None, vec![]),
    ] {
        let (door, disk, _events) = door(8 << 20);
        let mut upload = upload(size, pieces);
        upload.body.ends = false;
        let started = Instant::now();
        let error = door.receive(upload).await.unwrap_err();
        assert!(matches!(error, ReadError::Stalled(STALL)), "{error:?}");
        assert!(started.elapsed() >= STALL);
        assert_untouched(&door, &disk, 8 << 20).await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_refused() {
    for (size, pieces) in [
        (10, vec![5]),
        (10, vec![5, 6]),
        (1 << 20, vec![1000]),
        (100_000, vec![60_000, 60_000]),
    ] {
        let (door, disk, mut events) = door(8 << 20);
        let error = door.receive(upload(Some(size), pieces)).await.unwrap_err();
        assert!(matches!(error, ReadError::Protocol(_)), "{error:?}");
        assert!(events.try_recv().is_err());
        assert_untouched(&door, &disk, 8 << 20).await;
    }
}

async fn declined(events: &mut UnboundedReceiver<ToHub>) -> Declined {
    match events.recv().await {
        Some(ToHub::Refuse(declined, _)) => declined,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_room_for_a_while_and_is_refused() {
    let (door, _disk, mut events) = door(1 << 20);
    let full = [
        door.gate().try_room(500_000).unwrap(),
        door.gate().try_room(500_000).unwrap(),
    ];
    let started = Instant::now();
    let error = door
        .receive(upload(Some(50_000), [50_000]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ReadError::Refused(refusal) if refusal.code == RefusalCode::Busy),
        "{error:?}"
    );
    assert_eq!(started.elapsed().as_secs(), PATIENCE.as_secs());
    let keyed = HttpUpload {
        key: Some("key".to_owned()),
        ..upload(Some(50_000), [50_000])
    };
    let content = vec![b'x'; 50_000];
    let (receipts, ()) = tokio::join!(door.receive(keyed), async {
        let Declined {
            sum: Sum::Unread(back),
            refusal,
            reply,
            ..
        } = declined(&mut events).await
        else {
            panic!("read")
        };
        back.send((refusal, reply)).unwrap();
        let Declined {
            sum: Sum::Known(sum),
            reply,
            ..
        } = declined(&mut events).await
        else {
            panic!("unread")
        };
        assert_eq!(sum, crc32c::crc32c(&content));
        reply.send(|id| Message::Accepted { id, number: 7 });
    });
    let mut receipts = receipts.unwrap();
    assert_eq!(receipts.crc32c, crc32c::crc32c(&content));
    assert_eq!(receipts.accepted().await, Ok(7), "it came before");
    let (taken, ()) = tokio::join!(door.receive(upload(Some(50_000), [50_000])), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(full);
    });
    assert!(taken.is_ok());
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_places_for_large_files_and_small_ones_need_none() {
    let (door, disk, mut events) = door(8 << 20);
    let places: Vec<_> = (0..MAX_LARGE_UPLOADS)
        .map(|_| door.uploads().try_place().unwrap())
        .collect();
    for (size, waits) in [(Some(100_000), PATIENCE), (None, Duration::ZERO)] {
        let started = Instant::now();
        let error = door
            .receive(upload(size, [50_000, 50_000]))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ReadError::Refused(refusal) if refusal.code == RefusalCode::Busy),
            "{error:?}"
        );
        assert_eq!(started.elapsed().as_secs(), waits.as_secs());
    }
    drop(door.receive(upload(None, [50_000])).await.unwrap());
    drop(admitted(&mut events));
    assert_untouched(&door, &disk, 8 << 20).await;
    drop(places);
    door.receive(upload(None, [50_000, 50_000])).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fills_up_ends_the_upload_at_once() {
    let (door, disk, mut events) = door(8 << 20);
    disk.set_capacity(Some(600_000));
    let error = door.receive(upload(None, [100_000; 20])).await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Refused(refusal) if refusal.code == RefusalCode::Full),
        "{error:?}"
    );
    assert!(events.try_recv().is_err());
    disk.set_capacity(None);
    assert_untouched(&door, &disk, 8 << 20).await;
}

#[tokio::test]
async fn a_stopping_balancer_takes_nothing() {
    let (door, _disk, _events) = door(8 << 20);
    door.shutdown.draining.cancel();
    let error = door.receive(upload(Some(1), [1])).await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Refused(refusal) if refusal.code == RefusalCode::Stopping),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_under_way_when_the_hub_ends_is_refused() {
    let (door, disk, _events) = door(8 << 20);
    let mut upload = upload(None, [100_000]);
    upload.body.ends = false;
    let (received, ()) = tokio::join!(door.receive(upload), async { door.shutdown.ended.cancel() });
    let error = received.unwrap_err();
    assert!(
        matches!(&error, ReadError::Refused(refusal) if refusal.code == RefusalCode::Stopping),
        "{error:?}"
    );
    assert_untouched(&door, &disk, 8 << 20).await;
}
