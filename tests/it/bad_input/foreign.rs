//! What peers say: of a long text an excerpt is kept, and lines that peers cause at will are few.

use std::net::Shutdown;
use std::time::Duration;

use bilico_testkit::{
    Farm, PREFACE, Served, Wire, frame, pretend_server, start_balancer, wait_for_line, wait_until,
};
use serde_json::json;

use super::peers::{Honest, peer_of};

/// Longer than a line of the log may become: each of these takes six bytes there.
const BOMB: usize = 4 << 20;

/// The longest line of a log, in bytes.
fn longest(log: &str) -> usize {
    log.lines().map(str::len).max().unwrap_or(0)
}

/// Objects that are wrong in a field which holds a very long string.
fn bombs() -> [String; 3] {
    let long = "\u{1}".repeat(BOMB);
    [
        json!({"request_type": long}).to_string(),
        json!({"request_type": "file", "title": "x", "content": "y", "request_number": long})
            .to_string(),
        json!({"request_type": [long]}).to_string(),
    ]
}

#[test]
fn a_long_text_in_a_bad_object_takes_little_of_the_log_and_of_memory() {
    let farm = Farm::start(&[1]);
    let alone = Served::start();
    for (address, log) in [
        (
            &farm.balancer.address,
            &(|| farm.log()) as &dyn Fn() -> String,
        ),
        (&alone.role.address, &|| alone.log()),
    ] {
        for bomb in bombs() {
            let mut wire = Wire::connect(address);
            // A server answers an unknown type with its overload byte, as it always did.
            wire.write(bomb.as_bytes());
            let _ = wire.0.shutdown(Shutdown::Write);
            if wire.rest().is_empty() {
                let line = wait_for_line(log, &["connection closed", &peer_of(&wire)]);
                assert!(line.len() < 4096, "{} bytes: {line}", line.len());
            }
        }
        assert!(longest(&log()) < 4096);
    }
    // Six bytes for each character of the text would be more than this.
    let resident = farm.balancer.resident();
    assert!(resident < 150 << 20, "{resident} bytes");
    assert_eq!(farm.status().accepted, 0);
}

#[test]
fn a_long_reason_of_a_server_is_cut() {
    let reason = "\u{1b}]0;x".repeat(5_000);
    let refusing = move |mut wire: Wire| {
        while let Some((message, _)) = wire.message() {
            let number = &message["request_number"];
            let not_stored = json!({"request_type": "not_stored", "request_number": number, "code": "malformed", "reason": reason});
            if message["request_type"] == "store" && !wire.say(&not_stored) {
                return;
            }
        }
    };
    let address = pretend_server(None, refusing);
    let dir = tempfile::tempdir().unwrap();
    let balancer = start_balancer(dir.path(), &[format!("{address}=1")], &[]);
    let farm = Farm {
        servers: Vec::new(),
        balancer,
        dir,
    };
    farm.wait_until_up();
    let mut wire = Wire::native(&farm.balancer.address);
    wire.write(&frame(r#"{"request_type":"put","id":1,"title":"x"}"#, b"x"));
    let dead = wire.frame_of("dead");
    assert!(dead.len() < 8192, "{} bytes", dead.len());
    assert!(longest(&farm.log()) < 8192);
    let shown = farm.queue(&["show", "1"]).stdout;
    assert!(
        longest(&shown) < 4096 && !shown.contains('\u{1b}'),
        "{shown}"
    );
}

#[test]
fn connections_that_break_the_rules_cannot_wash_the_log_away() {
    let farm = Farm::start(&[1]);
    let mut honest = Honest::connect(&farm);
    for _ in 0..1000 {
        let mut wire = Wire::connect(&farm.balancer.address);
        wire.write(b"nonsense");
        assert_eq!(wire.rest(), b"");
    }
    honest.go_on();
    let lines = || farm.log().matches("connection closed").count();
    wait_until("the lines to be written", || lines() >= 600);
    // Another one would come within that time.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(lines(), 600);
}

#[test]
fn a_greeting_is_short() {
    let farm = Farm::start(&[1]);
    let alone = Served::start();
    for (address, role) in [
        (&farm.balancer.address, "client"),
        (&alone.role.address, "balancer"),
    ] {
        let hello = |padding: usize| {
            let hello = json!({"request_type": "hello", "role": role, "x": "x".repeat(padding)});
            [&PREFACE[..], &frame(&hello.to_string(), b"")].concat()
        };
        let mut wire = Wire::connect(address);
        wire.write(&hello(4000));
        assert!(wire.greeting().0.contains("hello"));
        let mut wire = Wire::connect(address);
        wire.write(&hello(4096));
        let said = wire.rest();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("it must have 1 to 4096 here"), "{said}");
    }
}
