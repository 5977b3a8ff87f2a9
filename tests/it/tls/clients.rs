//! Clients and operators of a balancer with TLS.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use bilico_testkit::{PREFACE, Wire, frame, start_balancer, start_server, wait_until};

use super::place::{Place, REQUIRED};

#[test]
fn files_and_orders_go_over_tls_and_plain_text_is_told_why_not() {
    let place = Place::new();
    let (balancer, _server) = place.required();
    let (address, admin) = (&*balancer.address, balancer.admin.as_deref().unwrap());
    place.write("a.txt", "small");
    let large = bilico_testkit::noise(7, 3 << 20);
    place.write("b.bin", &large);
    let ca = ["--ca", "tls/ca.pem"];
    let command = ["send", "a.txt", "b.bin", "--balancer", address];
    let sent = place.run(&[&command[..], &ca].concat());
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let mut stored = place.stored(1);
    stored.sort_by_key(Vec::len);
    assert_eq!(stored, [b"small".to_vec(), large]);

    let refused = place.run(&command);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("this balancer requires TLS"),
        "{refused:?}"
    );
    place.wait_for_log(&["plain text is refused", "peer="]);

    let status = ["status", "--admin", admin];
    let named = format!("https://{admin}");
    for status in [status, ["status", "--admin", &named]] {
        let asked = place.run(&[&status[..], &ca].concat());
        assert_eq!(asked.code, Some(0), "{asked:?}");
    }
    let refused = place.run(&status);
    assert!(refused.stderr.contains("--ca"), "{refused:?}");

    let bench = [
        "bench",
        "--balancer",
        address,
        "--files",
        "300",
        "--size",
        "0,1KiB:50%,200KiB:5%",
    ];
    let measured = place.run(&[&bench[..], &ca].concat());
    assert_eq!(measured.code, Some(0), "{measured:?}");
}

#[test]
fn a_native_client_in_plain_text_gets_a_bye_and_an_old_style_one_is_closed() {
    let place = Place::new();
    let (balancer, _server) = place.required();
    let mut wire = Wire::connect(&balancer.address);
    wire.write(&PREFACE);
    wire.write(&frame(r#"{"request_type":"hello","role":"client"}"#, b""));
    let (bye, _) = wire.greeting();
    assert!(
        bye.contains(r#""code":"forbidden""#) && bye.contains("--tls"),
        "{bye}"
    );

    let mut wire = Wire::connect(&balancer.address);
    wire.write(br#"{"titolo":"t","contenuto":"c"}"#);
    let mut answer = Vec::new();
    let _ = wire.0.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    let mut wire = Wire::connect(&balancer.address);
    wire.write(b"\x16\x03\x01\x00\x05garbage behind what looks like TLS");
    let _ = wire.0.read_to_end(&mut answer);
    place.wait_for_log(&["connection closed", "no TLS with this peer"]);
    assert!(place.stored(1).is_empty());
}

#[test]
fn where_tls_is_optional_both_come_in() {
    let place = Place::new();
    let server = start_server(place.path(), 1, &[]);
    let flags = [&["--tls", "optional"], &REQUIRED[2..]].concat();
    let balancer = start_balancer(place.path(), std::slice::from_ref(&server.address), &flags);
    place.write("a.txt", bilico_testkit::noise(1, 2 << 20));
    for ca in [&[][..], &["--ca", "tls/ca.pem"]] {
        let args = ["send", "a.txt", "--balancer", &balancer.address];
        let sent = place.run(&[&args[..], ca].concat());
        assert_eq!(sent.code, Some(0), "{sent:?}");
    }
    assert_eq!(place.stored(1).len(), 2);
}

#[test]
fn a_client_that_was_told_to_use_tls_sends_nothing_to_whoever_has_none() {
    let place = Place::new();
    let server = start_server(place.path(), 1, &[]);
    let balancer = start_balancer(place.path(), std::slice::from_ref(&server.address), &[]);
    place.write("a.txt", "secret");
    let args = [
        "send",
        "a.txt",
        "--balancer",
        &balancer.address,
        "--ca",
        "tls/ca.pem",
    ];
    let refused = place.run(&args);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("is TLS off there?"), "{refused:?}");
    place.wait_for_log(&["TLS came, and tls is off"]);

    let other = Place::new();
    let (balancer, _server) = other.required();
    let args = [
        "send",
        "a.txt",
        "--balancer",
        &balancer.address,
        "--ca",
        "tls/ca.pem",
    ];
    let refused = place.run(&args);
    assert!(
        refused.stderr.contains("not signed by the authority"),
        "{refused:?}"
    );
    other.wait_for_log(&["it does not trust the authority"]);
    assert!(place.stored(1).is_empty() && other.stored(1).is_empty());
}

#[test]
fn certificates_change_while_files_are_sent_and_nothing_is_lost() {
    let place = Place::new();
    let (balancer, _server) = place.required();
    place.write("a.txt", "content");
    let cert = place.path().join("tls/balancer-b1.pem");
    let args = [
        "send",
        "a.txt",
        "--balancer",
        &balancer.address,
        "--ca",
        "tls/ca.pem",
    ];
    let stop = AtomicBool::new(false);
    let count = |what: &str| place.log().matches(what).count();
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let ended = place.run(&args);
                assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
                sent += 1;
            }
            sent
        });
        for round in 1..=3 {
            place.certs(&["renew", "b1", "--days", &(90 + round).to_string()]);
            balancer.signal("HUP");
            wait_until("the new certificate", || {
                count("configuration applied change=\"certificate tls/balancer-b1.pem") >= round
                    || sending.is_finished()
            });
        }
        let good = std::fs::read(&cert).unwrap();
        std::fs::write(&cert, "-----BEGIN").unwrap();
        balancer.signal("HUP");
        wait_until("the refusal", || {
            count("nothing has changed") > 0 || sending.is_finished()
        });
        assert_eq!(
            place.run(&args).code,
            Some(0),
            "the old certificate is in force"
        );
        std::fs::write(&cert, good).unwrap();
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap() + 1
    });
    assert_eq!(place.stored(1).len(), sent);
}
