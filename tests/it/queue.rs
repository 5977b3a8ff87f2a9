//! `bilico queue`: where a file is and why, and what becomes of files that no server can take.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{
    Client, Ended, Farm, bilico, frame, http, noise, pretend_server, put_header, run,
    start_balancer, wait_until,
};

/// A pretended server that refuses files with the code that it is told, or stores them.
pub struct Fickle {
    /// Where it listens.
    pub address: String,
    code: Arc<Mutex<Option<&'static str>>>,
    stored: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
}

impl Fickle {
    pub fn start(code: Option<&'static str>) -> Self {
        let (code, stored) = (
            Arc::new(Mutex::new(code)),
            Arc::<Mutex<BTreeMap<u64, Vec<u8>>>>::default(),
        );
        let (told, kept) = (code.clone(), stored.clone());
        let address = pretend_server(Some("ffffffffffffffffffffffffffffffff"), move |mut wire| {
            let _ = wire
                .0
                .write_all(&frame(r#"{"request_type":"holding","last":true}"#, b""));
            while let Some((header, content)) = wire.try_frame() {
                if header["request_type"] != "store" {
                    continue;
                }
                let number = &header["request_number"];
                let answer = if let Some(code) = *told.lock().unwrap() {
                    let reason = format!("it is {code} for me");
                    json!({"request_type": "not_stored", "request_number": number, "code": code, "reason": reason})
                } else {
                    kept.lock()
                        .unwrap()
                        .insert(number.as_u64().unwrap(), content);
                    json!({"request_type": "stored", "request_number": number})
                };
                let _ = wire.0.write_all(&frame(&answer.to_string(), b""));
            }
        });
        Self {
            address,
            code,
            stored,
        }
    }

    pub fn says(&self, code: Option<&'static str>) {
        *self.code.lock().unwrap() = code;
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.stored.lock().unwrap().keys().copied().collect()
    }

    /// A balancer over this server alone.
    pub fn farm(&self, flags: &[&str]) -> Farm {
        let dir = tempfile::tempdir().unwrap();
        let balancer = start_balancer(dir.path(), &[format!("{}=1", self.address)], flags);
        let farm = Farm {
            servers: Vec::new(),
            balancer,
            dir,
        };
        farm.wait_until_up();
        farm
    }
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn good(ended: Ended) -> String {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

#[track_caller]
fn failed(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!((ended.code, &*ended.stdout), (Some(code), ""), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(
        parts.iter().all(|part| ended.stderr.contains(part)),
        "{ended:?} lacks one of {parts:?}"
    );
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

impl Farm {
    /// The report of one file.
    fn show(&self, number: u64) -> Value {
        serde_json::from_str(&good(self.queue(&["show", &number.to_string(), "--json"]))).unwrap()
    }

    #[track_caller]
    fn wait_for_dead(&self, files: usize) {
        wait_until("dead letters", || self.status().queue.dead == files);
    }
}

#[test]
fn the_way_of_a_file_is_told_wherever_it_is() {
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
    // By now the server may be seen down.
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
fn the_files_that_wait_are_listed_page_by_page() {
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

// ---------------------------------------------------------------- dead letters

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
        &farm.queue(&["drop", "7"]),
        1,
        &["file 7 cannot be dropped: it is not known"],
    );
    assert_eq!(farm.queue(&["replay"]).code, Some(2));
    assert_eq!(farm.queue(&["replay", "1", "--all"]).code, Some(2));

    // Nothing has changed: it dies again, and its history is that of its new life.
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
    assert_eq!(good(farm.queue(&["drop", "2"])), "1 file thrown away\n");
    failed(
        &farm.queue(&["drop", "2"]),
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
    assert!(server.stored.lock().unwrap()[&1] == noise(1, 10));
}

/// Clients were told of dead letters before that was lasting: after a crash such a file waited
/// again.
#[test]
fn all_dead_letters_can_be_sent_again_byte_for_byte() {
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
    assert!(server.stored.lock().unwrap().values().eq(contents.iter()));
    client.offer(2, "k1", &contents[1]);
    client.expect("delivered", 2);
    wait_until("their content to be gone", || {
        crate::harness::names_with(&farm.journal(), "content-").is_empty()
    });
}

#[test]
fn the_client_of_a_dead_letter_hears_of_its_fate_when_it_asks_again() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let mut client = farm.client();
    client.put(1, Some("k"), b"x");
    client.expect("dead", 1);
    assert_eq!(good(farm.queue(&["drop", "1"])), "1 file thrown away\n");
    client.put(2, Some("k"), b"x");
    client.expect("accepted", 2);
    let dead = client.expect("dead", 2);
    assert!(
        dead["reason"].as_str().unwrap().contains("thrown away"),
        "{dead}"
    );
}

#[test]
fn trouble_that_passes_makes_no_dead_letter() {
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

// ---------------------------------------------------------------- questions that cannot be
// answered

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
        (&["drop", "1"], "to drop file 1"),
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
