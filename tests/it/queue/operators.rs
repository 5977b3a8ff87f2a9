//! An operator's power: over the admin listener, and nowhere else.

use bilico_testkit::{Client, Farm, Fickle, bilico, frame, http, put_header, run, start_balancer};

use super::helpers::failed;

#[test]
fn without_an_admin_listener_it_is_exit_code_3_with_a_remedy() {
    let mut farm = Farm::without_servers(&[1]);
    let admin = farm.balancer.admin.clone().unwrap();
    // A balancer that has none is as far away as one that is down.
    farm.balancer.kill();
    let args = ["--journal", "other", "--admin", "none"];
    farm.balancer = start_balancer(farm.dir.path(), &["127.0.0.1:1=1".to_owned()], &args);
    for (args, purpose) in [
        (&["show", "1"][..], "to show file 1"),
        (&["ls"], "to list the files that wait"),
        (&["dead", "--json"], "to list the dead letters"),
        (&["replay", "1"], "to replay file 1"),
        (&["replay", "--all"], "to replay all dead letters"),
        (&["drop", "1", "--yes"], "to drop file 1"),
        (&["cancel", "--all", "--yes"], "to cancel all waiting files"),
        (&["save", "1"], "to save file 1"),
    ] {
        let mut queue = bilico(&["queue"]);
        let ended = run(queue.args(args).args(["--admin", &admin]), "");
        let remedy = "unless it was started with --admin none: name that address with --admin";
        failed(&ended, 3, &[&admin, purpose, remedy]);
    }
    // An order must not go to another balancer than the one that the flag of old names.
    let elsewhere = ["drop", "1", "--balancer", &farm.balancer.address];
    let ended = run(bilico(&["queue"]).args(elsewhere), "");
    failed(
        &ended,
        2,
        &["pass the address of the balancer's admin listener"],
    );
    // What tells the balancer to have none may be in the environment of everybody.
    let ended = run(bilico(&["queue", "ls"]).env("BILICO_ADMIN", "none"), "");
    failed(
        &ended,
        2,
        &["start it with --admin ADDR, and name the same address here"],
    );
}

/// Any client, from wherever it could reach this port, could delete accepted files and list all
/// titles.
#[test]
fn the_clients_port_has_no_operators_power() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let mut client = farm.client();
    client.put(1, None, b"x");
    client.expect("dead", 1);
    for (header, content) in [
        (
            r#"{"request_type":"query"}"#,
            r#"{"ask":"drop","number":1}"#,
        ),
        (r#"{"request_type":"query"}"#, r#"{"ask":"replay"}"#),
        (r#"{"request_type":"query"}"#, r#"{"ask":"dead","limit":9}"#),
        (
            r#"{"request_type":"query"}"#,
            r#"{"ask":"waiting","limit":9}"#,
        ),
        (
            r#"{"request_type":"query"}"#,
            r#"{"ask":"find","title":"","limit":9}"#,
        ),
        (
            r#"{"request_type":"query"}"#,
            r#"{"ask":"show","number":1}"#,
        ),
        (r#"{"request_type":"drop","request_number":1}"#, ""),
        (r#"{"request_type":"replay","request_number":1}"#, ""),
    ] {
        let mut intruder = Client::connect(&farm.balancer.address);
        intruder.wire.write(&frame(header, content.as_bytes()));
        let bye = intruder.bye();
        assert_eq!(bye["code"], "malformed", "{bye} for {header} {content}");
        let reason = bye["reason"].as_str().unwrap();
        assert!(reason.starts_with("un"), "{bye} for {header} {content}");
        assert_eq!(intruder.wire.rest(), b"");
        assert_eq!(farm.status().queue.dead, 1, "{header} {content}");
    }
    // Who asks for nothing but his own files goes on.
    client.put(2, None, b"y");
    client.expect("dead", 2);
    assert!(server.numbers().is_empty());
}

#[test]
fn a_question_that_makes_no_sense_is_refused_with_the_reason() {
    let farm = Farm::without_servers(&[1]);
    let get = |path: &str| http(&farm.balancer, "GET", path, None);
    for path in [
        "/api/v1/files/-1",
        "/api/v1/files/1.5",
        "/api/v1/files/18446744073709551616",
        "/api/v1/files",
        "/api/v1/queue?limit=1.5",
        "/api/v1/queue?limit=0",
        "/api/v1/queue?limit=4294967295",
        "/api/v1/dead?after=-1",
        "/api/v1/dead?limit=1001",
    ] {
        let answer = get(path);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
    for (method, path, status) in [
        ("DELETE", "/api/v1/dead/x", 400),
        ("DELETE", "/api/v1/dead", 405),
        ("POST", "/api/v1/dead/x/replay", 400),
        ("POST", "/api/v1/files/1", 405),
    ] {
        let answer = http(&farm.balancer, method, path, None);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let mut client = farm.client();
    client.put_accepted(1, None, b"x");
    assert_eq!(get("/api/v1/files/1").json()["place"], "waiting");
    // No answer is longer than a page.
    for id in 2..=1100 {
        client
            .wire
            .write(&frame(&put_header(id, None).to_string(), b""));
    }
    for id in 2..=1100 {
        client.expect("accepted", id);
    }
    let listed = get("/api/v1/queue?limit=1000&after=50").json();
    assert_eq!(listed["files"].as_array().unwrap().len(), 1000);
    assert_eq!(listed["total"], 1100);
}
