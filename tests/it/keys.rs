//! Keys: a file that is sent again is the same file, and a large one goes on where it broke off.

use std::fs;
use std::sync::Barrier;
use std::time::Duration;

use bilico::admin::AdminLimits;
use bilico::balancer::{BalancerConfig, BalancerLimits, DispatchConfig, InDoubt, Settings};
use bilico::queue::Retention;
use serde_json::{Value, json};

use crate::in_process::{InProcess, settings_with};
use bilico_testkit::{
    Client, Farm, Role, bilico, frame, noise, number, put_header, run, start_server, stored,
    wait_for, wait_until,
};

const MIB: usize = 1024 * 1024;

fn contents() -> Vec<Vec<u8>> {
    [0, 5, 65_536, 65_537, 300_000]
        .into_iter()
        .map(|len| noise(len as u64, len))
        .collect()
}

/// Sends all of them again, twice, and checks that each keeps its number; gives the client, which
/// hears of their fates.
#[track_caller]
fn check_known(farm: &Farm, contents: &[Vec<u8>], numbers: &[u64]) -> Client {
    let mut client = farm.client();
    for round in 0..2 {
        for (file, (content, number)) in contents.iter().zip(numbers).enumerate() {
            let id = (round * 100 + file) as u64;
            assert_eq!(
                client.put_accepted(id, Some(&format!("k{file}")), content),
                *number
            );
        }
    }
    client
}

#[test]
fn a_file_that_is_sent_again_under_its_key_keeps_its_number_and_is_stored_once() {
    let mut farm = Farm::without_servers(&[2, 1]);
    let contents = contents();
    let mut first = farm.client();
    let numbers: Vec<u64> = contents
        .iter()
        .enumerate()
        .map(|(file, content)| first.put_accepted(file as u64, Some(&format!("k{file}")), content))
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    for (file, content) in contents.iter().enumerate() {
        let id = 10 + file as u64;
        assert_eq!(
            first.put_accepted(id, Some(&format!("k{file}")), content),
            numbers[file],
            "on its connection"
        );
    }
    drop(check_known(&farm, &contents, &numbers));
    farm.crash_balancer();
    let mut waiting = check_known(&farm, &contents, &numbers);
    farm.servers.iter_mut().for_each(Role::restart);
    let delivered: Vec<Value> = (0..5)
        .map(|file| waiting.expect("delivered", file))
        .collect();
    for restarted in [false, true] {
        if restarted {
            farm.crash_balancer();
        }
        let mut client = check_known(&farm, &contents, &numbers);
        for (id, delivered) in (100..).zip(&delivered) {
            assert_eq!(
                client.expect("delivered", id)["server"],
                delivered["server"]
            );
        }
    }
    let stored = farm.all_stored();
    assert_eq!(stored.len(), 5, "{:?}", stored.keys());
    for (file, content) in contents.iter().enumerate() {
        assert!(
            stored[&format!("{}_k{file}", numbers[file])] == *content,
            "file {file} differs"
        );
    }
    assert_eq!(
        farm.client().put_accepted(1, None, b"new"),
        6,
        "a file that comes again takes no number"
    );
    wait_until("its content to be gone", || {
        farm.contents().is_empty() && farm.parts().is_empty()
    });
}

#[test]
fn a_key_that_names_another_file_is_refused_and_the_connection_goes_on() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    let (small, large) = (
        client.put_accepted(1, Some("small"), b"one"),
        noise(1, 200_000),
    );
    let large = client.put_accepted(2, Some("large"), &large);
    for state in [
        "waiting",
        "after a restart",
        "delivered",
        "delivered, after a restart",
    ] {
        match state {
            "waiting" => {}
            "delivered" => {
                farm.servers[0].restart();
                wait_until("both to be delivered", || farm.status().queue.files() == 0);
            }
            _ => farm.crash_balancer(),
        }
        let mut client = farm.client();
        let others = [
            &b"two"[..],
            b"",
            b"longer",
            &noise(2, 200_000),
            &noise(1, 200_001),
            &noise(1, 199_999),
        ];
        for (id, (key, number)) in [("small", small), ("large", large)].into_iter().enumerate() {
            for (place, content) in others.iter().enumerate() {
                let id = (id * 10 + place) as u64;
                client.put(id, Some(key), content);
                check_conflict(&client.expect("refused", id), number);
            }
            for (id, content) in [&b"longer"[..], b"two", &noise(2, 200_000)]
                .into_iter()
                .enumerate()
            {
                client.offer(50 + id as u64, key, content);
                check_conflict(&client.expect("refused", 50 + id as u64), number);
            }
        }
        client.put_accepted(99, None, b"goes on");
        wait_until("refused content to be gone", || {
            farm.contents().len() == usize::from(state.starts_with(['w', 'a']))
        });
    }
}

#[track_caller]
fn check_conflict(refused: &Value, number: u64) {
    assert_eq!(refused["code"], "conflict", "{refused}");
    assert!(
        refused["reason"]
            .as_str()
            .unwrap()
            .contains(&format!("number {number}")),
        "{refused}"
    );
}

#[test]
fn an_offer_is_answered_with_what_is_known_of_the_file() {
    let mut farm = Farm::without_servers(&[1]);
    for key in ["small", "large"] {
        let content = if key == "small" {
            noise(3, 10)
        } else {
            noise(3, 100_000)
        };
        let mut client = farm.client();
        assert_eq!(client.offer_wanted(1, key, content.len()), 0);
        let accepted = client.put_accepted(2, Some(key), &content);
        client.offer(3, key, &content);
        assert_eq!(number(&client.expect("accepted", 3)), accepted);
        farm.crash_balancer();
        let mut client = farm.client();
        client.offer(4, key, &content);
        assert_eq!(number(&client.expect("accepted", 4)), accepted);
        farm.servers[0].restart();
        assert_eq!(
            number(&client.expect("delivered", 4)),
            accepted,
            "who asked while it waited hears of its delivery"
        );
        for id in [5, 6] {
            client.offer(id, key, &content);
            assert_eq!(number(&client.expect("accepted", id)), accepted);
            assert_eq!(number(&client.expect("delivered", id)), accepted);
            // A size does not tell whether it is the same: the content has to come.
            assert_eq!(client.offer_wanted(id + 10, key, content.len()), 0);
            farm.crash_balancer();
            client = farm.client();
        }
        farm.servers[0].kill();
        wait_until("it to be seen down", || !farm.server_status(0).eligible);
    }
    assert_eq!(farm.stored(0).len(), 2);
}

#[test]
fn keys_that_are_none_or_too_long_end_the_connection() {
    let farm = Farm::start(&[1]);
    for key in ["", &"x".repeat(257)] {
        let mut client = farm.client();
        client.put(1, Some(key), b"x");
        let bye = client.bye();
        assert_eq!(bye["code"], "malformed");
        assert!(
            bye["reason"].as_str().unwrap().contains("a key of"),
            "{bye}"
        );
    }
    let mut client = farm.client();
    let longest = "è".repeat(128);
    let first = client.put_accepted(1, Some(&longest), b"x");
    assert_eq!(client.put_accepted(2, Some(&longest), b"x"), first);
}

// ---------------------------------------------------------------- large files go on where they
// broke off

/// Sends the beginning of a file, and waits until the balancer has written all of that down.
fn begin(farm: &Farm, key: Option<&str>, content: &[u8], sent: usize) -> Client {
    let mut client = farm.client();
    let whole = frame(&put_header(1, key).to_string(), content);
    let header = whole.len() - content.len() - 4;
    client.wire.write(&whole[..header + sent]);
    let written = sent.min(content.len()) as u64;
    let len = |name: &String| fs::metadata(farm.journal().join(name)).map_or(0, |part| part.len());
    wait_until("the part to be written", || {
        farm.parts().iter().any(|name| len(name) == written)
    });
    client
}

#[test]
fn a_large_file_goes_on_where_it_broke_off() {
    let mut farm = Farm::start(&[1]);
    let size = 3 * MIB;
    let cuts = [1, 65_537, MIB, 2 * MIB + 1, size - 1, size, size + 3];
    for (round, sent) in cuts.into_iter().enumerate() {
        let content = noise(round as u64, size);
        for crash in [false, true] {
            let key = format!("k{round}{crash}");
            drop(begin(&farm, Some(&key), &content, sent));
            if crash {
                farm.crash_balancer();
            }
            let mut client = farm.client();
            let offset = client.offer_wanted(1, &key, size);
            assert_eq!(offset, sent.min(size), "all of it was there");
            client.resume(2, &key, &content, offset);
            let accepted = number(&client.expect("accepted", 2));
            client.expect("delivered", 2);
            assert!(
                farm.stored(0)[&format!("{accepted}_{key}")] == content,
                "broken off at {sent}"
            );
        }
    }
    assert_eq!(farm.stored(0).len(), 2 * cuts.len());
    farm.wait_until_no_part_is_left();
}

#[test]
fn a_large_file_that_breaks_off_again_and_again_arrives_byte_for_byte() {
    let farm = Farm::start(&[1]);
    let (size, step) = (3 * MIB, 400_000);
    let content = noise(7, size);
    drop(begin(&farm, Some("k"), &content, step));
    loop {
        let mut client = farm.client();
        let offset = client.offer_wanted(1, "k", size);
        let mut header = put_header(2, Some("k"));
        (header["offset"], header["crc32c"]) =
            (json!(offset), json!(crc32c::crc32c(&content[..offset])));
        let rest = frame(&header.to_string(), &content[offset..]);
        if offset + step >= size {
            client.wire.write(&rest);
            client.expect("delivered", 2);
            break;
        }
        client
            .wire
            .write(&rest[..rest.len() - (size - offset - step)]);
        drop(client);
        // Its end may be read before the offer, or be taken over by it: what is there only grows.
        wait_until("some of it to arrive", || {
            let parts = farm.parts();
            parts
                .iter()
                .any(|name| fs::metadata(farm.journal().join(name)).unwrap().len() > offset as u64)
        });
    }
    let stored = farm.stored(0);
    assert!(stored.len() == 1 && stored["1_k"] == content);
}

#[test]
fn a_beginning_that_is_not_the_same_is_refused_and_the_file_can_be_sent_from_its_start() {
    let farm = Farm::start(&[1]);
    let content = noise(1, 3 * MIB);
    let half = content.len() / 2;
    let crc = crc32c::crc32c(&content[..half]);
    let cases: [(&str, Option<usize>, (usize, u32)); 5] = [
        ("another beginning", Some(half), (half, crc ^ 1)),
        ("more than is there", Some(half), (half + 1, crc)),
        ("nothing is there", None, (half, crc)),
        (
            "all of it, and only half is there",
            Some(half),
            (content.len(), crc32c::crc32c(&content)),
        ),
        ("a small file of which nothing is there", None, (3, crc)),
    ];
    for (id, (what, there, prefix)) in cases.into_iter().enumerate() {
        let key = format!("k{id}");
        if let Some(there) = there {
            drop(begin(&farm, Some(&key), &content, there));
        }
        let mut client = farm.client();
        client.resume_after(1, &key, prefix, &content[prefix.0.min(half)..half]);
        let refused = client.expect("refused", 1);
        assert_eq!(refused["code"], "checksum", "{what}: {refused}");
        assert!(
            refused["reason"]
                .as_str()
                .unwrap()
                .contains("cannot go on with an earlier upload"),
            "{refused}"
        );
        client.put(2, Some(&key), &content);
        client.expect("delivered", 2);
    }
    let stored = farm.stored(0);
    assert!(stored.len() == cases.len() && stored.values().all(|stored| *stored == content));
    farm.wait_until_no_part_is_left();
}

/// What was asked for in vain is no reason to forget what is there.
#[test]
fn an_offset_beyond_the_part_does_not_cost_the_part() {
    let farm = Farm::start(&[1]);
    let content = noise(1, 3 * MIB);
    drop(begin(&farm, Some("k"), &content, MIB));
    let mut client = farm.client();
    client.resume_after(1, "k", (MIB + 1, 0), &content[MIB + 1..]);
    assert_eq!(client.expect("refused", 1)["code"], "checksum");
    assert_eq!(client.offer_wanted(2, "k", content.len()), MIB);
    client.resume(3, "k", &content, MIB);
    client.expect("delivered", 3);
}

#[test]
fn an_offer_over_a_second_connection_takes_the_upload_over() {
    let farm = Farm::start(&[1]);
    let content = noise(1, 3 * MIB);
    let mut first = begin(&farm, Some("k"), &content, MIB);
    let mut second = farm.client();
    let offset = second.offer_wanted(1, "k", content.len());
    assert_eq!(offset, MIB);
    let bye = first.bye();
    assert_eq!(bye["code"], "stopping", "who tries again is served: {bye}");
    assert!(
        bye["reason"]
            .as_str()
            .unwrap()
            .contains("another connection"),
        "{bye}"
    );
    assert_eq!(first.wire.rest(), b"");
    second.resume(2, "k", &content, offset);
    second.expect("delivered", 2);
    assert!(farm.stored(0)["1_k"] == content);
}

#[test]
fn an_upload_without_a_key_that_breaks_off_leaves_nothing() {
    let farm = Farm::start(&[1]);
    let content = noise(1, 3 * MIB);
    for sent in [1, MIB, content.len(), content.len() + 2] {
        drop(begin(&farm, None, &content, sent));
        farm.wait_until_no_part_is_left();
    }
    assert_eq!(farm.client().put_accepted(1, None, b"goes on"), 1);
}

#[test]
fn a_wrong_checksum_behind_a_large_file_leaves_nothing() {
    let farm = Farm::start(&[1]);
    let content = noise(1, MIB);
    for key in [None, Some("k")] {
        let mut client = farm.client();
        let mut whole = frame(&put_header(1, key).to_string(), &content);
        *whole.last_mut().unwrap() ^= 1;
        client.wire.write(&whole);
        assert_eq!(client.expect("refused", 1)["code"], "checksum");
        assert_eq!(client.bye()["code"], "checksum");
        farm.wait_until_no_part_is_left();
    }
    let mut client = farm.client();
    assert_eq!(client.offer_wanted(1, "k", content.len()), 0);
    client.put(2, Some("k"), &content);
    client.expect("delivered", 2);
    assert!(farm.stored(0)["1_k"] == content);
}

// ---------------------------------------------------------------- keys are forgotten

/// A second file under a key that was forgotten, also after a crash: the journal must have
/// forgotten it, too.
#[test]
fn a_key_that_is_forgotten_stays_forgotten_after_a_crash() {
    let forgets = |flags: &[&str]| {
        let mut farm = Farm::with(&[1, 1], &[], flags);
        let content = noise(1, 100_000);
        let is_forgotten = |farm: &Farm| first_answer(farm, "k", &content) == "wanted";
        let mut client = farm.client();
        assert_eq!(client.put_accepted(1, Some("k"), &content), 1, "{flags:?}");
        client.expect("delivered", 1);
        wait_until("the key to be forgotten", || is_forgotten(&farm));
        farm.crash_balancer();
        wait_until("the key to be forgotten again", || is_forgotten(&farm));
        let mut client = farm.client();
        assert_eq!(client.put_accepted(1, Some("k"), &content), 2, "{flags:?}");
        client.expect("delivered", 1);
        assert_eq!(farm.all_stored().len(), 2, "{flags:?}");
    };
    // At once, for each waits for the time between two looks at what can be forgotten.
    std::thread::scope(|scope| {
        scope.spawn(|| forgets(&["--remember", "0"]));
        scope.spawn(|| forgets(&["--remember", "0s", "--in-doubt", "wait"]));
        scope.spawn(|| forgets(&["--remember-files", "0"]));
    });
}

#[test]
fn a_key_that_is_forgotten_is_a_new_files() {
    let at_once = Retention {
        time: Duration::ZERO,
        ..Retention::default()
    };
    let no_files = Retention {
        files: 0,
        ..Retention::default()
    };
    for (retention, in_doubt) in [
        (at_once, InDoubt::Redirect),
        (at_once, InDoubt::Wait),
        (no_files, InDoubt::Redirect),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let servers = [1, 2].map(|n| start_server(dir.path(), n, &[]));
        let config = BalancerConfig {
            settings: Settings {
                retention,
                dispatch: DispatchConfig {
                    in_doubt,
                    ..DispatchConfig::default()
                },
                ..settings_with(&servers)
            },
            limits: BalancerLimits {
                sweep: Duration::from_millis(20),
                ..BalancerLimits::default()
            },
            ..BalancerConfig::default()
        };
        let balancer = InProcess::start(dir.path(), config, AdminLimits::default());
        let content = noise(1, 100_000);
        for round in 1..=3 {
            let mut client = Client::connect(&balancer.address);
            let number = client.put_accepted(1, Some("k"), &content);
            assert_eq!(number, round, "{retention:?}");
            client.expect("delivered", 1);
            // Each under its own id: an offer that is still on its way would end the next upload.
            let mut id = 1;
            wait_until("the key to be forgotten", || {
                id += 1;
                client.offer(id, "k", &content);
                wait_for("an answer", || {
                    let answer = client.next();
                    (answer["id"] == id).then_some(answer)
                })["request_type"]
                    == "wanted"
            });
        }
        let stored: usize = [1, 2]
            .map(|n| stored(&dir.path().join(format!("json_files_{n}"))).len())
            .iter()
            .sum();
        assert_eq!(stored, 3);
    }
}

/// The type of the first answer to an offer.
fn first_answer(farm: &Farm, key: &str, content: &[u8]) -> String {
    let mut client = farm.client();
    client.offer(1, key, content);
    client.next()["request_type"].as_str().unwrap().to_owned()
}

#[test]
fn no_more_keys_are_remembered_than_may_be_and_the_youngest_are() {
    let mut farm = Farm::with(&[1], &[], &["--remember-files", "1"]);
    for restart in [false, true] {
        if restart {
            farm.crash_balancer();
            farm.wait_until_up();
        }
        let mut client = farm.client();
        for id in 1..=3 {
            client.put(id, Some(&format!("k{restart}{id}")), b"x");
            client.expect("delivered", id);
        }
        for id in 1..=2 {
            wait_until("the older ones to be forgotten", || {
                first_answer(&farm, &format!("k{restart}{id}"), b"x") == "wanted"
            });
        }
        assert_eq!(
            first_answer(&farm, &format!("k{restart}3"), b"x"),
            "accepted"
        );
        let first = client.put_accepted(9, Some(&format!("k{restart}1")), b"x");
        assert_eq!(first, if restart { 8 } else { 4 });
        client.expect("delivered", 9);
    }
    assert_eq!(farm.stored(0).len(), 8);
}

// ---------------------------------------------------------------- the same key at the same time

/// How a put under a key that others put, too, can end.
#[derive(Debug, PartialEq)]
enum Outcome {
    Accepted(u64),
    TakenOver,
}

fn put_at_once(farm: &Farm, key: &str, content: &[u8], clients: usize) -> Vec<Outcome> {
    let barrier = Barrier::new(clients);
    std::thread::scope(|scope| {
        let put = || {
            let mut client = farm.client();
            let whole = frame(&put_header(1, Some(key)).to_string(), content);
            barrier.wait();
            // Who is taken over may be closed before all is written.
            let _ = std::io::Write::write_all(&mut client.wire.0, &whole);
            let answer = client.next();
            match answer["request_type"].as_str().unwrap() {
                "accepted" => Outcome::Accepted(number(&answer)),
                "bye" if answer["code"] == "stopping" => Outcome::TakenOver,
                _ => panic!("{answer}"),
            }
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(put)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn the_same_small_file_from_many_at_once_is_stored_once() {
    let farm = Farm::start(&[1, 1]);
    for round in 1..=25 {
        let outcomes = put_at_once(&farm, &format!("k{round}"), &noise(round, 1000), 4);
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == Outcome::Accepted(round)),
            "{outcomes:?}"
        );
    }
    wait_until("all to be delivered", || farm.status().delivered == 25);
    assert_eq!(farm.all_stored().len(), 25);
}

/// An upload that had come whole was still being synced when the next one under the same key threw
/// its part away and began another under the same name. That one, half written, was then given the
/// first one's lasting name: a file was accepted whose content was another's, and the second upload
/// was refused for its part was gone.
#[test]
fn the_same_large_file_from_many_at_once_is_stored_once_and_whole() {
    let farm = Farm::start(&[1, 1]);
    for round in 1..=25 {
        let content = noise(round, 300_000);
        let outcomes = put_at_once(&farm, &format!("k{round}"), &content, 4);
        let accepted: Vec<_> = outcomes
            .iter()
            .filter(|outcome| **outcome != Outcome::TakenOver)
            .collect();
        assert!(!accepted.is_empty(), "someone must get through");
        assert!(
            accepted
                .iter()
                .all(|outcome| **outcome == Outcome::Accepted(round)),
            "{outcomes:?}"
        );
    }
    wait_until("all to be delivered", || farm.status().delivered == 25);
    let stored = farm.all_stored();
    assert_eq!(stored.len(), 25);
    for round in 1..=25 {
        assert!(
            stored[&format!("{round}_k{round}")] == noise(round, 300_000),
            "file {round} differs"
        );
    }
    assert_eq!(farm.status().queue.dead, 0);
    wait_until("nothing to be left behind", || {
        farm.contents().is_empty() && farm.parts().is_empty()
    });
}

/// Who was taken over was told that its file was refused for a breach of the protocol, and gave up.
#[test]
fn two_runs_of_the_same_command_at_once_store_each_file_once() {
    let farm = Farm::start(&[1, 1]);
    let folder = farm.dir.path().join("to_send");
    fs::create_dir(&folder).unwrap();
    let contents: Vec<Vec<u8>> = (0..12).map(|file| noise(file, 500_000)).collect();
    for (file, content) in contents.iter().enumerate() {
        fs::write(folder.join(format!("{file}.bin")), content).unwrap();
    }
    for round in 1..=3 {
        let send = || {
            let balancer = &farm.balancer.address;
            let prefix = format!("run{round}/");
            let args = [
                "send",
                "--balancer",
                balancer,
                "-r",
                "to_send",
                "--key-prefix",
                &prefix,
            ];
            run(bilico(&args).current_dir(farm.dir.path()), "")
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(send)).collect();
            for thread in threads {
                let ended = thread.join().unwrap();
                assert_eq!(ended.code, Some(0), "{ended:?}");
            }
        });
        assert_eq!(farm.all_stored().len(), 12 * round);
    }
    let stored: Vec<Vec<u8>> = (0..2)
        .flat_map(|place| stored(&farm.server_dir(place)).into_values())
        .collect();
    assert!(contents.iter().all(|content| {
        let copies = stored.iter().filter(|stored| *stored == content);
        copies.count() == 3
    }));
}
