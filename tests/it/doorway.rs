//! The HTTP doorway: files over `PUT /files/{title}`, with the same limits, journal and receipts as
//! all others.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bilico::admin::AdminLimits;
use bilico::balancer::{BalancerConfig, BalancerLimits, QueueLimits, Settings};
use bilico::protocol::limits::MAX_LARGE_UPLOADS;
use bilico::server::name::stored_name;
use serde_json::json;

use crate::in_process::{InProcess, settings_with};
use bilico_testkit::{
    Client, Farm, Response, Role, Wire, frame, http, http_raw, names_with, noise, pretend_server,
    response, start_balancer, start_server, status, wait_until,
};

const MIB: usize = 1 << 20;

/// The head of a request that hands a file over and ends its connection.
fn head(role: &Role, path: &str, headers: &str) -> String {
    head_at(role.admin.as_ref().unwrap(), path, headers)
}

fn head_at(address: &str, path: &str, headers: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n")
}

/// A connection over which this was written.
fn begin(role: &Role, path: &str, headers: &str, content: &[u8]) -> Wire {
    let mut wire = Wire::connect(role.admin.as_ref().unwrap());
    wire.write(head(role, path, headers).as_bytes());
    wire.write(content);
    wire
}

/// Hands a file over whose size is known.
#[track_caller]
fn hand_over(role: &Role, path: &str, headers: &str, content: &[u8]) -> Response {
    hand_over_at(role.admin.as_ref().unwrap(), path, headers, content)
}

/// The same at this address.
#[track_caller]
fn hand_over_at(address: &str, path: &str, headers: &str, content: &[u8]) -> Response {
    let headers = format!("Content-Length: {}\r\n{headers}", content.len());
    let head = head_at(address, path, &headers);
    http_raw(address, &[head.as_bytes(), content].concat())
}

/// These bytes as a chunk.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Hands a file over whose size is not known before its end.
#[track_caller]
fn hand_over_chunked(role: &Role, path: &str, headers: &str, content: &[u8]) -> Response {
    hand_over_chunked_at(role.admin.as_ref().unwrap(), path, headers, content)
}

/// The same at this address.
#[track_caller]
fn hand_over_chunked_at(address: &str, path: &str, headers: &str, content: &[u8]) -> Response {
    let headers = format!("Transfer-Encoding: chunked\r\n{headers}");
    let mut request = head_at(address, path, &headers).into_bytes();
    content
        .chunks(30_000)
        .for_each(|piece| request.extend(chunk(piece)));
    request.extend(chunk(b""));
    http_raw(address, &request)
}

#[track_caller]
fn accepted(response: &Response) -> u64 {
    let receipt = response.json();
    assert_eq!(
        (response.status, &receipt["state"]),
        (202, &json!("accepted")),
        "{response:?}"
    );
    let number = receipt["number"].as_u64().unwrap();
    assert_eq!(
        response.headers["location"],
        format!("/api/v1/files/{number}")
    );
    number
}

/// A refusal with this status and these words in it; a hint may be where they are.
#[track_caller]
fn refused(response: &Response, status: u16, words: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert!(response.json()["error"].is_string(), "{response:?}");
    assert!(
        response.text().contains(words),
        "{:?} without {words:?}",
        response.text()
    );
    let retry_after = response
        .headers
        .get("retry-after")
        .map(|seconds| seconds.parse::<u32>().unwrap());
    assert_eq!(
        retry_after.is_some_and(|seconds| seconds > 0),
        status == 503,
        "{response:?}"
    );
}

/// Waits until nothing of any upload is left: no part, no content, and all of the queue's room.
#[track_caller]
fn wait_until_nothing_is_left(farm: &Farm) {
    let journal = farm.dir.path().join("journal");
    wait_until("the journal to hold no content", || {
        names_with(&journal, "part-").is_empty() && names_with(&journal, "content-").is_empty()
    });
    assert_eq!(farm.status().queue.files(), 0);
}

fn sum(content: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(content))
}

// ---------------------------------------------------------------- files that come in

#[test]
fn files_of_all_sizes_arrive_whole_whether_their_size_is_known_or_not() {
    let farm = Farm::start(&[1, 1]);
    let mut expected = Vec::new();
    for (n, size) in [0, 1, 30_000, 65_536, 65_537, 200_000, 3 * MIB]
        .into_iter()
        .enumerate()
    {
        let content = noise(n as u64, size);
        for is_known in [true, false] {
            let title = format!("{size}-{is_known}.bin");
            let path = format!("/files/{title}");
            let response = if is_known {
                hand_over(&farm.balancer, &path, "", &content)
            } else {
                hand_over_chunked(&farm.balancer, &path, "", &content)
            };
            let (number, receipt) = (accepted(&response), response.json());
            assert_eq!(
                receipt,
                json!({"number": number, "title": title, "size": size, "crc32c": sum(&content),
                    "hash": blake3::hash(&content).to_hex().as_str(), "state": "accepted"})
            );
            expected.push((stored_name(number, &title), content.clone()));
        }
    }
    wait_until("all to be delivered", || {
        farm.status().delivered == expected.len() as u64
    });
    assert!(
        farm.all_stored() == expected.into_iter().collect(),
        "stored as they were sent"
    );
    wait_until_nothing_is_left(&farm);
    assert_eq!(farm.status().queue.bytes, 0);
}

#[test]
fn a_hundred_mebibytes_pass_and_the_balancer_holds_little_of_them() {
    let farm = Farm::start(&[1]);
    let piece = noise(1, MIB);
    hand_over(&farm.balancer, "/files/first?wait=delivered", "", &piece);
    for is_known in [true, false] {
        let before = farm.balancer.resident();
        let framing = if is_known {
            format!("Content-Length: {}\r\n", 100 * MIB)
        } else {
            "Transfer-Encoding: chunked\r\n".into()
        };
        let mut wire = begin(&farm.balancer, "/files/large?wait=delivered", &framing, b"");
        let mut most = before;
        for n in 0..100_u32 {
            let piece = [&n.to_le_bytes(), &piece[4..]].concat();
            wire.write(&if is_known { piece } else { chunk(&piece) });
            most = most.max(farm.balancer.resident());
        }
        if !is_known {
            wire.write(&chunk(b""));
        }
        let response = response(&wire.rest());
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["size"], 100 * MIB);
        most = most.max(farm.balancer.resident());
        assert!(most < before + 32 * MIB as u64, "from {before} to {most}");
        let name = stored_name(response.json()["number"].as_u64().unwrap(), "large");
        let stored = fs::read(farm.server_dir(0).join(name)).unwrap();
        assert_eq!(response.json()["crc32c"], sum(&stored));
        assert_eq!(stored.len(), 100 * MIB);
        for (n, stored) in stored.chunks(MIB).enumerate() {
            assert!(
                stored[..4] == u32::try_from(n).unwrap().to_le_bytes() && stored[4..] == piece[4..],
                "piece {n}"
            );
        }
    }
    wait_until_nothing_is_left(&farm);
}

#[test]
fn titles_are_what_the_path_says_and_none_leaves_the_directory() {
    let farm = Farm::start(&[1]);
    let longest = "t".repeat(4096);
    for (path, title) in [
        ("plain.txt", "plain.txt"),
        ("with%20spaces%20.txt", "with spaces .txt"),
        ("a+b", "a+b"),
        ("%C3%BCber%C3%9F.txt", "überß.txt"),
        ("über.txt", "über.txt"),
        ("a%2Fb", "a/b"),
        ("dir/file", "dir/file"),
        ("/etc/passwd", "/etc/passwd"),
        ("..", ".."),
        ("../../up", "../../up"),
        ("%2e%2e/up", "../up"),
        ("a%00b%0D%0Ac", "a\0b\r\nc"),
        ("100%25", "100%"),
        (&longest, &longest),
    ] {
        let path = format!("/files/{path}?wait=delivered");
        let response = hand_over(&farm.balancer, &path, "", title.as_bytes());
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        let receipt = response.json();
        assert_eq!(receipt["title"], title);
        let name = stored_name(receipt["number"].as_u64().unwrap(), title);
        assert_eq!(
            fs::read(farm.server_dir(0).join(name)).unwrap(),
            title.as_bytes()
        );
    }
    let before = farm.status().accepted;
    for (path, status, words) in [
        (format!("/files/{longest}t"), 400, "a title of 4097 bytes"),
        ("/files/".to_owned(), 400, "no title"),
        ("/files".to_owned(), 400, "no title"),
        ("/files/a%ff".to_owned(), 400, "UTF-8"),
    ] {
        refused(&hand_over(&farm.balancer, &path, "", b"x"), status, words);
    }
    assert_eq!(farm.status().accepted, before);
}

#[test]
fn requests_that_make_no_sense_are_refused_with_what_is_wrong() {
    let farm = Farm::start(&[1]);
    let balancer = &farm.balancer;
    let put = |path: &str, headers: &str| hand_over(balancer, path, headers, b"x");
    refused(&put("/files/a?dance=1", ""), 400, "dance");
    refused(&put("/files/a?wait=later", ""), 400, "delivered");
    refused(&put("/files/a?timeout=5s", ""), 400, "wait=delivered");
    refused(
        &put("/files/a?wait=delivered&timeout=5", ""),
        400,
        "timeout",
    );
    refused(&put("/files/a?wait=delivered&timeout=11m", ""), 400, "10 m");
    refused(
        &put("/files/a", "Content-Range: bytes 0-0/2\r\n"),
        400,
        "part of a file",
    );
    refused(
        &put(
            "/files/a",
            &format!("Idempotency-Key: {}\r\n", "k".repeat(257)),
        ),
        400,
        "a key of 257 bytes",
    );
    refused(
        &put("/files/a", "Idempotency-Key:\r\n"),
        400,
        "a key of 0 bytes",
    );
    refused(
        &put("/files/a", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
        400,
        "more than one",
    );
    for encoding in [
        "Content-Encoding: gzip",
        "Content-Encoding: deflate",
        "Content-Encoding: identity, gzip",
    ] {
        let answer = put("/files/a", &format!("{encoding}\r\n"));
        refused(&answer, 415, encoding.rsplit_once(": ").unwrap().1);
    }
    let twice = "Transfer-Encoding: gzip, chunked\r\n";
    let encoded = [
        head(balancer, "/files/a", twice).as_bytes(),
        b"1\r\nx\r\n0\r\n\r\n",
    ]
    .concat();
    refused(
        &http_raw(balancer.admin.as_ref().unwrap(), &encoded),
        415,
        "gzip, chunked",
    );
    let bare = head(balancer, "/files/a", "");
    refused(
        &http_raw(balancer.admin.as_ref().unwrap(), bare.as_bytes()),
        411,
        "no body",
    );
    for method in ["POST", "GET", "DELETE"] {
        for path in ["/files/a", "/files/"] {
            let answer = http(balancer, method, path, None);
            refused(&answer, 405, "PUT");
            assert_eq!(
                answer.headers["allow"],
                "OPTIONS, PUT, HEAD, PROPFIND, MKCOL"
            );
        }
    }
    let other_page = put("/files/a", "Origin: http://example.com\r\n");
    assert_eq!(other_page.status, 403, "{}", other_page.text());
    assert_eq!(farm.status().accepted, 0);
}

// ---------------------------------------------------------------- keys

#[test]
fn a_key_makes_the_same_file_one_file_and_another_one_a_conflict() {
    for size in [100, 200_000] {
        let mut farm = Farm::start(&[1]);
        let (content, other) = (noise(1, size), noise(2, size));
        let key = "Idempotency-Key: report-17\r\n";
        let put = |farm: &Farm, content: &[u8]| {
            hand_over(&farm.balancer, "/files/r?wait=delivered", key, content)
        };
        let first = put(&farm, &content);
        assert_eq!(first.status, 200, "{}", first.text());
        let again = put(&farm, &content);
        assert_eq!((again.status, again.json()), (200, first.json()));
        let chunked = hand_over_chunked(&farm.balancer, "/files/r", key, &content);
        assert_eq!(accepted(&chunked), first.json()["number"]);
        refused(&put(&farm, &other), 409, "another file");
        refused(&put(&farm, &content[1..]), 409, "another file");
        farm.balancer.kill();
        farm.balancer.restart();
        assert_eq!(
            put(&farm, &content).json(),
            first.json(),
            "over a restart, too"
        );
        let mut native = Client::connect(&farm.balancer.address);
        assert_eq!(
            native.put_accepted(1, Some("report-17"), &content),
            first.json()["number"]
        );
        assert_eq!(farm.stored(0).len(), 1);
        wait_until_nothing_is_left(&farm);
    }
}

#[test]
fn a_newer_request_with_the_same_key_takes_the_file_over() {
    let farm = Farm::start(&[1]);
    let content = noise(1, MIB);
    let framing = format!("Content-Length: {MIB}\r\nIdempotency-Key: k\r\n");
    let mut older = begin(&farm.balancer, "/files/a", &framing, &content[..500_000]);
    wait_until("it to be under way", || {
        !names_with(&farm.dir.path().join("journal"), "part-").is_empty()
    });
    let newer = hand_over(
        &farm.balancer,
        "/files/a?wait=delivered",
        "Idempotency-Key: k\r\n",
        &content,
    );
    assert_eq!(newer.status, 200, "{}", newer.text());
    refused(&response(&older.rest()), 409, "another connection");
    wait_until_nothing_is_left(&farm);
    assert_eq!(farm.stored(0).len(), 1);
}

// ---------------------------------------------------------------- limits

#[test]
fn what_is_over_the_limit_is_refused_before_it_is_read() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "8MiB", "--max-json", "1MiB"]);
    let balancer = &farm.balancer;
    for headers in [
        "Content-Length: 5000000\r\nExpect: 100-continue\r\n",
        "Content-Length: 18446744073709551000\r\n",
    ] {
        let mut wire = begin(balancer, "/files/large", headers, b"");
        refused(&response(&wire.rest()), 413, "--queue-bytes");
    }
    // Who sends on all the same gets to see why not, and so does who did not know how much it would
    // be.
    for framing in [
        "Content-Length: 50000000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut wire = begin(balancer, "/files/large", framing, b"");
        let piece = chunk(&vec![b'x'; MIB]);
        let mut pump = wire.0.try_clone().unwrap();
        let pumping = std::thread::spawn(move || {
            (0..40)
                .take_while(|_| pump.write_all(&piece).is_ok())
                .count()
        });
        refused(&response(&wire.rest()), 413, "--queue-bytes");
        pumping.join().unwrap();
    }
    wait_until_nothing_is_left(&farm);
    let most = vec![b'x'; 4_193_000];
    assert_eq!(
        hand_over(balancer, "/files/most?wait=delivered", "", &most).status,
        200,
        "the room is back"
    );
}

#[test]
fn a_full_queue_refuses_after_a_while_and_takes_files_again() {
    let patience = Duration::from_millis(300);
    let dir = tempfile::tempdir().unwrap();
    let mut servers = [start_server(dir.path(), 1, &[])];
    let config = BalancerConfig {
        settings: Settings {
            queue: QueueLimits {
                files: 2,
                bytes: 1 << 30,
            },
            probe_interval: Duration::from_millis(100),
            ..settings_with(&servers)
        },
        limits: BalancerLimits {
            room_patience: patience,
            ..BalancerLimits::default()
        },
        ..BalancerConfig::default()
    };
    let balancer = InProcess::start(dir.path(), config, AdminLimits::default());
    let at = &*balancer.admin;
    servers[0].kill();
    wait_until("it to be seen down", || {
        !status(&balancer.address).servers[0].eligible
    });
    let small = b"x".to_vec();
    let large = vec![b'x'; 100_000];
    for (n, content) in [&small, &large].into_iter().enumerate() {
        let key = format!("Idempotency-Key: {n}\r\n");
        accepted(&hand_over_at(at, "/files/a", &key, content));
    }
    for content in [vec![b'y'], vec![b'y'; 100_000]] {
        for hand_over in [hand_over_at, hand_over_chunked_at] {
            let began = Instant::now();
            let answer = hand_over(at, "/files/b", "", &content);
            refused(&answer, 503, "the queue is full: 2 of 2");
            assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
        }
    }
    // A file that is here already needs no room, and its content tells whether it is the same.
    // There was a defect: its size was enough.
    for (n, content) in [small, large].into_iter().enumerate() {
        let key = format!("Idempotency-Key: {n}\r\n");
        let here = hand_over_at(at, "/files/a", &key, &content);
        assert_eq!(
            (accepted(&here), &here.json()["crc32c"]),
            (n as u64 + 1, &json!(sum(&content)))
        );
        let other = vec![b'y'; content.len()];
        refused(
            &hand_over_at(at, "/files/a", &key, &other),
            409,
            "the key names another file already",
        );
    }
    servers[0].restart();
    wait_until("them to be delivered", || {
        status(&balancer.address).delivered == 2
    });
    accepted(&hand_over_at(at, "/files/b", "", b"y"));
}

/// An upload needs more room while it comes: it must not wait for it, for others may wait for what
/// it has.
#[test]
fn uploads_of_unknown_size_that_do_not_fit_together_do_not_stop_each_other() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "8MiB", "--max-json", "1MiB"]);
    let content = noise(1, 3 * MIB);
    let (farm_ref, content_ref) = (&farm, &content);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let put = move |n| {
            hand_over_chunked(&farm_ref.balancer, &format!("/files/{n}"), "", content_ref).status
        };
        let all: Vec<_> = (0..6).map(|n| scope.spawn(move || put(n))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(
        statuses.iter().all(|status| [202, 503].contains(status)),
        "{statuses:?}"
    );
    let taken = statuses.iter().filter(|status| **status == 202).count();
    wait_until("all that were taken to be delivered", || {
        farm.status().delivered == taken as u64
    });
    assert_eq!(farm.stored(0).len(), taken);
    wait_until_nothing_is_left(&farm);
    accepted(&hand_over_chunked(
        &farm.balancer,
        "/files/after",
        "",
        &content,
    ));
}

// ---------------------------------------------------------------- uploads that break off

#[test]
fn an_upload_that_breaks_off_leaves_nothing_behind_and_holds_up_nobody() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "8MiB", "--max-json", "1MiB"]);
    let content = noise(1, 2 * MIB);
    for framing in [
        "Content-Length: 4000000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let body = if framing.starts_with('C') {
            content.clone()
        } else {
            chunk(&content)
        };
        let wire = begin(&farm.balancer, "/files/half", framing, &body);
        let journal = farm.dir.path().join("journal");
        wait_until("it to be under way", || {
            !names_with(&journal, "part-").is_empty()
        });
        let other = hand_over(
            &farm.balancer,
            "/files/other?wait=delivered",
            "",
            framing.as_bytes(),
        );
        assert_eq!(other.status, 200, "{}", other.text());
        drop(wire);
        wait_until_nothing_is_left(&farm);
        // Of another size each: the same title with the same content is the same file.
        let most = vec![b'x'; 4_193_000 - framing.len()];
        assert_eq!(
            hand_over(&farm.balancer, "/files/most?wait=delivered", "", &most).status,
            200,
            "the room is back"
        );
    }
    // Who only ends its own half hears what is wrong.
    for (framing, body) in [
        ("Content-Length: 4000000\r\n", &b"half"[..]),
        ("Content-Length: 10\r\n", b"half"),
        ("Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"no length\r\n"),
    ] {
        let mut wire = begin(&farm.balancer, "/files/half", framing, body);
        wire.0.shutdown(Shutdown::Write).unwrap();
        refused(&response(&wire.rest()), 400, "did not come whole");
    }
    wait_until_nothing_is_left(&farm);
    assert_eq!(farm.status().accepted, 4);
}

#[test]
fn an_upload_that_stalls_is_given_up() {
    let farm = Farm::with(&[1], &[], &["--stall-timeout", "500ms"]);
    for (framing, body) in [
        ("Content-Length: 4000000\r\n", noise(1, 300_000)),
        ("Content-Length: 100\r\n", b"half".to_vec()),
        ("Transfer-Encoding: chunked\r\n", chunk(&noise(1, 300_000))),
        ("Transfer-Encoding: chunked\r\n", Vec::new()),
    ] {
        let mut wire = begin(&farm.balancer, "/files/half", framing, &body);
        refused(&response(&wire.rest()), 408, "stalled");
        wait_until_nothing_is_left(&farm);
    }
    // A byte now and then is no progress.
    let mut wire = begin(
        &farm.balancer,
        "/files/slow",
        "Content-Length: 4000000\r\n",
        b"",
    );
    let mut drip = wire.0.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while drip.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    refused(&response(&wire.rest()), 408, "stalled");
    drop(wire);
    dripping.join().unwrap();
    assert_eq!(farm.status().accepted, 0);
}

/// Each large upload has a thread that writes it, and so have deliveries.
#[test]
fn many_uploads_that_stop_half_way_hold_up_no_other_file() {
    let farm = Farm::start(&[1]);
    let half = noise(1, 100_000);
    let stopped: Vec<Wire> = (0..600)
        .map(|_| {
            begin(
                &farm.balancer,
                "/files/half",
                "Content-Length: 1000000\r\n",
                &half,
            )
        })
        .collect();
    let journal = farm.dir.path().join("journal");
    wait_until("as many as may to be under way", || {
        names_with(&journal, "part-").len() == MAX_LARGE_UPLOADS
    });
    assert_eq!(
        hand_over(&farm.balancer, "/files/small?wait=delivered", "", b"x").status,
        200
    );
    let mut native = Client::connect(&farm.balancer.address);
    native.put(1, None, &noise(2, 300_000));
    native.expect("delivered", 1);
    refused(
        &hand_over(&farm.balancer, "/files/large", "", &half),
        503,
        "are coming in",
    );
    drop(stopped);
    wait_until_nothing_is_left(&farm);
    assert_eq!(
        hand_over(&farm.balancer, "/files/large?wait=delivered", "", &half).status,
        200
    );
}

#[test]
fn a_header_without_end_is_cut_off_and_nobody_notices() {
    let farm = Farm::start(&[1]);
    let before = farm.balancer.resident();
    for begin in [
        "PUT /files/a HTTP/1.1\r\nX: ".to_owned(),
        "PUT /files/".to_owned(),
        head(&farm.balancer, "/files/a", "X: "),
    ] {
        let mut wire = Wire::connect(farm.balancer.admin.as_ref().unwrap());
        let written = AtomicU64::new(0);
        let mut pump = wire.0.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let piece = vec![b'x'; MIB];
                let _ = pump.write_all(begin.trim_end_matches("\r\n").as_bytes());
                while written.load(Ordering::Relaxed) < 100 && pump.write_all(&piece).is_ok() {
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
            let answer = wire.rest();
            assert!(
                answer.is_empty() || [b'4', b'5'].contains(&answer[9]),
                "{}",
                String::from_utf8_lossy(&answer)
            );
            let _ = wire.0.shutdown(Shutdown::Both);
        });
        assert_eq!(
            hand_over(&farm.balancer, "/files/other?wait=delivered", "", b"x").status,
            200
        );
    }
    assert!(farm.balancer.resident() < before + 16 * MIB as u64);
}

// ---------------------------------------------------------------- what becomes of them

#[test]
fn an_accepted_file_survives_the_balancer_and_is_delivered_once() {
    let mut farm = Farm::without_servers(&[1, 1]);
    let contents = [noise(1, 500), noise(2, 300_000), noise(3, 2 * MIB)];
    let mut expected = Vec::new();
    for content in &contents {
        for (title, put) in [
            (
                "kept",
                hand_over as fn(&Role, &str, &str, &[u8]) -> Response,
            ),
            ("kept, too", hand_over_chunked),
        ] {
            let path = format!("/files/{}", title.replace(' ', "%20"));
            let number = accepted(&put(&farm.balancer, &path, "", content));
            expected.push((stored_name(number, title), content.clone()));
        }
    }
    farm.balancer.kill();
    farm.balancer.restart();
    farm.servers.iter_mut().for_each(Role::restart);
    wait_until("all to be delivered", || {
        farm.status().delivered == expected.len() as u64
    });
    assert!(
        farm.all_stored() == expected.into_iter().collect(),
        "each once, and whole"
    );
}

#[test]
fn a_client_can_wait_for_the_delivery_and_gets_the_receipt_of_before_if_it_takes_too_long() {
    let mut farm = Farm::start(&[1]);
    let response = hand_over(
        &farm.balancer,
        "/files/a?wait=delivered&timeout=50s",
        "",
        b"hello",
    );
    let server = &farm.servers[0].address;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.headers["location"], "/api/v1/files/1");
    assert_eq!(
        response.json(),
        json!({"number": 1, "title": "a", "size": 5, "crc32c": sum(b"hello"),
            "hash": blake3::hash(b"hello").to_hex().as_str(), "state": "delivered", "server": server,
            "confirmed": true})
    );
    assert_eq!(
        accepted(&hand_over(
            &farm.balancer,
            "/files/a?wait=accepted",
            "",
            b"hello, the second"
        )),
        2
    );
    farm.servers[0].kill();
    wait_until("it to be seen down", || !farm.server_status(0).eligible);
    assert_eq!(
        accepted(&hand_over(
            &farm.balancer,
            "/files/a?wait=delivered&timeout=50ms",
            "",
            b"hello, the third"
        )),
        3
    );
    let key = "Idempotency-Key: k\r\n";
    let mut waiting = begin(
        &farm.balancer,
        "/files/b?wait=delivered",
        &format!("Content-Length: 1\r\n{key}"),
        b"b",
    );
    wait_until("it to be accepted", || farm.status().accepted == 4);
    farm.servers[0].restart();
    let response = self::response(&waiting.rest());
    assert_eq!(
        (response.status, &response.json()["state"]),
        (200, &json!("delivered"))
    );
}

#[test]
fn who_waits_for_a_file_that_no_server_takes_hears_that_it_is_a_dead_letter() {
    let address = pretend_server(Some("ffffffffffffffffffffffffffffffff"), |mut wire| {
        let _ = wire
            .0
            .write_all(&frame(r#"{"request_type":"holding","last":true}"#, b""));
        while let Some((header, _)) = wire.message() {
            if header["request_type"] == "store" {
                let answer = json!({"request_type": "not_stored", "request_number": header["request_number"],
                    "code": "conflict", "reason": "not for me"});
                let _ = wire.0.write_all(&frame(&answer.to_string(), b""));
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let balancer = start_balancer(dir.path(), &[format!("{address}=1")], &[]);
    let farm = Farm {
        servers: Vec::new(),
        balancer,
        dir,
    };
    farm.wait_until_up();
    let response = hand_over(&farm.balancer, "/files/a?wait=delivered", "", b"hello");
    refused(
        &response,
        422,
        "file 1 is a dead letter: every server refuses it",
    );
    assert!(
        response.text().contains("bilico queue replay 1"),
        "{}",
        response.text()
    );
    assert_eq!(response.headers["location"], "/api/v1/files/1");
    assert_eq!(
        accepted(&hand_over(&farm.balancer, "/files/a", "", b"hello")),
        2
    );
}

#[test]
fn a_stopping_balancer_refuses_files() {
    let farm = Farm::without_servers(&[1]);
    accepted(&hand_over(
        &farm.balancer,
        "/files/kept",
        "",
        b"it waits for this",
    ));
    farm.balancer.signal("TERM");
    wait_until("files to be refused", || {
        let response = hand_over(&farm.balancer, "/files/late", "", b"x");
        if response.status == 503 {
            refused(&response, 503, "stopping");
        }
        response.status == 503
    });
}

// ---------------------------------------------------------------- curl

/// Runs curl in `dir`, with this on its standard input, and gives its exit code and output; `None`
/// where there is none.
fn curl(dir: &Path, args: &[&str], input: &[u8]) -> Option<(i32, String)> {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--noproxy", "*", "--max-time", "60"])
        .args(args)
        .current_dir(dir);
    let spawned = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        // Past the capture of the test's output: a skipped test must be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED, for there is no curl");
        return None;
    };
    // It may be refused before it has read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    ))
}

#[test]
fn curl_hands_files_over() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "8MiB", "--max-json", "1MiB"]);
    let (dir, files) = (
        farm.dir.path(),
        format!("http://{}/files", farm.balancer.admin.as_ref().unwrap()),
    );
    let content = noise(1, 3 * MIB);
    fs::write(dir.join("report.pdf"), &content).unwrap();
    fs::write(dir.join("huge"), vec![b'x'; 20 * MIB]).unwrap();
    let Some((code, said)) = curl(
        dir,
        &[
            "-T",
            "report.pdf",
            &format!("{files}/report.pdf?wait=delivered"),
        ],
        b"",
    ) else {
        return;
    };
    assert!(
        code == 0 && said.contains(r#""state":"delivered""#),
        "{code} {said}"
    );
    // It adds the file's name to a path that ends in a slash.
    let (code, said) = curl(dir, &["-T", "report.pdf", &format!("{files}/")], b"").unwrap();
    assert!(
        code == 0 && said.contains(r#""title":"report.pdf""#),
        "{code} {said}"
    );
    let (code, said) = curl(
        dir,
        &["-T", "-", &format!("{files}/piped?wait=delivered")],
        &content,
    )
    .unwrap();
    assert!(code == 0 && said.contains(&sum(&content)), "{code} {said}");
    for args in [vec!["-T", "huge"], vec!["-T", "huge", "-H", "Expect:"]] {
        let (code, said) = curl(
            dir,
            &[
                &args[..],
                &[
                    "-w",
                    "%{http_code} %{size_upload}",
                    &format!("{files}/huge"),
                ],
            ]
            .concat(),
            b"",
        )
        .unwrap();
        assert!(
            said.contains("--queue-bytes") && said.contains("413 "),
            "{code} {said}"
        );
        assert!(
            args.len() > 2 || said.ends_with("413 0"),
            "nothing is sent in vain: {said}"
        );
    }
    // The same title with the same content is the same file.
    wait_until("all to be delivered", || farm.status().delivered == 2);
    assert!(farm.stored(0).values().all(|stored| *stored == content));
}
