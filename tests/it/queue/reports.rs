//! Where a file is, and lists of files.

use bilico_testkit::{Client, Farm, Wire, bilico, frame, put_header, run, wait_until};
use serde_json::{Value, json};

use super::helpers::{failed, good, has, lines};

#[test]
fn the_history_of_a_file_is_shown_wherever_it_is() {
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
    // The balancer may have noticed by now that the server is down.
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
fn waiting_files_are_listed_page_by_page() {
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
fn an_invalid_query_ends_only_its_connection() {
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

/// Asks on a connection that carries nothing else.
fn answer(wire: &mut Wire, ask: &Value) -> Value {
    wire.write(&query(ask.to_string().as_bytes()));
    let (header, content) = wire.frame().unwrap();
    assert!(header.contains(r#""request_type":"query""#), "{header}");
    serde_json::from_slice(&content).unwrap()
}
