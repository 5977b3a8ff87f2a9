//! Files that no server can store although the servers are well, and files that operators drop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use bilico_testkit::{
    Client, Farm, frame, number, pretend_server, put_header, wait_for_line, wait_until,
};

/// A pretended server that stores files, except those with some titles.
#[derive(Clone, Default)]
struct Picky {
    stored: Arc<Mutex<BTreeMap<u64, String>>>,
    dropped: Arc<Mutex<Vec<u64>>>,
    /// Whether files titled `late` are acknowledged now.
    late: Arc<Mutex<bool>>,
}

impl Picky {
    /// Starts it with an identity of this digit, and returns its address.
    fn start(&self, digit: &str) -> String {
        let ours = self.clone();
        pretend_server(Some(&digit.repeat(32)), move |mut wire| {
            wire.write(&frame(r#"{"request_type":"holding","last":true}"#, b""));
            let mut late: Option<Vec<u8>> = None;
            wire.0
                .set_read_timeout(Some(std::time::Duration::from_millis(20)))
                .unwrap();
            loop {
                let mut first = [0];
                match wire.0.peek(&mut first) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(_) => {
                        if let Some(answer) = late.take_if(|_| *ours.late.lock().unwrap()) {
                            wire.write(&answer);
                        }
                        continue;
                    }
                }
                wire.0.set_read_timeout(None).unwrap();
                let Some((header, _)) = wire.message() else {
                    return;
                };
                wire.0
                    .set_read_timeout(Some(std::time::Duration::from_millis(20)))
                    .unwrap();
                let number = &header["request_number"];
                if header["request_type"] == "drop" {
                    ours.dropped.lock().unwrap().push(number.as_u64().unwrap());
                    wire.write(&frame(
                        &json!({"request_type": "dropped", "request_number": number}).to_string(),
                        b"",
                    ));
                }
                if header["request_type"] != "store" {
                    continue;
                }
                let stored = frame(
                    &json!({"request_type": "stored", "request_number": number}).to_string(),
                    b"",
                );
                match header["title"].as_str().unwrap() {
                    "poison" => {
                        let reason = "cannot store: file name too long";
                        let answer = json!({"request_type": "not_stored", "request_number": number, "code": "storage", "reason": reason});
                        wire.write(&frame(&answer.to_string(), b""));
                    }
                    "late" => late = Some(stored),
                    title => {
                        ours.stored
                            .lock()
                            .unwrap()
                            .insert(number.as_u64().unwrap(), title.to_owned());
                        wire.write(&stored);
                    }
                }
            }
        })
    }
}

/// Puts a file with this title, and returns its number.
fn put(client: &mut Client, id: u64, title: &str) -> u64 {
    let mut header = put_header(id, None);
    header["title"] = json!(title);
    client.wire.write(&frame(&header.to_string(), b"x"));
    number(&client.expect("accepted", id))
}

/// The file paused both servers again and again, was sent for ever, and never became a dead letter.
#[test]
fn a_file_that_servers_cannot_store_stops_no_other_and_becomes_a_dead_letter() {
    let (one, two) = (Picky::default(), Picky::default());
    let farm = Farm::over(&[one.start("a"), two.start("b")], &["--max-attempts", "3"]);
    farm.wait_until_up();
    let mut client = Client::connect(&farm.balancer.address);
    let poison = put(&mut client, 0, "poison");
    let mut sent = 0;
    wait_until("the file to be a dead letter", || {
        sent += 1;
        put(&mut client, sent, "good");
        farm.status().queue.dead == 1
    });
    wait_until("the others to be delivered", || {
        farm.status().delivered == sent
    });
    assert_eq!(farm.show(poison)["place"], "dead");
    let dead = client.expect("dead", 0);
    assert!(
        dead["reason"]
            .as_str()
            .unwrap()
            .contains("refused 3 times, the last time: cannot store"),
        "{dead}"
    );
    let log = farm.log();
    assert!(
        !log.lines().any(|line| line.contains("server ineligible")),
        "{log}"
    );
}

/// An operator was told that there is no such dead letter.
#[test]
fn a_waiting_file_can_be_dropped_before_and_after_a_restart() {
    let server = Picky::default();
    let mut farm = Farm::over(&[server.start("a")], &[]);
    farm.wait_until_up();
    let mut client = Client::connect(&farm.balancer.address);
    let (first, second) = (put(&mut client, 1, "poison"), put(&mut client, 2, "poison"));
    wait_for_line(|| farm.log(), &["came back", "number=1"]);
    let dropped = farm.queue(&["drop", "--yes", &first.to_string()]);
    assert_eq!(
        (dropped.code, &*dropped.stdout),
        (Some(0), "1 file thrown away\n"),
        "{}",
        dropped.stderr
    );
    let dead = client.expect("dead", 1);
    assert!(
        dead["reason"]
            .as_str()
            .unwrap()
            .contains("cancelled by an operator"),
        "{dead}"
    );
    farm.balancer.kill();
    farm.balancer.restart();
    assert_eq!(farm.show(first)["place"], "cancelled");
    // The file waits for the lists of its servers, and is not in memory.
    let dropped = farm.queue(&["drop", "--yes", &second.to_string()]);
    assert_eq!(dropped.code, Some(0), "{}", dropped.stderr);
    assert_eq!(farm.show(second)["place"], "cancelled");
    let again = farm.queue(&["drop", "--yes", &second.to_string()]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.stderr.contains("it waits no longer"),
        "{}",
        again.stderr
    );
    assert_eq!(farm.status().queue.files(), 0);
}

#[test]
fn a_file_without_servers_can_be_dropped_after_a_restart() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = Client::connect(&farm.balancer.address);
    let number = put(&mut client, 1, "good");
    farm.balancer.kill();
    farm.balancer.restart();
    let dropped = farm.queue(&["drop", "--yes", &number.to_string()]);
    assert_eq!(dropped.code, Some(0), "{}", dropped.stderr);
    assert_eq!(farm.show(number)["place"], "cancelled");
    farm.balancer.kill();
    farm.balancer.restart();
    assert_eq!(
        (&farm.show(number)["place"], farm.status().queue.files()),
        (&json!("cancelled"), 0)
    );
}

/// The server may have stored the file by then: it is told to remove its copy.
#[test]
fn a_file_that_is_dropped_on_its_way_is_removed_where_it_arrived() {
    let server = Picky::default();
    let farm = Farm::over(&[server.start("a")], &[]);
    farm.wait_until_up();
    let mut client = Client::connect(&farm.balancer.address);
    let number = put(&mut client, 1, "late");
    wait_until("it to be on its way", || {
        farm.show(number)["place"] == "in_flight"
    });
    let dropped = farm.queue(&["drop", "--yes", &number.to_string()]);
    assert_eq!(dropped.code, Some(0), "{}", dropped.stderr);
    assert_eq!(farm.show(number)["place"], "cancelled");
    client.expect("dead", 1);
    assert!(server.dropped.lock().unwrap().is_empty());
    *server.late.lock().unwrap() = true;
    wait_until("the server to be told", || {
        *server.dropped.lock().unwrap() == [number]
    });
    assert_eq!(
        (&farm.show(number)["place"], farm.status().delivered),
        (&json!("cancelled"), 0)
    );
}
