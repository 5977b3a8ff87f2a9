//! How long it waits for receipts.

use std::time::{Duration, Instant};

use bilico_testkit::{Farm, Running, wait_until};

use super::helpers::{command, hash, objects, send, without_keys};

#[test]
fn accepted_can_be_enough() {
    let farm = Farm::without_servers(&[1]);
    farm.write("a.txt", "a");
    let ended = send(&farm, &["a.txt", "a.txt", "--wait", "accepted"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("2 accepted, 0 delivered"),
        "{}",
        ended.stdout
    );
    let ended = send(&farm, &["a.txt", "--wait", "accepted", "--json"]);
    let expected = serde_json::json!({
        "path": "a.txt", "title": "a.txt", "size": 1, "bytes": 1, "hash": hash("a"), "state": "accepted",
        "crc32c": format!("{:08x}", crc32c::crc32c(b"a")),
        "number": 3, "request_number": 3,
    });
    assert_eq!(without_keys(&ended.stdout), [expected]);
}

#[test]
fn a_time_limit_without_a_server_is_exit_code_4() {
    let farm = Farm::without_servers(&[1]);
    farm.write("a.txt", "a");
    let ended = send(&farm, &["a.txt", "--timeout", "300ms", "--json"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(
        ended.stderr.starts_with("error: no server is available")
            && ended.stderr.contains("\nhint: "),
        "{ended:?}"
    );
    assert_eq!(objects(&ended.stdout)[0]["state"], "accepted");
}

#[test]
fn a_time_limit_ends_the_waiting_for_a_frozen_server() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    farm.servers[0].signal("STOP");
    let started = Instant::now();
    let ended = send(&farm, &["a.txt", "--timeout", "300ms"]);
    // The code is 4 if the balancer has noticed by then, else 5.
    assert!(matches!(ended.code, Some(4 | 5)), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    wait_until("it to be seen down", || !farm.server_status(0).eligible);
    assert_eq!(send(&farm, &["a.txt", "--timeout", "300ms"]).code, Some(4));
    farm.servers[0].signal("CONT");
    wait_until("both to arrive", || farm.status().delivered == 2);
}

#[test]
fn a_signal_ends_the_waiting_with_130_and_a_report() {
    let farm = Farm::without_servers(&[1]);
    farm.write("a.txt", "a");
    for (accepted, name) in [(1, "INT"), (2, "TERM")] {
        let running = Running::start(&mut command(&farm, &["a.txt", "--json"]));
        wait_until("it to be accepted", || farm.status().accepted == accepted);
        running.signal(name);
        let ended = running.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert_eq!(objects(&ended.stdout).len(), 1, "{ended:?}");
        assert!(ended.stderr.contains("interrupted"), "{ended:?}");
    }
}
