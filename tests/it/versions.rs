//! Peers of other releases: the range of versions in `hello`, and what both sides say when they have
//! none in common.

use bilico_testkit::{
    Farm, PREFACE, Wire, bilico, frame, pretend, run, server_hello, start_balancer, start_server,
    wait_until,
};
use serde_json::{Value, json};

const IDENTITY: &str = "0123456789abcdef0123456789abcdef";

/// What both sides of such a connection say.
const NOTHING_IN_COMMON: &str = "no version of the native protocol in common: one side speaks version 1, the other \
     versions 2 to 3; upgrade the side that speaks version 1, by way of a release that speaks both";

fn with_versions(mut hello: Value, min: u16, max: u16) -> Value {
    hello["version_min"] = json!(min);
    hello["version_max"] = json!(max);
    hello
}

/// What a role answers to this `hello`, opened by this version.
fn answer_to(address: &str, opened_by: u8, hello: &Value) -> (Value, Vec<Value>) {
    let mut wire = Wire::connect(address);
    let mut preface = PREFACE;
    preface[7] = opened_by;
    wire.write(&preface);
    wire.write(&frame(&hello.to_string(), b""));
    let (first, _) = wire.greeting();
    let mut rest = Vec::new();
    if first.contains("bye") {
        assert!(wire.rest().is_empty(), "a `bye` is the last message");
    } else {
        wire.0.shutdown(std::net::Shutdown::Write).unwrap();
        while let Some((message, _)) = wire.message() {
            rest.push(message);
        }
    }
    (serde_json::from_str(&first).unwrap(), rest)
}

/// The `bye` among them.
fn bye((first, rest): (Value, Vec<Value>)) -> Value {
    let mut all = [first].into_iter().chain(rest);
    all.find(|message| message["request_type"] == "bye")
        .expect("a `bye`")
}

#[test]
fn balancer_and_server_tell_a_peer_of_later_versions_both_ranges_and_the_remedy() {
    let farm = Farm::start(&[1]);
    let client = json!({"request_type": "hello", "role": "client"});
    let balancer = json!({"request_type": "hello", "role": "balancer", "identity": IDENTITY});
    for (address, hello) in [
        (&farm.balancer.address, client),
        (&farm.servers[0].address, balancer),
    ] {
        for opened_by in [1, 2] {
            let refused = bye(answer_to(
                address,
                opened_by,
                &with_versions(hello.clone(), 2, 3),
            ));
            assert_eq!(refused["code"], "version");
            let reason = refused["reason"].as_str().unwrap();
            if opened_by == 1 {
                assert_eq!(reason, NOTHING_IN_COMMON);
            } else {
                assert!(
                    reason.contains("speaks version 1, the other version 2 and later"),
                    "{reason}"
                );
            }
        }
        for (min, max) in [(1, 1), (1, 3)] {
            let (first, rest) = answer_to(address, 1, &with_versions(hello.clone(), min, max));
            assert_eq!(first["request_type"], "hello");
            assert_eq!(
                (&first["version_min"], &first["version_max"]),
                (&json!(1), &json!(1))
            );
            assert!(
                rest.iter().all(|message| message["code"] != "version"),
                "{rest:?}"
            );
        }
    }
}

#[test]
fn a_server_of_later_versions_gets_nothing_and_its_state_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let later = pretend(&with_versions(server_hello(), 2, 3), |_| {
        panic!("no link goes to a server that speaks no common version")
    });
    let servers = vec![start_server(dir.path(), 1, &[])];
    let specs = [servers[0].address.clone(), later];
    let balancer = start_balancer(dir.path(), &specs, &[]);
    let farm = Farm {
        servers,
        balancer,
        dir,
    };
    wait_until("one server to be up, the other one to be down", || {
        farm.server_status(0).eligible && farm.server_status(1).reason.is_some()
    });
    let report = farm.server_status(1);
    assert!(!report.eligible);
    let reason = report.reason.unwrap();
    assert!(reason.contains(NOTHING_IN_COMMON), "{reason}");
    farm.write("a", "content");
    let sent = farm.send(&["a"]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(farm.stored(0).len(), 1);
}

#[test]
fn a_client_says_that_the_balancer_speaks_later_versions_and_does_not_try_again() {
    let hello = json!({"request_type": "hello", "role": "balancer"});
    let address = pretend(&with_versions(hello, 2, 3), |_| {});
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "content").unwrap();
    let ended = run(
        bilico(&["send", "--balancer", &address, "--retry", "10m", "a"]).current_dir(dir.path()),
        "",
    );
    assert!(ended.stderr.contains(NOTHING_IN_COMMON), "{}", ended.stderr);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
}
