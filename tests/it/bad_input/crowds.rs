//! Many bad clients at once, and clients that do not read their answers.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bilico_testkit::{Farm, PREFACE, Wire, frame, put, sized, wait_until};
use serde_json::json;

use super::peers::{CLIENT_HELLO, offer, write_until_stuck};

#[test]
fn silent_and_garbled_connections_do_not_hinder_an_honest_client() {
    let farm = Farm::start(&[2, 1]);
    let mut silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&farm.balancer.address).unwrap())
        .collect();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        // Xorshift: the same garbage in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let garbage: Vec<Vec<u8>> = (0..50)
        .map(|_| (0..2000).flat_map(|_| random()).collect())
        .collect();
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..200 {
        fs::write(folder.join(file.to_string()), format!("file {file}")).unwrap();
    }
    let output = std::thread::scope(|scope| {
        let sending = scope.spawn(|| farm.send(&["-r", folder.to_str().unwrap()]));
        for (place, garbage) in garbage.iter().enumerate() {
            let mut wire = Wire::connect(&farm.balancer.address);
            // A third of them send a valid greeting first.
            match place % 3 {
                0 => {}
                1 => offer(&mut wire, &[&PREFACE[..], CLIENT_HELLO].concat()),
                _ => offer(&mut wire, b"{"),
            }
            offer(&mut wire, garbage);
            wire.rest();
        }
        sending.join().unwrap()
    });
    assert!(output.status.success(), "{output:?}");
    let stored = farm.all_stored();
    assert_eq!(stored.len(), 200);
    for (name, content) in stored {
        assert_eq!(
            content,
            format!("file {}", name.split_once('_').unwrap().1).as_bytes()
        );
    }
    for stream in &mut silent {
        stream.set_nonblocking(true).unwrap();
        let read = stream.read(&mut [0]);
        assert!(
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "it was closed too early"
        );
    }
}

#[test]
fn a_client_that_never_reads_its_receipts_costs_bounded_memory() {
    let farm = Farm::with(&[1], &[], &["--stall-timeout", "5m"]);
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..50 {
        fs::write(folder.join(file.to_string()), "honest").unwrap();
    }
    let folder = folder.to_str().unwrap();
    assert!(farm.send(&["-r", folder]).status.success());
    let before = farm.balancer.resident();

    let mut deaf = Wire::native(&farm.balancer.address);
    let files = sized(8_000, 20_000);
    let mut writing = Wire(deaf.0.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..files {
                writing.write(&frame(&put(id, "deaf"), b"x"));
            }
        });
        // The balancer reads all of it, or stops reading.
        let mut accepted = (0, Instant::now());
        wait_until("the flood to end or to stand still", || {
            let now = farm.status().accepted;
            if now != accepted.0 {
                accepted = (now, Instant::now());
            }
            now == files + 50 || accepted.1.elapsed() > Duration::from_secs(1)
        });
        assert!(farm.send(&["-r", folder]).status.success(), "others go on");
        check_grown(&farm, before);

        // Once the client reads, it gets all of them.
        let mut receipts = (0, 0);
        while receipts.1 < files {
            let (header, _) = deaf.frame().expect("the connection is still there");
            receipts.0 += u64::from(header.contains(r#""request_type":"accepted""#));
            receipts.1 += u64::from(header.contains(r#""request_type":"delivered""#));
        }
        assert_eq!(receipts, (files, files));
    });
    farm.wait_for_delivered(files + 100);
}

/// Reads so many status reports, which nobody has read yet.
#[track_caller]
fn read_reports(deaf: &mut Wire, reports: usize) {
    for _ in 0..reports {
        let (header, report) = deaf.frame().expect("the connection is still there");
        assert!(
            header.contains("status") && report.starts_with(b"{"),
            "{header}"
        );
    }
}

/// Checks that the balancer does not hold much more than it did before.
#[track_caller]
fn check_grown(farm: &Farm, before: u64) {
    let grown = farm.balancer.resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more for what is not read");
}

#[test]
fn a_client_that_never_reads_its_answers_is_not_read_until_it_does() {
    let farm = Farm::with(&[1], &[], &["--stall-timeout", "5m"]);
    let before = farm.balancer.resident();
    let mut deaf = Wire::native(&farm.balancer.address);
    // Long requests, so that few of them wait in the kernel.
    let request = frame(
        &json!({"request_type": "status", "more": "x".repeat(1000)}).to_string(),
        b"",
    );
    let flood = request.repeat(64 * 1024);
    let written = write_until_stuck(&mut deaf, &flood);
    assert!(written < flood.len(), "it is read from for ever");
    check_grown(&farm, before);
    let mut other = Wire::native(&farm.balancer.address);
    other.write(&frame(&put(1, "x"), b"x"));
    other.frame_of("delivered");

    read_reports(&mut deaf, written / request.len());
}

/// Regression: thousands of answers waited for a client that read none, and with many servers each
/// of them is long.
#[test]
fn a_client_has_one_question_at_a_time() {
    let servers: Vec<String> = (1..=200).map(|n| format!("127.1.0.{n}:9")).collect();
    let flags = ["--stall-timeout", "5m", "--probe-interval", "1m"];
    let farm = Farm::over(&servers, &flags);
    let mut deaf = Wire::native(&farm.balancer.address);
    // Long requests, so that few of them wait in the kernel, and still answers of 30 MB in all.
    let request = frame(
        &json!({"request_type": "status", "more": "x".repeat(8000)}).to_string(),
        b"",
    );
    deaf.write(&request);
    let (_, report) = deaf.frame().unwrap();
    assert!(report.len() > 40_000, "{} bytes are not long", report.len());
    let before = farm.balancer.resident();
    let flood = request.repeat(2 * 1024);
    let written = write_until_stuck(&mut deaf, &flood);
    assert!(written < flood.len(), "it is read from for ever");
    check_grown(&farm, before);
    read_reports(&mut deaf, written / request.len());
}

/// Regression: each search held everything up for as long as it took, and a peer could have a
/// thousand of them wait.
#[test]
fn searches_do_not_hold_up_files() {
    let farm = Farm::start(&[1]);
    let mut many = Wire::native(&farm.balancer.address);
    let files = 4_000;
    for id in 0..files {
        many.write(&frame(
            &put(id, &format!("{id}-{}", "long title ".repeat(150))),
            b"x",
        ));
        if id % 1000 == 999 {
            for _ in 0..1000 {
                many.frame_of("delivered");
            }
        }
    }
    let admin = farm.balancer.admin.as_deref().unwrap();
    let request = format!("GET /api/v1/files?title=nothing HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let searching: Vec<Wire> = (0..200)
        .map(|_| {
            let mut wire = Wire::connect(admin);
            wire.write(request.repeat(50).as_bytes());
            wire
        })
        .collect();
    let mut honest = Wire::native(&farm.balancer.address);
    let started = Instant::now();
    for id in 0..5 {
        honest.write(&frame(&put(id, "honest"), b"x"));
        honest.frame_of("delivered");
    }
    let took = started.elapsed();
    println!("five files took {took:?} beside {} peers", searching.len());
    assert!(took < Duration::from_secs(5), "five files took {took:?}");
}
