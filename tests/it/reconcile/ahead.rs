//! Content that comes ahead of its file's acceptance, as a file server has it.

use bilico_testkit::{Balancer, Served, noise, wait_until};
use serde_json::json;

use super::helpers::held;

const LARGE: usize = 3 << 20;

/// A link, and a lane that takes files ahead.
fn linked(served: &Served) -> (Balancer, Balancer) {
    let mut link = served.process("a", None);
    link.holding();
    let lane = served.lane("a");
    (link, lane)
}

#[test]
fn what_came_ahead_is_stored_under_the_number_that_follows() {
    let served = Served::start();
    assert_eq!(served.hello()["ahead"], json!(true));
    let (mut link, mut lane) = linked(&served);
    let content = noise(1, LARGE);
    lane.ahead(&content);
    wait_until("the content to be held", || {
        served.role.unfinished(&served.files_dir()) == 1
    });
    assert!(served.names().is_empty());
    lane.keep(7);
    lane.expect("stored", 7);
    assert_eq!(served.stored()["7_x.json"], content);
    // The next one can come over the same connection, and others in between.
    lane.put(8, &noise(8, LARGE));
    lane.ahead(&noise(9, 1));
    lane.keep(9);
    lane.expect("stored", 9);
    link.put(10, b"small");
    assert_eq!(served.names().len(), 4);
    let mut next = served.process("a", None);
    assert_eq!(next.holding()[0], held(7, &content));
}

#[test]
fn a_file_that_came_ahead_and_is_there_already_is_stored_once() {
    let served = Served::start();
    let (mut link, mut lane) = linked(&served);
    let content = noise(1, LARGE);
    link.put(7, &content);
    lane.ahead(&content);
    lane.keep(7);
    lane.expect("stored", 7);
    lane.ahead(&noise(2, LARGE));
    lane.keep(7);
    assert_eq!(lane.expect("not_stored", 7)["code"], "conflict");
    assert_eq!(served.names(), ["7_x.json"]);
}

/// What a balancer sends over a lane.
type Sends = fn(&mut Balancer);

/// It has no number, so nothing may be left of it.
#[test]
fn what_came_ahead_goes_with_its_connection() {
    for ends in ["closed", "killed", "newer link", "half"] {
        let mut served = Served::start();
        let (_link, mut lane) = linked(&served);
        let content = noise(1, LARGE);
        if ends == "half" {
            let whole = bilico_testkit::frame(r#"{"request_type":"ahead"}"#, &content);
            lane.0.write(&whole[..LARGE / 2]);
        } else {
            lane.ahead(&content);
        }
        wait_until("the content to be held", || {
            served.role.unfinished(&served.files_dir()) == 1
        });
        match ends {
            "killed" => served.crash(),
            "newer link" => {
                let mut next = served.process("a", None);
                assert_eq!(next.holding(), [[0; 3]; 0]);
            }
            _ => drop(lane),
        }
        wait_until("nothing to be held", || {
            served.role.unfinished(&served.files_dir()) == 0
        });
        assert!(served.names().is_empty(), "{ends}");
        let log = served.log();
        assert!(!log.contains(" WARN "), "uploads break off: {log}");
    }
}

#[test]
fn what_makes_no_sense_ends_the_connection_and_stores_nothing() {
    let keep = |lane: &mut Balancer| lane.keep(7);
    let twice = |lane: &mut Balancer| {
        lane.ahead(b"one");
        lane.ahead(b"two");
    };
    let again = |lane: &mut Balancer| {
        lane.ahead(b"one");
        lane.keep(7);
        lane.expect("stored", 7);
        lane.keep(8);
    };
    let empty = |lane: &mut Balancer| lane.ahead(b"");
    let damaged = |lane: &mut Balancer| {
        let mut frame = bilico_testkit::frame(r#"{"request_type":"ahead"}"#, &noise(1, LARGE));
        *frame.last_mut().unwrap() ^= 1;
        lane.0.write(&frame);
        lane.keep(7);
    };
    let cases: [(Sends, &str, usize); 5] = [
        (keep, "malformed", 0),
        (twice, "malformed", 0),
        (again, "malformed", 1),
        (empty, "malformed", 0),
        (damaged, "checksum", 0),
    ];
    for (case, (send, code, stored)) in cases.into_iter().enumerate() {
        let served = Served::start();
        let (mut link, mut lane) = linked(&served);
        send(&mut lane);
        assert_eq!(lane.bye()["code"], code, "{case}");
        link.put(9, b"goes on");
        assert_eq!(served.names().len(), stored + 1, "{case}");
        wait_until("nothing to be held", || {
            served.role.unfinished(&served.files_dir()) == 0
        });
    }
    // Whose files they are must be known.
    let served = Served::start();
    let mut nobody = Balancer::greet(&served.role.address, None);
    nobody.0.greeting();
    nobody.ahead(b"x");
    assert_eq!(nobody.bye()["code"], "malformed");
}

/// The work needs content in memory.
#[test]
fn a_server_that_works_on_its_files_takes_nothing_ahead() {
    let served = Served::with(&["--work-delay", "1ms"]);
    assert_eq!(served.hello().get("ahead"), None);
    let (_link, mut lane) = linked(&served);
    lane.ahead(b"x");
    assert_eq!(lane.bye()["code"], "malformed");
}
