//! `bilico queue`: where a file is and why, and what becomes of files that no server can take.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use bilico_testkit::{
    Client, Ended, Farm, Fickle, Wire, bilico, frame, noise, put_header, run, wait_until,
};

fn lines(stdout: &str) -> Vec<Value> {
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn good(ended: Ended) -> String {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

#[track_caller]
fn failed(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!((ended.code, &*ended.stdout), (Some(code), ""), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(
        parts.iter().all(|part| ended.stderr.contains(part)),
        "{ended:?} lacks one of {parts:?}"
    );
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn the_way_of_a_file_is_told_wherever_it_is() {
    let mut farm = Farm::without_servers(&[1]);
    let server = farm.servers[0].address.clone();
    let mut client = farm.client();
    client.put_accepted(1, Some("è \"key\""), b"12345");
    let crc = format!("{:08x}", crc32c::crc32c(b"12345"));
    let waiting = good(farm.queue(&["show", "1"]));
    has(
        &waiting,
        &[
            "file 1: \"è \\\"key\\\"\"",
            "5 bytes",
            &crc,
            "accepted from 127.0.0.1:",
            "has waited for",
        ],
    );
    has(&waiting, &["no server can take files", &server]);
    let json = farm.show(1);
    assert_eq!(
        (&json["number"], &json["place"], &json["size"]),
        (&json!(1), &json!("waiting"), &json!(5))
    );
    assert_eq!(
        (&json["key"], &json["crc32c"]),
        (&json!("è \"key\""), &json!(crc))
    );
    assert!(json["reason"].as_str().unwrap().contains(&server), "{json}");

    farm.servers[0].restart();
    client.expect("delivered", 1);
    has(&good(farm.queue(&["show", "1"])), &["stored by", &server]);
    assert_eq!(
        (&farm.show(1)["place"], &farm.show(1)["confirmed"]),
        (&json!("delivered"), &json!(true))
    );
    farm.crash_balancer();
    has(&good(farm.queue(&["show", "1"])), &["stored by", &server]);

    farm.wait_until_up();
    farm.servers[0].signal("STOP");
    farm.client().put_accepted(2, None, b"x");
    wait_until("it to be with the frozen server", || {
        farm.show(2)["place"] == "in_flight"
    });
    let way = good(farm.queue(&["show", "2"]));
    // By now the server may be seen down.
    assert!(
        way.contains(&format!("with {server}")) || way.contains("came back"),
        "{way}"
    );
    wait_until("it to come back", || farm.show(2)["place"] == "waiting");
    has(
        &good(farm.queue(&["show", "2"])),
        &["came back from", &server],
    );

    failed(&farm.queue(&["show", "3"]), 1, &["file 3 is not known"]);
    failed(
        &farm.queue(&["show", "0", "--json"]),
        1,
        &["file 0 is not known"],
    );
    assert_eq!(farm.queue(&["show", "x"]).code, Some(2));
    assert_eq!(farm.queue(&["show", "-1"]).code, Some(2));
}

#[test]
fn the_files_that_wait_are_listed_page_by_page() {
    let farm = Farm::without_servers(&[1]);
    assert_eq!(good(farm.queue(&["ls"])), "0 files, 0 B\n");
    assert_eq!(good(farm.queue(&["ls", "--json"])), "");
    let mut client = farm.client();
    for id in 1..=2500 {
        client.put(id, None, b"1234");
    }
    for id in 1..=2500 {
        client.expect("accepted", id);
    }
    let numbers = |args: &[&str]| -> Vec<u64> {
        let listed = good(farm.queue(&[&["ls", "--json"], args].concat()));
        lines(&listed)
            .iter()
            .map(|file| file["number"].as_u64().unwrap())
            .collect()
    };
    assert!(numbers(&["--limit", "5000"]).into_iter().eq(1..=2500));
    assert!(numbers(&[]).into_iter().eq(1..=100));
    assert!(
        numbers(&["--limit", "1001", "--after", "1000"])
            .into_iter()
            .eq(1001..=2001)
    );
    assert!(numbers(&["--after", "2499"]).into_iter().eq(2500..=2500));
    assert!(numbers(&["--after", "2500"]).is_empty() && numbers(&["--limit", "0"]).is_empty());
    let text = good(farm.queue(&["ls", "--limit", "3"]));
    has(
        &text,
        &[
            "number",
            "title",
            "no server can take files",
            "2500 files, 9.7 KiB, 2497 of them not listed (--limit",
        ],
    );
    assert_eq!(text.lines().count(), 5, "{text}");
    has(
        &good(farm.queue(&["ls", "--limit", "0"])),
        &["2500 files, 9.7 KiB"],
    );
    let end = good(farm.queue(&["ls", "--after", "2498"]));
    assert!(
        end.ends_with("\n2500 files, 9.7 KiB, 2498 of them not listed (--limit, --after)\n"),
        "{end}"
    );
}

/// A page was bounded in files alone: with the longest titles, full of what JSON must escape, it
/// was longer than its reader takes.
#[test]
fn a_page_of_the_longest_titles_is_listed() {
    let farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    let title = "\u{1}".repeat(4096);
    for id in 1..=1000 {
        client.wire.write(&frame(
            &json!({"request_type": "put", "id": id, "title": title}).to_string(),
            b"",
        ));
    }
    for id in 1..=1000 {
        client.expect("accepted", id);
    }
    let listed = lines(&good(farm.queue(&["ls", "--json", "--limit", "1000"])));
    assert!(listed.len() == 1000 && listed.iter().all(|file| file["title"] == title));
}

// ---------------------------------------------------------------- dead letters

#[test]
fn a_file_that_every_server_refuses_for_good_is_a_dead_letter() {
    let server = Fickle::start(Some("too_large"));
    let mut farm = server.farm(&[]);
    for (name, content) in [
        ("small.bin", noise(1, 10)),
        ("large.bin", noise(2, 200_000)),
    ] {
        fs::write(farm.dir.path().join(name), content).unwrap();
        let sent = farm.send(&[name, "--timeout", "60s"]);
        assert_eq!(sent.status.code(), Some(1), "{sent:?}");
        let stderr = String::from_utf8(sent.stderr).unwrap();
        has(
            &stderr,
            &[
                "error: ",
                name,
                "no server can take it",
                "it is too_large for me",
            ],
        );
    }
    for restarted in [false, true] {
        if restarted {
            farm.crash_balancer();
        }
        assert_eq!(farm.status().queue.dead, 2);
        let listed = good(farm.queue(&["dead"]));
        has(
            &listed,
            &[
                "small.bin",
                "large.bin",
                "every server refuses it: it is too_large for me",
                "2 files, ",
            ],
        );
        let json = lines(&good(farm.queue(&["dead", "--json"])));
        assert_eq!(json.len(), 2);
        assert_eq!(
            (&json[1]["number"], &json[1]["place"], &json[1]["attempts"]),
            (&json!(2), &json!("dead"), &json!(1))
        );
        assert_eq!(json[0]["history"][0]["server"], *server.address);
        has(
            &good(farm.queue(&["show", "1"])),
            &["came back from", "dead letter: every server refuses it"],
        );
        assert_eq!(good(farm.queue(&["ls"])), "0 files, 0 B\n");
    }
    failed(
        &farm.queue(&["replay", "7"]),
        1,
        &["no dead letter with number 7"],
    );
    failed(
        &farm.queue(&["drop", "7"]),
        1,
        &["file 7 cannot be dropped: it is not known"],
    );
    assert_eq!(farm.queue(&["replay"]).code, Some(2));
    assert_eq!(farm.queue(&["replay", "1", "--all"]).code, Some(2));

    // Nothing has changed: it dies again, and its history is that of its new life.
    farm.wait_until_up();
    assert_eq!(good(farm.queue(&["replay", "1"])), "1 file replayed\n");
    farm.wait_for_dead(2);
    server.says(None);
    assert_eq!(
        good(farm.queue(&["replay", "1", "--json"])),
        "{\"files\":1}\n"
    );
    wait_until("it to be stored", || server.numbers() == [1]);
    wait_until("it to be delivered", || {
        farm.show(1)["place"] == "delivered"
    });
    assert_eq!(good(farm.queue(&["drop", "2"])), "1 file thrown away\n");
    failed(
        &farm.queue(&["drop", "2"]),
        1,
        &["file 2 cannot be dropped: it waits no longer"],
    );
    for restarted in [false, true] {
        if restarted {
            farm.crash_balancer();
        }
        has(
            &good(farm.queue(&["show", "2"])),
            &["thrown away", "every server refuses it"],
        );
        assert_eq!(farm.show(2)["place"], "dropped");
        assert_eq!(good(farm.queue(&["dead"])), "0 files, 0 B\n");
        assert_eq!(farm.show(1)["place"], "delivered");
    }
    assert_eq!(good(farm.queue(&["replay", "--all"])), "0 files replayed\n");
    assert_eq!(server.numbers(), [1]);
    assert!(server.stored()[&1] == noise(1, 10));
}

/// Clients were told of dead letters before that was lasting: after a crash such a file waited
/// again.
#[test]
fn all_dead_letters_can_be_sent_again_byte_for_byte() {
    let server = Fickle::start(Some("conflict"));
    let mut farm = server.farm(&[]);
    let contents: Vec<Vec<u8>> = [0, 1, 65_536, 65_537, 500_000]
        .into_iter()
        .map(|len| noise(9, len))
        .collect();
    let mut client = farm.client();
    for (id, content) in contents.iter().enumerate() {
        client.put(id as u64, Some(&format!("k{id}")), content);
        let dead = client.expect("dead", id as u64);
        assert!(
            dead["reason"]
                .as_str()
                .unwrap()
                .contains("it is conflict for me"),
            "{dead}"
        );
    }
    farm.crash_balancer();
    let mut client = farm.client();
    client.offer(1, "k1", &contents[1]);
    client.expect("accepted", 1);
    client.expect("dead", 1);
    farm.wait_until_up();
    server.says(None);
    assert_eq!(good(farm.queue(&["replay", "--all"])), "5 files replayed\n");
    wait_until("all to be stored", || server.numbers().len() == 5);
    wait_until("no letter to be dead", || {
        farm.status().queue.dead + farm.status().queue.files() == 0
    });
    assert!(server.stored().values().eq(contents.iter()));
    client.offer(2, "k1", &contents[1]);
    client.expect("delivered", 2);
    wait_until("their content to be gone", || {
        bilico_testkit::names_with(&farm.journal(), "content-").is_empty()
    });
}

#[test]
fn the_client_of_a_dead_letter_hears_of_its_fate_when_it_asks_again() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let mut client = farm.client();
    client.put(1, Some("k"), b"x");
    client.expect("dead", 1);
    assert_eq!(good(farm.queue(&["drop", "1"])), "1 file thrown away\n");
    client.put(2, Some("k"), b"x");
    client.expect("accepted", 2);
    let dead = client.expect("dead", 2);
    assert!(
        dead["reason"].as_str().unwrap().contains("thrown away"),
        "{dead}"
    );
}

#[test]
fn trouble_that_passes_makes_no_dead_letter() {
    for code in ["storage", "busy", "stopping"] {
        let server = Fickle::start(Some(code));
        let farm = server.farm(&["--max-attempts", "1"]);
        let mut client = farm.client();
        client.put_accepted(1, None, b"x");
        wait_until("it to come back twice", || {
            farm.show(1)["attempts"].as_u64().unwrap() >= 2
        });
        assert_eq!(farm.status().queue.dead, 0, "{code}");
        assert_eq!(farm.show(1)["place"], "waiting");
        server.says(None);
        client.expect("delivered", 1);
        assert_eq!(server.numbers(), [1]);
    }
}

#[test]
fn a_server_that_dies_with_a_file_makes_no_dead_letter() {
    let mut farm = Farm::with(&[1], &[], &["--max-attempts", "1"]);
    farm.servers[0].signal("STOP");
    let mut client = farm.client();
    client.put_accepted(1, Some("k"), b"x");
    wait_until("it to come back", || farm.show(1)["attempts"] == 1);
    farm.servers[0].kill();
    assert_eq!(
        (farm.status().queue.dead, &farm.show(1)["place"]),
        (0, &json!("waiting"))
    );
    farm.servers[0].restart();
    client.expect("delivered", 1);
}

/// The last of its attempts, the one that made a file a dead letter, was not in its history.
#[test]
fn a_file_that_is_refused_too_often_is_a_dead_letter() {
    let server = Fickle::start(Some("checksum"));
    let farm = server.farm(&["--max-attempts", "2"]);
    let mut client = farm.client();
    client.put(1, None, b"x");
    let dead = client.expect("dead", 1);
    assert_eq!(
        dead["reason"],
        "refused 2 times, the last time: it is checksum for me"
    );
    assert_eq!(farm.show(1)["attempts"], 2);
    assert_eq!(farm.show(1)["history"].as_array().unwrap().len(), 2);
}

// ---------------------------------------------------------------- questions that cannot be
// answered

#[test]
fn without_a_balancer_it_is_exit_code_3_with_a_remedy() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for args in [
        &["show", "1"][..],
        &["ls"],
        &["dead", "--json"],
        &["replay", "--all"],
        &["drop", "1"],
    ] {
        let ended = run(
            bilico(&["queue"]).args(args).args(["--balancer", &address]),
            "",
        );
        failed(&ended, 3, &[&address, "hint: start one with"]);
    }
}

fn query(content: &[u8]) -> Vec<u8> {
    frame(r#"{"request_type":"query"}"#, content)
}

#[test]
fn a_question_that_makes_no_sense_ends_its_connection_with_the_reason_and_no_other() {
    let farm = Farm::without_servers(&[1]);
    let mut other = farm.client();
    let mut too_long = query(b"");
    too_long[4..12].copy_from_slice(&(2 * 1024 * 1024_u64).to_be_bytes());
    let mut damaged = query(br#"{"ask":"show","number":1}"#);
    *damaged.last_mut().unwrap() ^= 1;
    let cases = [
        (query(b""), "malformed"),
        (query(b"{"), "malformed"),
        (query(b"\xff\xff"), "malformed"),
        (query(b"[]"), "malformed"),
        (query(br#"{"ask":"dance"}"#), "malformed"),
        (query(br#"{"ask":"show"}"#), "malformed"),
        (query(br#"{"ask":"show","number":-1}"#), "malformed"),
        (
            query(br#"{"ask":"show","number":1,"loudly":true}"#),
            "malformed",
        ),
        (query(br#"{"ask":"waiting"}"#), "malformed"),
        (query(br#"{"ask":"waiting","limit":1.5}"#), "malformed"),
        (query(br#"{"ask":"drop"}"#), "malformed"),
        (too_long, "too_large"),
        (damaged, "checksum"),
    ];
    for (bytes, code) in cases {
        let mut client = Client::connect(&farm.balancer.address);
        client.wire.write(&bytes);
        let bye = client.bye();
        assert_eq!(
            bye["code"],
            code,
            "{bye} for {}",
            String::from_utf8_lossy(&bytes)
        );
        assert!(!bye["reason"].as_str().unwrap().is_empty());
        assert_eq!(client.wire.rest(), b"");
    }
    other.put_accepted(1, None, b"x");
    assert_eq!(
        answer(&mut other.wire, &json!({"ask": "show", "number": 1}))["place"],
        "waiting"
    );
    // No answer is longer than a page, whatever is asked for.
    for id in 2..=1100 {
        other
            .wire
            .write(&frame(&put_header(id, None).to_string(), b""));
    }
    for id in 2..=1100 {
        other.expect("accepted", id);
    }
    let listed = answer(
        &mut other.wire,
        &json!({"ask": "waiting", "limit": u32::MAX, "after": 50}),
    );
    assert_eq!(listed["files"].as_array().unwrap().len(), 1000);
    assert_eq!(listed["total"], 1100);
}

/// Asks on a connection on which nothing else is to come.
fn answer(wire: &mut Wire, ask: &Value) -> Value {
    wire.write(&query(ask.to_string().as_bytes()));
    let (header, content) = wire.frame().unwrap();
    assert!(header.contains(r#""request_type":"query""#), "{header}");
    serde_json::from_slice(&content).unwrap()
}
