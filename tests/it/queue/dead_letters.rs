//! Dead letters: files that no server can take.

use std::fs;

use bilico_testkit::{Farm, Fickle, noise, wait_until};
use serde_json::json;

use super::helpers::{failed, good, has, lines};

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
        &farm.queue(&["drop", "7", "--yes"]),
        1,
        &["file 7 cannot be dropped: it is not known"],
    );
    assert_eq!(farm.queue(&["replay"]).code, Some(2));
    assert_eq!(farm.queue(&["replay", "1", "--all"]).code, Some(2));

    // Nothing has changed: it becomes a dead letter again, and its history goes on.
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
    assert_eq!(
        good(farm.queue(&["drop", "2", "--yes"])),
        "1 file thrown away\n"
    );
    failed(
        &farm.queue(&["drop", "2", "--yes"]),
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

/// Clients were told of dead letters before that was durable: after a crash such a file waited
/// again.
#[test]
fn dead_letters_can_be_sent_again_byte_for_byte() {
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
fn a_client_that_asks_again_is_told_of_its_dead_letter() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let mut client = farm.client();
    client.put(1, Some("k"), b"x");
    client.expect("dead", 1);
    assert_eq!(
        good(farm.queue(&["drop", "1", "--yes"])),
        "1 file thrown away\n"
    );
    client.put(2, Some("k"), b"x");
    client.expect("accepted", 2);
    let dead = client.expect("dead", 2);
    assert!(
        dead["reason"].as_str().unwrap().contains("thrown away"),
        "{dead}"
    );
}

#[test]
fn a_passing_refusal_makes_no_dead_letter() {
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
