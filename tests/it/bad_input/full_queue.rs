//! A full queue makes clients wait, tells them why, and drops nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use bilico_testkit::{DEADLINE, Farm, Wire, frame, old_style_put, put, wait_for_line, wait_until};
use serde_json::Value;

use super::peers::{is_of, titles, write_until_stuck};

#[test]
fn a_full_queue_makes_native_clients_wait_and_tells_them_why() {
    let mut farm = Farm::with_dead_servers(&[1], &["--queue-files", "5"]);
    let mut wire = Wire::native(&farm.balancer.address);
    for id in 1..=6 {
        wire.write(&frame(&put(id, &id.to_string()), id.to_string().as_bytes()));
    }
    let mut told = (BTreeSet::new(), None);
    while told.0.len() < 5 || told.1.is_none() {
        let header: Value = serde_json::from_str(&wire.frame().unwrap().0).unwrap();
        if is_of(&header, "accepted") {
            told.0.insert(header["id"].as_u64().unwrap());
        } else {
            assert!(is_of(&header, "waiting"), "{header}");
            told.1 = Some(header);
        }
    }
    assert_eq!(told.0, (1..=5).collect());
    let waiting = told.1.unwrap();
    let reason = waiting["reason"].as_str().unwrap();
    assert!(
        reason.contains("full") && reason.contains("5 of 5"),
        "{reason}"
    );
    wait_for_line(|| farm.log(), &["not reading from clients", "full"]);

    // The balancer reads no more: the buffers of the kernel hold far less than this.
    let resident = farm.balancer.resident();
    let size = 256 * 1024;
    let last = 6 + 256;
    let rest: Vec<u8> = (7..=last)
        .flat_map(|id| frame(&put(id, &id.to_string()), &vec![b'x'; size]))
        .collect();
    let written = write_until_stuck(&mut wire, &rest);
    assert!(written < rest.len(), "64 MiB were read past a full queue");
    assert_eq!(farm.status().accepted, 5);
    assert!(
        farm.balancer.resident() < resident + (16 << 20),
        "what is not read is not held"
    );

    // Files that were begun are finished, and no new ones are sent.
    let frame_len = |id: u64| frame(&put(id, &id.to_string()), &vec![b'x'; size]).len();
    let (mut end, mut sent) = (0, 6);
    while end < written {
        sent += 1;
        end += frame_len(sent);
    }
    farm.servers[0].restart();
    let mut other_half = Wire(wire.0.try_clone().unwrap());
    let mut resumed = false;
    std::thread::scope(|scope| {
        scope.spawn(|| other_half.write(&rest[written..end]));
        let mut delivered = BTreeSet::new();
        while delivered.len() < usize::try_from(sent).unwrap() {
            let (header, _) = wire.frame().unwrap();
            let header: Value = serde_json::from_str(&header).unwrap();
            resumed |= is_of(&header, "resumed");
            assert!(
                !is_of(&header, "refused") && !is_of(&header, "bye"),
                "{header}"
            );
            if is_of(&header, "delivered") {
                assert!(
                    delivered.insert(header["id"].as_u64().unwrap()),
                    "{header} came twice"
                );
            }
        }
    });
    assert!(resumed);
    let stored = farm.stored(0);
    assert_eq!(stored.len() as u64, sent);
    for (name, content) in stored {
        let id: u64 = name.split_once('_').unwrap().1.parse().unwrap();
        assert!(
            if id <= 6 {
                content == id.to_string().as_bytes()
            } else {
                content == vec![b'x'; size]
            },
            "{name}"
        );
    }
}

#[test]
fn a_full_queue_makes_old_style_clients_wait() {
    let mut farm = Farm::with_dead_servers(&[1], &["--queue-files", "5"]);
    let mut wire = Wire::connect(&farm.balancer.address);
    let content = "è".repeat(100_000);
    let documents: Vec<String> = (0..300)
        .map(|file| old_style_put(&file.to_string(), &content))
        .collect();
    let all = documents.concat();
    let written = write_until_stuck(&mut wire, all.as_bytes());
    assert!(written < all.len(), "60 MB were read past a full queue");
    wait_until("five to be accepted", || farm.status().accepted == 5);
    let (mut end, mut sent) = (0, 0);
    while end < written {
        end += documents[sent].len();
        sent += 1;
    }
    assert_eq!(farm.status().accepted, 5, "it is not read from");
    farm.servers[0].restart();
    wire.write(&all.as_bytes()[written..end]);
    drop(wire);
    farm.wait_for_delivered(sent as u64);
    let stored = titles(farm.stored(0));
    assert_eq!(stored.len(), sent);
    assert!(stored.values().all(|stored| stored == content.as_bytes()));
}

/// Large files wait in two places: before they are read, and for room in the queue. In each the
/// client is told why.
#[test]
fn each_client_that_waits_for_a_full_queue_is_told_why() {
    let mut farm =
        Farm::with_dead_servers(&[1], &["--queue-bytes", "1MiB", "--max-json", "100KiB"]);
    let large = |id| frame(&put(id, "large"), &vec![b'x'; 400 << 10]);
    let mut filler = Wire::native(&farm.balancer.address);
    for id in 1..=2 {
        filler.write(&large(id));
        filler.frame_of("accepted");
    }
    let mut waiting: Vec<Wire> = (0..3)
        .map(|_| Wire::native(&farm.balancer.address))
        .collect();
    for wire in &mut waiting {
        wire.write(&large(1));
        wire.0
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let told = wire.frame_of("waiting");
        assert!(told.contains("full"), "{told}");
    }
    farm.servers[0].restart();
    for wire in &mut waiting {
        wire.0.set_read_timeout(Some(DEADLINE)).unwrap();
        wire.frame_of("resumed");
        wire.frame_of("delivered");
    }
    assert_eq!(farm.stored(0).len(), 5);
}
