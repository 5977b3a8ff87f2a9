//! Waiting files that are cancelled, and dead letters that are chosen by what they have in common.

use std::collections::BTreeSet;

use bilico_testkit::{Farm, Fickle, bilico, http, wait_until};
use serde_json::{Value, json};

use super::helpers::{failed, good, has, lines};

#[test]
fn waiting_files_are_cancelled_by_number_and_their_clients_hear_of_it() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=3 {
        client.put_accepted(id, None, b"x");
    }
    failed(
        &farm.queue(&["cancel", "2"]),
        2,
        &["to cancel file 2 cannot be undone", "hint: pass --yes"],
    );
    assert_eq!(
        good(farm.queue(&["cancel", "2", "--yes"])),
        "1 file cancelled\n"
    );
    let told = client.expect("dead", 2);
    assert_eq!(told["reason"], "cancelled by an operator while it waited");
    let some = farm.queue(&["cancel", "2", "3", "--yes"]);
    assert_eq!((some.code, &*some.stdout), (Some(1), "1 file cancelled\n"));
    has(
        &some.stderr,
        &["error: file 2 was not cancelled: it waits no longer"],
    );
    failed(
        &farm.queue(&["cancel", "9", "--yes"]),
        1,
        &["file 9 was not cancelled: it is not known"],
    );
    for restarted in [false, true] {
        if restarted {
            farm.crash_balancer();
        }
        assert_eq!(farm.show(2)["place"], "cancelled");
        has(
            &good(farm.queue(&["show", "2"])),
            &["cancelled by an operator while it waited"],
        );
        let waiting = http(&farm.balancer, "GET", "/api/v1/waiting?limit=9", None).json();
        assert_eq!(
            (&waiting["total"], &waiting["files"][0]["number"]),
            (&json!(1), &json!(1))
        );
    }
    farm.servers[0].restart();
    wait_until("the other file to be delivered", || {
        farm.show(1)["place"] == "delivered"
    });
    assert_eq!(farm.show(3)["place"], "cancelled");
}

#[test]
fn a_file_that_is_with_a_server_is_not_cancelled_and_says_why() {
    let mut farm = Farm::without_servers(&[1]);
    farm.servers[0].restart();
    farm.wait_until_up();
    farm.servers[0].signal("STOP");
    farm.client().put_accepted(1, None, b"x");
    wait_until("it to be with the server", || {
        farm.show(1)["place"] == "in_flight"
    });
    let answer = http(&farm.balancer, "DELETE", "/api/v1/waiting/1", None);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 409, "{error}");
    assert!(error.contains("file 1 was not cancelled: it "), "{error}");
    assert!(error.contains("`bilico queue drop 1`"), "{error}");
    farm.servers[0].signal("CONT");
    wait_until("it to be delivered", || {
        farm.show(1)["place"] == "delivered"
    });
}

/// Twenty kills while many files are cancelled, in memory and far back in the queue: what was
/// cancelled stays so, and nothing else is lost.
#[test]
fn kills_bring_no_cancelled_file_back_and_lose_no_other() {
    let mut farm = Farm::without_servers(&[1]);
    let admin = farm.balancer.admin.clone().unwrap();
    let mut client = farm.client();
    let each = 60;
    let mut accepted = BTreeSet::new();
    let mut cancelled: BTreeSet<u64> = BTreeSet::new();
    for round in 0..20 {
        for id in 0..each {
            accepted.insert(client.put_accepted(round * each + id, None, b"x"));
        }
        let args = ["queue", "cancel", "--all", "--yes", "--admin", &admin];
        let mut order = bilico(&args)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(4 + 3 * round));
        farm.balancer.kill();
        let _ = order.wait();
        farm.balancer.restart();
        let last = *accepted.last().unwrap();
        let places = places(&farm, last);
        let now: BTreeSet<u64> = places
            .iter()
            .filter(|(_, place)| place == "cancelled")
            .map(|(number, _)| *number)
            .collect();
        assert!(
            cancelled.is_subset(&now),
            "round {round}: cancelled files are back"
        );
        assert_eq!(
            places
                .iter()
                .map(|(number, _)| *number)
                .collect::<BTreeSet<_>>(),
            accepted,
            "round {round}"
        );
        cancelled = now;
        client = farm.client();
    }
    farm.servers[0].restart();
    wait_until("the rest to be delivered", || {
        farm.status().queue.files() == 0
    });
    let delivered: BTreeSet<u64> = places(&farm, *accepted.last().unwrap())
        .into_iter()
        .filter(|(_, place)| place == "delivered")
        .map(|(number, _)| number)
        .collect();
    assert_eq!(delivered, &accepted - &cancelled);
}

/// Every file up to `last` that the balancer knows, and where it is. Where a kill has cut a record
/// off, numbers are left out.
fn places(farm: &Farm, last: u64) -> Vec<(u64, String)> {
    let mut places = Vec::new();
    let place = |file: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (file["number"].as_u64().unwrap(), text(&file["place"]))
    };
    for line in lines(&good(farm.queue(&["ls", "--json", "--limit", "100000"]))) {
        places.push(place(&line));
    }
    let waiting: BTreeSet<u64> = places.iter().map(|(number, _)| *number).collect();
    for number in 1..=last {
        if waiting.contains(&number) {
            continue;
        }
        let answer = http(
            &farm.balancer,
            "GET",
            &format!("/api/v1/files/{number}"),
            None,
        );
        if answer.status == 200 {
            places.push(place(&answer.json()));
        }
    }
    places
}

#[test]
fn many_files_are_chosen_by_title_and_the_rest_stays() {
    let farm = Farm::without_servers(&[1]);
    let put = |title: &str| {
        let path = format!("/files/{title}");
        let answer = http(&farm.balancer, "PUT", &path, Some(&json!(1)));
        assert_eq!(answer.status, 202, "{answer:?}");
    };
    for title in ["a.tmp", "b.tmp", "c.txt", "a%20b.tmp"] {
        put(title);
    }
    let query = |path: &str| http(&farm.balancer, "POST", path, None);
    for path in [
        "/api/v1/waiting/cancel",
        "/api/v1/waiting/cancel?all=true&title=x",
        "/api/v1/waiting/cancel?reason=x",
        "/api/v1/waiting/cancel?all=true&limit=0",
        "/api/v1/waiting/cancel?titel=x",
        "/api/v1/dead/drop",
    ] {
        let answer = query(path);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    let one = query("/api/v1/waiting/cancel?title=*.tmp&limit=1").json();
    assert_eq!(
        (&one["files"], &one["after"], &one["up_to"]),
        (&json!(1), &json!(1), &json!(4))
    );
    assert_eq!(
        good(farm.queue(&["cancel", "--title", "*.tmp", "--yes"])),
        "2 files cancelled\n"
    );
    assert_eq!(
        good(farm.queue(&["cancel", "--all", "--yes", "--json"])),
        "{\"files\":1,\"up_to\":4}\n"
    );
    let events = http(&farm.balancer, "GET", "/api/v1/notices", None).json();
    let texts: Vec<&str> = events["notices"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "cancelled")
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(
        texts[1],
        "2 waiting files with titles like \"*.tmp\" cancelled"
    );
}

#[test]
fn dead_letters_are_replayed_and_dropped_by_their_reason() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let mut client = farm.client();
    client.put(1, None, b"x");
    client.expect("dead", 1);
    server.says(Some("conflict"));
    client.put(2, None, b"y");
    client.expect("dead", 2);
    assert_eq!(
        good(farm.queue(&["drop", "--reason", "nothing like that", "--yes"])),
        "0 files thrown away\n"
    );
    assert_eq!(
        good(farm.queue(&["drop", "--reason", "TOO_LARGE", "--yes"])),
        "1 file thrown away\n"
    );
    assert_eq!(farm.show(1)["place"], "dropped");
    server.says(None);
    assert_eq!(
        good(farm.queue(&["replay", "--title", "*"])),
        "1 file replayed\n"
    );
    wait_until("it to be delivered", || {
        farm.show(2)["place"] == "delivered"
    });
    for args in [
        &["drop"][..],
        &["drop", "1", "--all"],
        &["drop", "--all", "--title", "x"],
        &["cancel", "--reason", "x"],
    ] {
        assert_eq!(farm.queue(args).code, Some(2), "{args:?}");
    }
}

/// After a replay all that had happened to the file before was forgotten.
#[test]
fn what_happened_before_a_replay_is_still_told_after_it() {
    let server = Fickle::start(Some("too_large"));
    let mut farm = server.farm(&[]);
    let mut client = farm.client();
    client.put(1, None, b"x");
    client.expect("dead", 1);
    failed(
        &farm.queue(&["drop", "1"]),
        2,
        &["to drop file 1 cannot be undone", "hint: pass --yes"],
    );
    assert_eq!(good(farm.queue(&["replay", "1"])), "1 file replayed\n");
    farm.wait_for_dead(1);
    for restarted in [false, true] {
        if restarted {
            farm.crash_balancer();
        }
        let shown = good(farm.queue(&["show", "1"]));
        assert_eq!(shown.matches("came back from").count(), 2, "{shown}");
        assert_eq!(shown.matches("it was replayed later").count(), 1, "{shown}");
        assert!(!shown.contains("times more"), "{shown}");
    }
    farm.wait_until_up();
    server.says(None);
    good(farm.queue(&["replay", "1"]));
    wait_until("it to be delivered", || {
        farm.show(1)["place"] == "delivered"
    });
    let shown = good(farm.queue(&["show", "1"]));
    assert_eq!(shown.matches("it was replayed later").count(), 2, "{shown}");
}
