//! Where a file is, and lists of files.

use bilico_testkit::{Farm, frame, wait_until};
use serde_json::json;

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
