//! What a client announces holds little before it comes, and a client that has gone waits no more.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bilico_testkit::{
    Client, Farm, Served, Wire, frame, http_raw, noise, old_style_put, old_style_store, put,
    wait_for_line, wait_until,
};

use super::peers::{frame_declaring, peer_of};

const MIB: usize = 1 << 20;

/// How long an honest client takes at most beside those that trickle, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A queue in which 31 MiB are about the largest file.
const QUEUE: [&str; 4] = ["--queue-bytes", "64MiB", "--max-json", "1MiB"];

/// Runs `honest` while these connections bring a byte every now and then.
fn beside(tricklers: &[Wire], honest: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trickle = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for wire in tricklers {
                    let _ = (&wire.0).write_all(b"x");
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let honest = std::panic::catch_unwind(std::panic::AssertUnwindSafe(honest));
        done.store(true, Ordering::Relaxed);
        trickle.join().unwrap();
        honest.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Native clients that have each announced a file of so many bytes and sent a little of it.
fn announcers(farm: &Farm, count: usize, size: usize) -> Vec<Wire> {
    let begin = frame_declaring(&put(1, "announced"), size as u64, b"a little");
    let begin_one = |_| {
        let mut wire = Wire::native(&farm.balancer.address);
        wire.write(&begin);
        wire
    };
    (0..count).map(begin_one).collect()
}

/// One `put` that announced as much as it may and trickled took leave to read for all of it: every
/// file over 64 KiB waited for as long as it trickled.
#[test]
fn natives_that_announce_much_and_trickle_hold_up_nobody() {
    let farm = Farm::with(&[1], &[], &QUEUE);
    let tricklers = announcers(&farm, 10, 31 * MIB);
    let journal = farm.dir.path().join("journal");
    wait_until("a trickler to be read", || {
        !bilico_testkit::names_with(&journal, "part-").is_empty()
    });
    beside(&tricklers, || {
        let started = Instant::now();
        for id in 1..=3 {
            let mut honest = Client::connect(&farm.balancer.address);
            honest.put(id, None, &noise(id, 20 * MIB));
            honest.expect("delivered", id);
        }
        let answer = hand_over(&farm, &noise(9, MIB));
        assert_eq!(answer, 200);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    });
}

/// The HTTP doorway takes a file, and this is its status.
fn hand_over(farm: &Farm, content: &[u8]) -> u16 {
    let admin = farm.balancer.admin.as_ref().unwrap();
    let size = content.len();
    let head = format!(
        "PUT /files/web?wait=delivered HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\
         Content-Length: {size}\r\n\r\n"
    );
    http_raw(admin, &[head.as_bytes(), content].concat()).status
}

/// The same over HTTP, where a body of known size reserved as much.
#[test]
fn bodies_that_announce_much_and_trickle_hold_up_nobody() {
    let farm = Farm::with(&[1], &[], &QUEUE);
    let admin = farm.balancer.admin.as_ref().unwrap();
    let head = format!(
        "PUT /files/announced HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {}\r\n\r\na little",
        31 * MIB
    );
    let begin_one = |_| {
        let mut wire = Wire::connect(admin);
        wire.write(head.as_bytes());
        wire
    };
    let tricklers: Vec<Wire> = (0..10).map(begin_one).collect();
    let journal = farm.dir.path().join("journal");
    wait_until("they to be read", || {
        !bilico_testkit::names_with(&journal, "part-").is_empty()
    });
    beside(&tricklers, || {
        let started = Instant::now();
        let mut honest = Client::connect(&farm.balancer.address);
        honest.put(1, None, &noise(1, 20 * MIB));
        honest.expect("delivered", 1);
        assert_eq!(hand_over(&farm, &noise(2, MIB)), 200);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    });
}

/// Four slow objects took leave to be in memory for four of the largest, which is all there is.
#[test]
fn objects_that_trickle_hold_up_no_other_object() {
    let farm = Farm::start(&[1]);
    let begin = format!(r#"{{"titolo": "{}"#, "x".repeat(300_000));
    let begin_one = |_| {
        let mut wire = Wire::connect(&farm.balancer.address);
        wire.write(begin.as_bytes());
        wire
    };
    let tricklers: Vec<Wire> = (0..8).map(begin_one).collect();
    // Each is past what small objects need no leave for; nothing outside shows it.
    std::thread::sleep(Duration::from_millis(500));
    beside(&tricklers, || {
        let started = Instant::now();
        let mut honest = Wire::connect(&farm.balancer.address);
        for size in [200_000, 40 * MIB] {
            honest.write(old_style_put("honest", &"y".repeat(size)).as_bytes());
        }
        farm.wait_for_delivered(2);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    });
}

/// The same at a file server, where old-style balancers bring theirs.
#[test]
fn documents_that_trickle_hold_up_no_other_document_at_a_server() {
    let lone = Served::start();
    let begin = format!(r#"{{"titolo": "{}"#, "x".repeat(300_000));
    let begin_one = |_| {
        let mut wire = Wire::connect(&lone.role.address);
        wire.write(begin.as_bytes());
        wire
    };
    let tricklers: Vec<Wire> = (0..8).map(begin_one).collect();
    // Each is past what small documents need no leave for; nothing outside shows it.
    std::thread::sleep(Duration::from_millis(500));
    beside(&tricklers, || {
        let started = Instant::now();
        for (number, size) in [(1, 200_000), (2, 40 * MIB)] {
            let mut honest = Wire::connect(&lone.role.address);
            honest.write(old_style_store(number, "honest", &"y".repeat(size)).as_bytes());
        }
        wait_until("both to be stored", || lone.names().len() == 2);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    });
}

/// Each holds a part of its room and needs more while the others do, too: they get it in turn.
#[test]
fn honest_uploads_that_do_not_fit_together_all_get_through() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "16MiB", "--max-json", "1MiB"]);
    let content: Vec<Vec<u8>> = (0..6).map(|n| noise(n, 16 * MIB / 3)).collect();
    let halves: Vec<_> = content
        .iter()
        .map(|content| content.split_at(content.len() / 5))
        .collect();
    let mut clients: Vec<Wire> = (0..6)
        .map(|_| Wire::native(&farm.balancer.address))
        .collect();
    std::thread::scope(|scope| {
        for (wire, (content, (first, rest))) in clients.iter_mut().zip(content.iter().zip(halves)) {
            scope.spawn(move || {
                let whole = frame(&put(1, "honest"), content);
                let head = &whole[..whole.len() - content.len() - 4];
                wire.write(&[head, first].concat());
                // So that all have begun before the first goes on: a pause is part of the input.
                std::thread::sleep(Duration::from_secs(1));
                wire.write(rest);
                wire.write(&whole[whole.len() - 4..]);
                wire.frame_of("delivered");
            });
        }
    });
    let mut stored: Vec<Vec<u8>> = farm.stored(0).into_values().collect();
    let mut sent = content;
    stored.sort_unstable();
    sent.sort_unstable();
    assert!(stored == sent, "each once, and whole");
}

/// It waited on, and those behind it with it, for nobody looked whether it was still there.
#[test]
fn a_client_that_goes_away_leaves_the_line() {
    let mut farm = Farm::with_dead_servers(&[1], &["--queue-files", "2"]);
    let mut filler = Client::connect(&farm.balancer.address);
    for id in 1..=2 {
        filler.put_accepted(id, None, b"x");
    }
    for (size, came) in [(1000, 10), (30_000_000, 30_000)] {
        let mut gone = Wire::native(&farm.balancer.address);
        gone.write(&frame_declaring(&put(1, "gone"), size, &vec![b'x'; came]));
        gone.frame_of("waiting");
        let peer = peer_of(&gone);
        drop(gone);
        wait_for_line(|| farm.log(), &["connection closed", &peer]);
    }
    // One that has sent all of its file and closed its half is still served.
    let mut patient = Wire::native(&farm.balancer.address);
    patient.write(&frame(&put(1, "patient"), b"all of it"));
    patient.0.shutdown(std::net::Shutdown::Write).unwrap();
    patient.frame_of("waiting");
    farm.servers[0].restart();
    patient.frame_of("accepted");
    farm.wait_for_delivered(3);
}
