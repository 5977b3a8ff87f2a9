//! Servers whose lists of files make no sense.

use std::fs;
use std::io::Write;

use bilico_testkit::{
    Client, Wire, frame, noise, pretend_server, start_balancer, start_server, stored, wait_for_line,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::helpers::MIB;

const IDENTITY: &str = "0123456789abcdef0123456789abcdef";

fn holding(entries: &Value, last: bool) -> Vec<u8> {
    let content = if entries.is_null() {
        Vec::new()
    } else {
        serde_json::to_vec(entries).unwrap()
    };
    frame(
        &json!({"request_type": "holding", "last": last}).to_string(),
        &content,
    )
}

/// A list of files that a pretended server sends.
struct Nonsense {
    what: &'static str,
    say: fn(&mut Wire),
    /// A part of the line in the balancer's log; `None` if the list can be used.
    logged: &'static str,
}

fn nonsense() -> Vec<Nonsense> {
    fn tell(wire: &mut Wire, bytes: &[u8]) {
        let _ = wire.0.write_all(bytes);
    }
    let case = |what, say, logged| Nonsense { what, say, logged };
    vec![
        case(
            "a number that nobody knows",
            |wire| {
                tell(
                    wire,
                    &holding(&json!([[0, 1, 2], [0, u64::MAX, u32::MAX]]), true),
                );
            },
            "",
        ),
        case(
            "too much in one part",
            |wire| {
                let mut message = holding(&json!([]), true);
                message[4..12].copy_from_slice(&(2 * MIB as u64).to_be_bytes());
                tell(wire, &message);
                tell(wire, &vec![b' '; 2 * MIB]);
            },
            "list of its files is too long",
        ),
        case(
            "parts without end",
            |wire| {
                let part = holding(&Value::Null, false);
                while wire.0.write_all(&part).is_ok() {
                    // A slow drip: no part is late.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            },
            "did not list its files within",
        ),
        case(
            "many entries without end",
            |wire| {
                let part = holding(&json!(vec![[5_000_000, 1, 1]; 16_000]), false);
                while wire.0.write_all(&part).is_ok() {}
            },
            "list of its files is too long",
        ),
        case(
            "no JSON",
            |wire| {
                tell(
                    wire,
                    &frame(r#"{"request_type":"holding","last":true}"#, b"[[1,2"),
                );
            },
            "holding",
        ),
        case(
            "something else",
            |wire| {
                tell(
                    wire,
                    &frame(r#"{"request_type":"stored","request_number":1}"#, b""),
                );
            },
            "unexpected message from the server",
        ),
        case(
            "nothing, and it closes",
            |wire| drop(wire.0.shutdown(std::net::Shutdown::Both)),
            "closed the connection before",
        ),
        case("nothing", |_| {}, "silent for"),
    ]
}

#[test]
fn a_list_of_files_that_makes_no_sense_costs_no_file() {
    for Nonsense { what, say, logged } in nonsense() {
        let dir = tempfile::tempdir().unwrap();
        let pretended = pretend_server(Some(IDENTITY), move |mut wire| {
            say(&mut wire);
            wire.swallow();
        });
        let mut real = start_server(dir.path(), 1, &[]);
        let specs = [format!("{pretended}=1"), format!("{}=1", real.address)];
        let flags = ["--stall-timeout", "500ms"];
        // Files that wait before the balancer asks any server.
        let down = [specs[1].clone()];
        real.kill();
        let first = start_balancer(dir.path(), &down, &flags);
        let mut client = Client::connect(&first.address);
        for id in 1..=30 {
            assert_eq!(
                client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 700)),
                id
            );
        }
        drop(first);
        real.restart();
        let balancer = start_balancer(dir.path(), &specs, &flags);
        let mut client = Client::connect(&balancer.address);
        for id in 1..=40 {
            client.put(id, Some(&format!("k{id}")), &noise(id, 700));
        }
        for id in 1..=40 {
            let delivered = client.expect("delivered", id);
            assert_eq!(delivered["server"], *real.address, "{what}");
        }
        check_all_stored(&dir, what);
        if !logged.is_empty() {
            wait_for_line(
                || fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap(),
                &[logged],
            );
        }
    }
}

#[track_caller]
fn check_all_stored(dir: &TempDir, what: &str) {
    let stored = stored(&dir.path().join("json_files_1"));
    assert_eq!(stored.len(), 40, "{what}");
    for id in 1..=40 {
        assert!(
            stored[&format!("{id}_k{id}")] == noise(id, 700),
            "{what}: file {id}"
        );
    }
}
