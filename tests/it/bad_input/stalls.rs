//! Peers that stall are closed after a deadline, and others go on.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use bilico_testkit::{
    Farm, PREFACE, Served, Wire, frame, old_style_put, put, stored, uninterrupted, wait_for_line,
    wait_until,
};
use serde_json::json;

use super::peers::{
    CLIENT_HELLO, frame_declaring, frames_to_the_end, head, is_of, link, peer_of, store, titles,
};

const STALL: Duration = Duration::from_millis(500);

const IDLE: Duration = Duration::from_millis(700);

/// The longest time until a stalled connection is closed, on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

const IMPATIENT: [&str; 4] = ["--stall-timeout", "500ms", "--idle-timeout", "700ms"];

/// A peer that stalls.
struct Stall {
    what: &'static str,
    begins: Vec<u8>,
    /// Bytes that it then sends for ever, one every 100 ms.
    trickles: &'static [u8],
    after: Duration,
    reason: &'static str,
}

impl Stall {
    fn new(what: &'static str, begins: impl Into<Vec<u8>>) -> Self {
        Self {
            what,
            begins: begins.into(),
            trickles: b"",
            after: STALL,
            reason: "stalled",
        }
    }

    fn trickling(self, trickles: &'static [u8]) -> Self {
        Self { trickles, ..self }
    }

    fn idle(self) -> Self {
        Self {
            after: IDLE,
            reason: "silent",
            ..self
        }
    }

    /// Stalls until the other end closes. Returns its own address.
    fn play(&self, address: &str) -> String {
        // Before the connection: the other end's clock may run before `connect` returns here.
        let started = Instant::now();
        let mut wire = Wire::connect(address);
        wire.write(&self.begins);
        wire.0
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut trickle = self.trickles.iter().cycle();
        let mut buffer = [0; 4096];
        loop {
            match uninterrupted(|| wire.0.read(&mut buffer)) {
                // A greeting, or last words.
                Ok(1..) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    // The pause is part of the input. Now comes the next byte.
                    trickle.next().map(|byte| wire.0.write_all(&[*byte]));
                }
                Ok(0) | Err(_) => break,
            }
            assert!(started.elapsed() < LONGEST, "{}: still open", self.what);
        }
        let elapsed = started.elapsed();
        assert!(
            elapsed >= self.after,
            "{}: closed after {elapsed:?}",
            self.what
        );
        peer_of(&wire)
    }
}

/// Peers that stall at either port, where files come in with headers like `header(number, title)`
/// after this hello.
fn stalls(role: &str, header: fn(u64, &str) -> String) -> Vec<Stall> {
    let hello = frame(
        &json!({"request_type": "hello", "role": role}).to_string(),
        b"",
    );
    let greeted = |then: &[u8]| [&PREFACE[..], &hello, then].concat();
    let cut_off =
        |size: u64, came: usize| frame_declaring(&header(1, "half"), size, &vec![b'x'; came]);
    vec![
        Stall::new("nothing at all", "").idle(),
        Stall::new("half a preface", &PREFACE[..4]),
        Stall::new("a preface and no hello", PREFACE).idle(),
        Stall::new("half a hello", [&PREFACE[..], &hello[..20]].concat()),
        Stall::new("half a head", greeted(&head(10)[..6])),
        Stall::new(
            "half a header",
            greeted(&frame(&header(1, "half"), b"")[..25]),
        ),
        Stall::new("half its content", greeted(&cut_off(1000, 500))),
        Stall::new("half of much content", greeted(&cut_off(400_000, 300_000))),
        Stall::new("content and no checksum", greeted(&cut_off(1000, 1000))),
        Stall::new("half an object", r#"{"titolo": "half"#),
        Stall::new(
            "half of a large object",
            format!(r#"{{"titolo": "{}"#, "x".repeat(80_000)),
        ),
        Stall::new("a header byte by byte", greeted(b""))
            .trickling(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Stall::new("content byte by byte", greeted(&cut_off(1000, 1))).trickling(b"x"),
        Stall::new("an object byte by byte", "{").trickling(b"\""),
    ]
}

#[test]
fn stalled_clients_are_closed_and_others_go_on() {
    let farm = Farm::with(&[1], &[], &IMPATIENT);
    let mut stalls = stalls("client", put);
    stalls.push(
        Stall::new(
            "a client that only greets",
            [&PREFACE[..], CLIENT_HELLO].concat(),
        )
        .idle(),
    );
    stalls.push(
        Stall::new(
            "a client that falls silent",
            old_style_put("before", "kept"),
        )
        .idle(),
    );
    let mut honest = Wire::native(&farm.balancer.address);
    let mut sent = 1;
    std::thread::scope(|scope| {
        let playing: Vec<_> = stalls
            .iter()
            .map(|stall| scope.spawn(|| stall.play(&farm.balancer.address)))
            .collect();
        while !playing
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            honest.write(&frame(&put(sent, "honest"), b"honest"));
            honest.frame_of("delivered");
            sent += 1;
        }
        for (stall, peer) in stalls.iter().zip(playing) {
            wait_for_line(
                || farm.log(),
                &["connection closed", &peer.join().unwrap(), stall.reason],
            );
        }
    });
    farm.wait_for_delivered(sent);
    assert_eq!(
        titles(farm.stored(0)).into_keys().collect::<Vec<_>>(),
        ["before", "honest"]
    );
}

#[test]
fn stalled_balancers_are_closed_and_others_go_on() {
    let lone = Served::with(&IMPATIENT);
    let stalls = stalls("balancer", store);
    let mut honest = link(&lone.role.address);
    let mut number = 100;
    std::thread::scope(|scope| {
        let playing: Vec<_> = stalls
            .iter()
            .map(|stall| scope.spawn(|| stall.play(&lone.role.address)))
            .collect();
        while !playing
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            honest.write(&frame(&store(number, "honest"), b"honest"));
            honest.frame_of("stored");
            number += 1;
        }
        for (stall, peer) in stalls.iter().zip(playing) {
            wait_for_line(
                || lone.log(),
                &["connection closed", &peer.join().unwrap(), stall.reason],
            );
        }
    });
    assert_eq!(
        titles(stored(&lone.files_dir()))
            .into_keys()
            .collect::<Vec<_>>(),
        ["honest"]
    );
    wait_until("no unfinished file to be left", || {
        lone.role.unfinished(&lone.files_dir()) == 0
    });
}

/// A peer that sends only white space between two objects counts as silent.
#[test]
fn a_client_that_sends_only_white_space_is_closed() {
    let farm = Farm::with(&[1], &IMPATIENT, &IMPATIENT);
    std::thread::scope(|scope| {
        for role in [&farm.balancer, &farm.servers[0]] {
            scope.spawn(|| {
                Stall::new("white space byte by byte", "")
                    .trickling(b" ")
                    .idle()
                    .play(&role.address)
            });
        }
    });
}

#[test]
fn a_client_that_waits_for_receipts_is_not_closed() {
    let mut farm = Farm::with_dead_servers(&[1], &IMPATIENT);
    let mut wire = Wire::native(&farm.balancer.address);
    wire.write(&frame(&put(1, "first"), b"first"));
    wire.frame_of("accepted");
    // The silence is part of the input.
    std::thread::sleep(IDLE * 3);
    wire.write(&frame(&put(2, "second"), b"second"));
    wire.frame_of("accepted");
    farm.servers[0].restart();
    let delivered = [wire.frame_of("delivered"), wire.frame_of("delivered")];
    assert_eq!(farm.stored(0).len(), 2, "{delivered:?}");
    // Once no file is in flight, it is closed.
    assert!(is_of(frames_to_the_end(&mut wire).last().unwrap(), "bye"));
    wait_for_line(
        || farm.log(),
        &["connection closed", &peer_of(&wire), "silent"],
    );
}
