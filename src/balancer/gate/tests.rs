use super::*;
use crate::queue::sim::SimDisk;

fn gate(files: usize, bytes: u64) -> Gate {
    Gate::new(
        QueueLimits { files, bytes },
        1024,
        Arc::new(SimDisk::new()),
        0,
        mpsc::unbounded_channel().0,
    )
}

#[tokio::test]
async fn room_is_bounded_in_files_and_bytes_and_comes_back() {
    let files = gate(2, 1 << 20);
    let rooms = [files.try_room(10).unwrap(), files.try_room(10).unwrap()];
    assert!(files.try_room(10).is_none());
    drop(rooms);
    assert!(files.try_room(10).is_some());

    let bytes = gate(1000, 1 << 20);
    let most = bytes.try_room(1 << 19).unwrap();
    assert!(bytes.try_room(1 << 19).is_none());
    assert!(bytes.try_room(1 << 18).is_some());
    drop(most);
    assert!(bytes.try_room(1 << 19).is_some());
}

#[tokio::test]
async fn a_queue_that_becomes_smaller_takes_nothing_until_it_fits_and_larger_again_takes_more() {
    let gate = gate(4, 1 << 20);
    let mut rooms: Vec<Room> = (0..4).map(|_| gate.try_room(10).unwrap()).collect();
    gate.set_limits(
        QueueLimits {
            files: 2,
            bytes: 1 << 19,
        },
        1024,
    );
    assert_eq!(gate.max_file(), max_file(1 << 19));
    tokio::task::yield_now().await;
    for _ in 0..2 {
        rooms.pop();
        tokio::task::yield_now().await;
        assert!(
            gate.try_room(10).is_none(),
            "{} of 2 files are there",
            rooms.len()
        );
    }
    rooms.pop();
    rooms.push(gate.try_room(10).unwrap());
    assert!(gate.try_room(10).is_none());
    gate.set_limits(
        QueueLimits {
            files: 3,
            bytes: 1 << 20,
        },
        1024,
    );
    rooms.push(gate.try_room(10).unwrap());
    assert!(gate.try_room(10).is_none());
    assert!(gate.trouble().unwrap().contains("3 of 3 files wait"));
    drop(rooms);
    assert_eq!(gate.trouble(), None);
    let most = gate.try_room(1 << 19).unwrap();
    assert!(gate.try_room(1 << 19).is_none());
    drop(most);
}

#[tokio::test]
async fn a_file_that_can_never_pass_is_refused() {
    let gate = gate(10, 1 << 20);
    assert_eq!(gate.check(gate.max_file()), Ok(()));
    let refusal = gate.check(gate.max_file() + 1).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    assert!(gate.try_room(gate.max_file()).is_some());
}

#[tokio::test]
async fn a_full_disk_refuses_with_the_sizes_and_takes_files_again_when_it_has_room() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(100_000));
    let limits = QueueLimits {
        files: 10,
        bytes: 1 << 30,
    };
    let gate = Gate::new(
        limits,
        1024,
        Arc::new(disk.clone()),
        50_000,
        mpsc::unbounded_channel().0,
    );
    let reservations = [
        gate.reserve_disk(20_000, 0).unwrap(),
        gate.reserve_disk(20_000, 0).unwrap(),
    ];
    let refusal = gate.reserve_disk(20_000, 0).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Full);
    assert_eq!(gate.trouble(), None, "a smaller one fits");
    let rest = gate.reserve_disk(8_000, 0).unwrap();
    assert!(gate.trouble().unwrap().contains("disk is full"));
    drop(rest);
    assert!(
        refusal.reason.contains("19.5 KiB") && refusal.reason.contains("8.8 KiB"),
        "{}",
        refusal.reason
    );
    assert!(
        gate.reserve_disk(20_000, 19_000).is_ok(),
        "most of it is there already"
    );
    drop(reservations);
    assert!(gate.reserve_disk(20_000, 0).is_ok());
}

#[tokio::test]
async fn what_is_read_waits_for_the_journal_and_goes_on_when_it_has_written() {
    use std::time::Duration;
    let gate = gate(1000, 1 << 30);
    let take = async || {
        let mut reservation = gate.reserve_disk(60_000, 0).unwrap();
        gate.wait_for_memory(&mut reservation, 60_000).await;
        reservation
    };
    let mut unwritten = Vec::new();
    while let Ok(reservation) = tokio::time::timeout(Duration::from_millis(20), take()).await {
        unwritten.push(reservation);
    }
    assert_eq!(
        unwritten.len() as u64,
        UNWRITTEN / (u64::from(cost(60_000)) * UNIT)
    );
    unwritten.pop();
    tokio::time::timeout(Duration::from_secs(10), take())
        .await
        .unwrap();
}

#[tokio::test]
async fn stalled_large_files_leave_room_for_others_whatever_they_announce() {
    let gate = gate(1000, 64 << 20);
    let most = gate.max_file();
    let first = gate.first_step(0, most);
    assert_eq!(first, (16 << 20) / 64);
    let mut stalled: Vec<Reserved> = (0..33)
        .map(|_| gate.try_reserve(first, most).unwrap())
        .collect();
    assert!(gate.try_grow(&mut stalled[0], 4 << 20, most));
    assert_eq!(stalled[0].bytes, 8 << 20);
    assert!(
        gate.try_reserve(first, most).is_none(),
        "they have their quarter"
    );
    assert!(gate.try_room(most).is_some(), "and no more");
}

/// Each holds a part, and none can have all: the turn goes round.
#[tokio::test]
async fn files_that_each_hold_a_part_get_the_rest_in_turn() {
    let gate = Arc::new(gate(1000, 16 << 20));
    let whole = gate.max_file();
    let mut files = Vec::new();
    while let Some(reserved) = gate.try_reserve(700_000, whole) {
        files.push(reserved);
    }
    let count = files.len();
    let tasks: Vec<_> = files
        .into_iter()
        .map(|mut reserved| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let mut came = 700_000;
                while came < whole {
                    if !gate.try_grow(&mut reserved, came, whole) {
                        gate.grow(&mut reserved, came, whole).await.unwrap();
                    }
                    tokio::task::yield_now().await;
                    came = reserved.bytes;
                }
            })
        })
        .collect();
    assert_eq!(count, 5);
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(10), task).await;
        ended.expect("nobody waits for ever").unwrap();
    }
    let rooms = gate.rooms().bytes.available_permits() as u64;
    assert_eq!(rooms, (16 << 20) / UNIT, "all came back");
}
