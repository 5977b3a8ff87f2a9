//! `bilico weight`, `drain`, `server` and `reload`.

use bilico_testkit::{Farm, Running, start_server, wait_for, wait_until};
use serde_json::Value;

use super::helpers::{command, order, port, printed, printed_json, refused, row, send};

/// Keeps a server's files in flight for as long as it is stopped.
const PATIENT: [&str; 4] = ["--probe-timeout", "1h", "--stall-timeout", "1h"];

/// A farm of one patient balancer and one stopped server, with so many files in flight to it.
fn with_files_in_flight(count: usize) -> Farm {
    let farm = Farm::with(&[1], &[], &PATIENT);
    farm.servers[0].signal("STOP");
    send(&farm, count, &["--wait", "accepted"]);
    wait_until("the files to be in flight", || {
        farm.server_status(0).in_flight == count
    });
    farm
}

#[test]
fn a_weight_applies_from_the_next_file_on() {
    let farm = Farm::start(&[3, 2, 1]);
    let third = &farm.servers[2].address;
    let said = printed(&farm.balancer, &["weight", port(third), "5"]);
    assert_eq!(
        said,
        format!("{third} has weight 5: 50.0 % of the files from now on\n")
    );
    send(&farm, 100, &[]);
    assert!(
        (48..=52).contains(&farm.stored(2).len()),
        "{}",
        farm.stored(2).len()
    );

    assert_eq!(printed(&farm.balancer, &["weight", third, "1", "-q"]), "");
    assert_eq!(
        printed_json(
            &farm.balancer,
            &["weight", &format!(":{}", port(third)), "0"]
        )["weight"],
        0
    );
    assert!(
        printed(&farm.balancer, &["weight", third, "0"])
            .contains("has weight 0: no files from now on")
    );
    send(&farm, 10, &[]);
    assert!(
        (48..=52).contains(&farm.stored(2).len()),
        "none of the last ten"
    );
    let max = printed(&farm.balancer, &["weight", third, "1000000"]);
    assert!(max.contains("has weight 1000000: 100.0 %"), "{max}");
}

#[test]
fn unknown_servers_and_invalid_weights_are_refused() {
    let farm = Farm::start(&[1, 1]);
    let (first, second) = (&*farm.servers[0].address, &*farm.servers[1].address);
    for args in [
        &["weight", "127.0.0.1", "3"][..],
        &["drain", "127.0"],
        &["servers", "remove", ":"],
    ] {
        refused(
            &farm.balancer,
            args,
            1,
            &["error: ", "2 servers", "hint: ", first, second],
        );
    }
    for args in [
        &["weight", "elsewhere:1", "3"][..],
        &["undrain", "elsewhere:1"],
        &["servers", "remove", "elsewhere:1"],
    ] {
        refused(
            &farm.balancer,
            args,
            1,
            &["error: there is no server \"elsewhere:1\"", "hint: ", first],
        );
    }
    let near = format!("{first}0");
    refused(
        &farm.balancer,
        &["drain", &near],
        1,
        &[&format!("hint: did you mean {first}?")],
    );
    for weight in ["-1", "1000001", "1000000000", "x", "", "1.5"] {
        refused(&farm.balancer, &["weight", first, weight], 2, &["error: "]);
    }
    for args in [
        &["weight", first][..],
        &["drain"],
        &["drain", first, "--timeout", "1s"],
        &["servers", "add", "x"],
    ] {
        refused(&farm.balancer, args, 2, &["error: "]);
    }
    refused(
        &farm.balancer,
        &["servers", "add", &format!("{first}=2")],
        1,
        &["error: ", first],
    );
    assert!(
        farm.status()
            .servers
            .iter()
            .all(|server| server.weight == 1 && server.eligible),
        "nothing changed"
    );
}

#[test]
fn drain_waits_for_files_in_flight_and_sends_no_new_ones() {
    let farm = with_files_in_flight(3);
    let server = &*farm.servers[0].address;
    let said = printed(&farm.balancer, &["drain", server]);
    assert_eq!(
        said,
        format!("{server} is drained: it gets no new files; 3 files are in flight to it\n")
    );
    refused(
        &farm.balancer,
        &["drain", server, "--wait", "--timeout", "100ms"],
        5,
        &[
            "error: time limit reached: 3 files are in flight to",
            "hint: ",
        ],
    );
    let waiting = Running::start(&mut command(&farm.balancer, &["drain", server, "--wait"]));
    send(&farm, 1, &["--wait", "accepted"]);
    farm.servers[0].signal("CONT");
    let ended = waiting.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        format!("{server} is drained: it gets no new files; no files are in flight to it\n")
    );
    assert_eq!(
        farm.stored(0).len(),
        3,
        "what was in flight has arrived, and nothing else"
    );
    let status = order(&farm.balancer, &["status"]);
    assert_eq!(
        (status.code, row(&status.stdout, server)[1]),
        (Some(4), "drained"),
        "{status:?}"
    );

    let said = wait_for("the server to be seen up again", || {
        let said = printed(&farm.balancer, &["undrain", server]);
        said.contains("100.0 %").then_some(said)
    });
    assert_eq!(
        said,
        format!("{server} is no longer drained: 100.0 % of the files from now on\n")
    );
    wait_until("the file that waited to arrive", || {
        farm.stored(0).len() == 4
    });
}

#[test]
fn servers_come_and_go_while_it_runs() {
    let mut farm = Farm::start(&[1]);
    let first = farm.servers[0].address.clone();
    let added = start_server(farm.dir.path(), 2, &[]);
    let second = added.address.clone();
    farm.servers.push(added);
    let said = printed(&farm.balancer, &["servers", "add", &format!("{second}=3")]);
    assert!(
        said.starts_with(&format!("{second} is added with weight 3: ")),
        "{said}"
    );
    refused(
        &farm.balancer,
        &["servers", "add", &format!("{second}=1")],
        1,
        &["error: ", &second],
    );
    farm.wait_until_up();
    send(&farm, 40, &[]);
    assert!(
        (28..=32).contains(&farm.stored(1).len()),
        "{}",
        farm.stored(1).len()
    );

    let table = printed(&farm.balancer, &["servers"]);
    assert_eq!(
        printed(&farm.balancer, &["servers", "list"])
            .lines()
            .count(),
        3
    );
    assert_eq!(
        (row(&table, &first)[1], row(&table, &second)[1]),
        ("up", "up"),
        "{table}"
    );
    let names = |list: Value| -> Vec<String> {
        list["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| server["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(printed_json(&farm.balancer, &["servers"])),
        [first.clone(), second.clone()]
    );

    let said = printed(&farm.balancer, &["servers", "remove", &second, "--wait"]);
    assert_eq!(said, format!("{second} is removed\n"));
    assert_eq!(names(printed_json(&farm.balancer, &["servers"])), [&*first]);
    refused(
        &farm.balancer,
        &["servers", "remove", &second],
        1,
        &["error: there is no server"],
    );
    assert_eq!(
        printed(
            &farm.balancer,
            &["servers", "add", &format!("{second}=1"), "-q"]
        ),
        "",
        "it can come back"
    );
}

#[test]
fn a_server_is_removed_once_its_files_in_flight_have_ended() {
    let farm = with_files_in_flight(2);
    let server = &*farm.servers[0].address;
    let said = printed(&farm.balancer, &["servers", "remove", server]);
    assert!(
        said.contains("gets no new files") && said.contains("2 files"),
        "{said}"
    );
    refused(
        &farm.balancer,
        &["servers", "remove", server, "--wait", "--timeout", "100ms"],
        5,
        &["2 files are in flight"],
    );
    let waiting = Running::start(&mut command(
        &farm.balancer,
        &["servers", "remove", server, "--wait", "--json"],
    ));
    farm.servers[0].signal("CONT");
    let ended = waiting.end();
    // The server may be removed before this command asks.
    let gone = if ended.code == Some(1) {
        ended.stderr.contains("no server")
    } else {
        ended.stdout.contains("\"removed\":true")
    };
    assert!(gone, "{ended:?}");
    assert_eq!(farm.stored(0).len(), 2);
    assert_eq!(
        order(&farm.balancer, &["status"]).code,
        Some(4),
        "there is none left"
    );
}

#[test]
fn reload_without_a_configuration_file_says_so() {
    let farm = Farm::start(&[1]);
    refused(
        &farm.balancer,
        &["reload"],
        1,
        &["error: ", "no configuration file", "hint: ", "--config"],
    );
}
