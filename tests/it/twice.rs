//! Journals and servers' directories that exist twice, as copies or restored. Each is reported, and
//! no file is removed because of its number alone.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use bilico_testkit::{
    Client, Ended, Role, Running, Wire, bilico, frame, http, pretend_instance, start_balancer,
    start_server, status, wait_for, wait_for_line, wait_until,
};

const IDENTITY: &str = "0123456789abcdef0123456789abcdef";
const ONE: &str = "11111111111111111111111111111111";
const TWO: &str = "22222222222222222222222222222222";

/// The message with which a server lists its files, and the highest number that it has seen.
fn holding(entries: &[[u64; 3]], seen: Option<u64>) -> Vec<u8> {
    let mut header = json!({"request_type": "holding", "last": true});
    if let Some(seen) = seen {
        header["seen"] = json!(seen);
    }
    frame(&header.to_string(), &serde_json::to_vec(entries).unwrap())
}

/// What a pretended server does with a file: it acknowledges it, or closes the link.
#[derive(Clone, Copy)]
enum Answer {
    Store,
    Close,
}

/// A pretended server with a script: on each of its links, one after another, it sends a list and
/// answers files. It keeps all messages.
struct Pretended {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Value>>,
    /// Files that it got over links that it then closed.
    kept: Mutex<Vec<[u64; 3]>>,
    links: Mutex<Vec<TcpStream>>,
    /// It sends nothing on a link while this is set.
    is_silent: AtomicBool,
}

type Script = Vec<(Vec<[u64; 3]>, Option<u64>, Answer)>;

impl Pretended {
    /// The last line of the script holds for all later links.
    fn start(identity: &str, instance: Option<&str>, script: Script) -> Self {
        let (shared, links) = (Arc::<Shared>::default(), AtomicUsize::new(0));
        let all = shared.clone();
        let address = pretend_instance(Some(identity), instance, move |mut wire| {
            let link = links.fetch_add(1, Ordering::Relaxed).min(script.len() - 1);
            let (entries, seen, answer) = &script[link];
            wait_until("leave to speak", || !all.is_silent.load(Ordering::Relaxed));
            let entries = [&entries[..], &all.kept.lock().unwrap()].concat();
            let _ = wire.0.write_all(&holding(&entries, *seen));
            all.links.lock().unwrap().push(wire.0.try_clone().unwrap());
            serve(wire, *answer, &all);
        });
        Self { address, shared }
    }

    fn heard(&self, request_type: &str) -> Vec<Value> {
        let heard = self.shared.heard.lock().unwrap();
        heard
            .iter()
            .filter(|message| message["request_type"] == request_type)
            .cloned()
            .collect()
    }

    /// Closes its links.
    fn cut(&self) {
        for link in self.shared.links.lock().unwrap().drain(..) {
            let _ = link.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(mut wire: Wire, answer: Answer, shared: &Shared) {
    while let Some((message, content)) = wire.message() {
        shared.heard.lock().unwrap().push(message.clone());
        let number = &message["request_number"];
        let reply = match (message["request_type"].as_str().unwrap(), answer) {
            ("store", Answer::Close) => {
                shared.is_silent.store(true, Ordering::Relaxed);
                let file = [
                    number.as_u64().unwrap(),
                    content.len() as u64,
                    crc32c::crc32c(&content).into(),
                ];
                shared.kept.lock().unwrap().push(file);
                let _ = wire.0.shutdown(std::net::Shutdown::Both);
                return;
            }
            ("store", Answer::Store) => json!({"request_type": "stored", "request_number": number}),
            ("drop", _) => json!({"request_type": "dropped", "request_number": number}),
            _ => continue,
        };
        if wire.0.write_all(&frame(&reply.to_string(), b"")).is_err() {
            return;
        }
    }
}

fn log(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap()
}

/// A balancer over these servers, which will end by itself.
fn balancer(dir: &TempDir, servers: &[&str]) -> (Running, String) {
    let mut args = vec![
        "balancer".to_owned(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--with-parent".into(),
    ];
    args.extend(
        servers
            .iter()
            .flat_map(|server| ["--server".into(), format!("{server}=1")]),
    );
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let running = Running::start(bilico(&args).current_dir(dir.path()));
    let said = running.wait_for_output("admin on ");
    let address = said
        .lines()
        .find_map(|line| line.strip_prefix("listening on "))
        .unwrap()
        .to_owned();
    (running, address)
}

/// Checks that a balancer has ended because a server knows numbers that the journal never gave. Its
/// message names the server, the finding and the remedy.
#[track_caller]
fn check_stopped(ended: &Ended, server: &str, found: &str) {
    assert_eq!(ended.code, Some(6), "{ended:?}");
    for part in [
        server,
        found,
        "copy, or was set back",
        "bilico queue adopt journal",
    ] {
        assert!(
            ended.stderr.contains(part),
            "no {part:?} in {}",
            ended.stderr
        );
    }
}

#[test]
fn a_journal_whose_numbers_a_server_knows_already_does_not_go_on_under_its_name() {
    let cases = [
        (
            Vec::<[u64; 3]>::new(),
            Some(57),
            "has seen number 57, and the journal gave none above 0",
        ),
        (
            vec![[57, 1, 2]],
            None,
            "has number 57 with 1 bytes and CRC32C 00000002, and the journal gave none above 0",
        ),
        (vec![[u64::MAX, u64::MAX, 7]], Some(0), "gave none above 0"),
    ];
    for (entries, seen, found) in cases {
        let dir = tempfile::tempdir().unwrap();
        let server = Pretended::start(IDENTITY, Some(ONE), vec![(entries, seen, Answer::Store)]);
        let (balancer, _) = balancer(&dir, &[&server.address]);
        check_stopped(&balancer.wait(), &server.address, found);
        wait_for_line(|| log(&dir), &["ERROR", "must not go on under its name"]);
    }
}

/// A copy of the journal gave the number of a delivered file again: the balancer had the other file
/// of that number removed, as if it were a second copy.
#[test]
fn a_file_with_the_number_of_another_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let real = start_server(dir.path(), 1, &[]);
    let first = start_balancer(dir.path(), &[format!("{}=1", real.address)], &[]);
    let mut client = Client::connect(&first.address);
    assert_eq!(client.put_accepted(1, None, b"one"), 1);
    client.expect("delivered", 1);
    drop(first);
    let server = Pretended::start(
        IDENTITY,
        Some(ONE),
        vec![(vec![[1, 9, 9]], None, Answer::Store)],
    );
    let (balancer, _) = balancer(&dir, &[&real.address, &server.address]);
    let one = format!(
        "the journal with 3 bytes and CRC32C {:08x}",
        crc32c::crc32c(b"one")
    );
    let found = format!("has number 1 with 9 bytes and CRC32C 00000009, and {one}");
    check_stopped(&balancer.wait(), &server.address, &found);
    assert_eq!(server.heard("drop"), Vec::<Value>::new());
}

/// A `drop` held only the number.
#[test]
fn what_a_server_must_remove_is_said_with_its_size_and_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let script = vec![
        (vec![], Some(0), Answer::Close),
        (vec![], Some(2), Answer::Store),
    ];
    let server = Pretended::start(IDENTITY, Some(ONE), script);
    let real = start_server(dir.path(), 1, &[]);
    let balancer = start_balancer(
        dir.path(),
        &[&server.address, &real.address].map(|at| format!("{at}=1")),
        &[],
    );
    wait_until("both to be up", || {
        status(&balancer.address)
            .servers
            .iter()
            .all(|server| server.eligible)
    });
    let mut client = Client::connect(&balancer.address);
    for id in 1..=2 {
        client.put(id, None, b"one");
    }
    for id in 1..=2 {
        assert_eq!(client.expect("delivered", id)["server"], *real.address);
    }
    server.shared.is_silent.store(false, Ordering::Relaxed);
    let dropped = wait_for("a file to be removed", || server.heard("drop").pop());
    assert_eq!(
        (&dropped["size"], &dropped["crc32c"]),
        (&json!(3), &json!(crc32c::crc32c(b"one")))
    );
    assert_eq!(
        dropped["request_number"],
        server.heard("store")[0]["request_number"]
    );
}

/// Two servers with one identity. Returns the balancer and both addresses.
fn kept_out(dir: &TempDir, instances: [Option<&str>; 2]) -> (Role, String, String) {
    let serve =
        |instance| Pretended::start(IDENTITY, instance, vec![(vec![], None, Answer::Store)]);
    let [first, second] = instances.map(serve);
    let balancer = start_balancer(dir.path(), &[format!("{}=1", first.address)], &[]);
    wait_until("the first one to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    let add = json!({"address": second.address, "weight": 1});
    assert_eq!(
        http(&balancer, "POST", "/api/v1/servers", Some(&add)).status / 100,
        2
    );
    (balancer, first.address, second.address)
}

/// Both got files, and the list of one was taken for the list of the other.
#[test]
fn a_copy_of_a_server_s_directory_gets_no_files_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (balancer, first, second) = kept_out(&dir, [Some(ONE), Some(TWO)]);
    let reason = format!("its directory is a copy of that of {first}");
    wait_for_line(|| log(&dir), &["ERROR", &second, &reason, IDENTITY]);
    check_kept_out(&balancer, &second, &reason);
    let notices = http(&balancer, "GET", "/api/v1/notices", None)
        .text()
        .to_owned();
    assert!(notices.contains(&reason), "{notices}");
}

#[test]
fn a_server_under_two_names_gets_files_under_the_first() {
    for (instances, reason) in [
        (
            [Some(ONE), Some(ONE)],
            "is the same server under another name",
        ),
        ([None, None], "speaks for a directory of the same name"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (balancer, first, second) = kept_out(&dir, instances);
        let reason = format!("{first} {reason}");
        wait_for_line(|| log(&dir), &["WARN", &second, &reason]);
        check_kept_out(&balancer, &second, &reason);
    }
}

/// Checks that files go to the first server only.
#[track_caller]
fn check_kept_out(balancer: &Role, second: &str, reason: &str) {
    let mut client = Client::connect(&balancer.address);
    for id in 1..=20 {
        client.put(id, None, b"x");
        client.expect("delivered", id);
    }
    let servers = status(&balancer.address).servers;
    assert_eq!((servers[0].delivered, servers[0].eligible), (20, true));
    let kept_out = servers.iter().find(|server| server.name == second).unwrap();
    assert!(
        !kept_out.eligible && kept_out.reason.as_ref().unwrap().contains(reason),
        "{kept_out:?}"
    );
}

#[test]
fn a_server_whose_directory_was_set_back_is_told_with_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let script = vec![
        (vec![], Some(0), Answer::Store),
        (vec![], Some(1), Answer::Store),
    ];
    let server = Pretended::start(IDENTITY, Some(ONE), script);
    let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &[]);
    let mut client = Client::connect(&balancer.address);
    for id in 1..=3 {
        client.put(id, None, b"four");
        client.expect("delivered", id);
    }
    assert_eq!(http(&balancer, "GET", "/api/v1/notices", None).status, 200);
    // The next link is like that of a server that was restarted with an older directory.
    server.cut();
    let lost = [
        "ERROR",
        &*server.address,
        "was set back",
        "acknowledged number 3",
        "none above 1",
        "2 of 8 bytes",
    ];
    wait_for_line(|| log(&dir), &lost);
}
