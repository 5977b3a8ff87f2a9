//! Exactly one copy, the file server's half: what a balancer that comes back is told, and what
//! becomes of a number that comes twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PREFACE, Role, Wire, frame, start_server, stored, wait_for_line, wait_until};

pub const JOURNAL: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "00000000000000000000000000000001";

/// A server and the directory around it.
pub struct Served {
    pub role: Role,
    pub dir: TempDir,
}

impl Served {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            role: start_server(dir.path(), 1, &[]),
            dir,
        }
    }

    pub fn files_dir(&self) -> PathBuf {
        self.dir.path().join("json_files_1")
    }

    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        stored(&self.files_dir())
    }

    pub fn names(&self) -> Vec<String> {
        self.stored().into_keys().collect()
    }

    pub fn log(&self) -> String {
        let port = self.role.address.rsplit_once(':').unwrap().1;
        fs::read_to_string(self.dir.path().join(format!("logs/server-{port}.log"))).unwrap()
    }

    pub fn crash(&mut self) {
        self.role.kill();
        self.role.restart();
    }

    /// Connects as a balancer with this identity, without reading what comes after the greeting.
    pub fn link(&self, identity: &str) -> Balancer {
        let mut balancer = Balancer::greet(&self.role.address, Some(identity));
        let (hello, _) = balancer.0.greeting();
        assert!(hello.contains(r#""role":"server""#), "{hello}");
        balancer
    }

    /// Connects as this process of a balancer with `JOURNAL`, which shares the journal if it names
    /// an epoch.
    fn process(&self, instance: &str, epoch: Option<u64>) -> Balancer {
        let mut hello = json!({
            "request_type": "hello",
            "role": "balancer",
            "identity": JOURNAL,
            "instance": instance.repeat(32),
        });
        if let Some(epoch) = epoch {
            hello["epoch"] = json!(epoch);
        }
        let mut balancer = Balancer::say_hello(&self.role.address, &hello);
        balancer.0.greeting();
        balancer
    }

    /// Connects and reads what is held.
    pub fn reconnect(&self, identity: &str) -> (Balancer, Vec<[u64; 3]>) {
        let mut balancer = self.link(identity);
        let held = balancer.holding();
        (balancer, held)
    }

    pub fn identity(&self) -> String {
        let (hello, _) = Balancer::greet(&self.role.address, None).0.greeting();
        let hello: Value = serde_json::from_str(&hello).unwrap();
        hello["identity"].as_str().unwrap().to_owned()
    }
}

/// A balancer's end of a link, spoken byte by byte.
pub struct Balancer(pub Wire);

impl Balancer {
    pub fn greet(address: &str, identity: Option<&str>) -> Self {
        let mut hello = json!({"request_type": "hello", "role": "balancer"});
        if let Some(identity) = identity {
            hello["identity"] = json!(identity);
        }
        Self::say_hello(address, &hello)
    }

    fn say_hello(address: &str, hello: &Value) -> Self {
        let mut wire = Wire::connect(address);
        wire.write(&[&PREFACE[..], &frame(&hello.to_string(), b"")].concat());
        Self(wire)
    }

    pub fn next(&mut self) -> (Value, Vec<u8>) {
        let (header, content) = self.0.frame().expect("the server has closed");
        (serde_json::from_str(&header).unwrap(), content)
    }

    /// Reads all parts of what is held, which comes next.
    pub fn holding(&mut self) -> Vec<[u64; 3]> {
        let mut held = Vec::new();
        loop {
            let (header, content) = self.next();
            assert_eq!(header["request_type"], "holding", "{header}");
            if !content.is_empty() {
                let part: Vec<[u64; 3]> = serde_json::from_slice(&content).unwrap();
                assert!(!part.is_empty() && part.len() <= 16 * 1024);
                held.extend(part);
            }
            if header["last"] == true {
                return held;
            }
        }
    }

    pub fn store(&mut self, number: u64, content: &[u8]) {
        self.0.write(&store(number, content));
    }

    /// Confirms files, and waits until the server has heard it: the answer to what comes next says
    /// so. A newer link would end this one, read to its end or not.
    #[track_caller]
    pub fn confirm(&mut self, numbers: &[u64]) {
        let content = serde_json::to_vec(numbers).unwrap();
        self.0
            .write(&frame(r#"{"request_type":"confirmed"}"#, &content));
        self.drop_file(u64::MAX);
        self.expect("dropped", u64::MAX);
    }

    pub fn drop_file(&mut self, number: u64) {
        self.0.write(&frame(
            &json!({"request_type": "drop", "request_number": number}).to_string(),
            b"",
        ));
    }

    /// Reads the next message, which must be this one about this number.
    #[track_caller]
    pub fn expect(&mut self, request_type: &str, number: u64) -> Value {
        let (header, _) = self.next();
        assert_eq!(
            (&header["request_type"], &header["request_number"]),
            (&json!(request_type), &json!(number))
        );
        header
    }

    /// Stores a file and waits for the acknowledgement.
    #[track_caller]
    pub fn put(&mut self, number: u64, content: &[u8]) {
        self.store(number, content);
        self.expect("stored", number);
    }

    /// Reads on to the end of the connection and gives the reason with which the server took its
    /// leave.
    pub fn bye(&mut self) -> Value {
        loop {
            let (header, _) = self.next();
            if header["request_type"] == "bye" {
                return header;
            }
        }
    }
}

fn store(number: u64, content: &[u8]) -> Vec<u8> {
    frame(
        &json!({"request_type": "store", "request_number": number, "title": "x.json"}).to_string(),
        content,
    )
}

fn held(number: u64, content: &[u8]) -> [u64; 3] {
    [number, content.len() as u64, crc32c::crc32c(content).into()]
}

#[test]
fn a_server_keeps_its_identity_and_says_it_whenever_it_greets() {
    let mut server = Served::start();
    let identity = server.identity();
    assert!(
        identity.len() == 32 && identity.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{identity}"
    );
    let mut discovery = Wire::connect(&server.role.address);
    discovery.write(br#"{"request_type": "bilico"}"#);
    assert!(discovery.greeting().0.contains(&identity));
    server.crash();
    assert_eq!(server.identity(), identity);
    assert_eq!(server.role.stop(), Some(0));
    server.role.restart();
    assert_eq!(server.identity(), identity);
    assert_ne!(Served::start().identity(), identity);
}

#[test]
fn a_number_that_comes_twice_is_stored_once_also_after_a_crash() {
    let mut server = Served::start();
    let large = vec![b'y'; 600_000];
    let (mut balancer, none) = server.reconnect(JOURNAL);
    assert!(none.is_empty());
    for _ in 0..2 {
        balancer.put(7, b"one");
        balancer.put(8, &large);
        balancer.put(9, b"");
    }
    // In one write, so that both may fall into one batch.
    balancer
        .0
        .write(&[store(10, b"two"), store(10, b"two")].concat());
    balancer.expect("stored", 10);
    balancer.expect("stored", 10);
    for _ in 0..2 {
        server.crash();
        let (mut balancer, _) = server.reconnect(JOURNAL);
        balancer.put(7, b"one");
        balancer.put(8, &large);
        balancer.put(9, b"");
        balancer.put(10, b"two");
        assert_eq!(
            server.names(),
            ["10_x.json", "7_x.json", "8_x.json", "9_x.json"]
        );
    }
}

#[test]
fn a_file_that_its_consumer_took_is_not_stored_again() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.put(7, b"one");
    fs::rename(
        server.files_dir().join("7_x.json"),
        server.dir.path().join("taken"),
    )
    .unwrap();
    balancer.put(7, b"one");
    server.crash();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert_eq!(listed, [held(7, b"one")]);
    balancer.put(7, b"one");
    assert!(server.stored().is_empty());
}

#[test]
fn a_number_with_other_content_is_refused_and_the_file_stays() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.put(7, b"one");
    for restart in [false, true] {
        if restart {
            server.crash();
            balancer = server.reconnect(JOURNAL).0;
        }
        for content in [&b"two"[..], b"longer", &vec![b'z'; 300_000]] {
            balancer.store(7, content);
            let refused = balancer.expect("not_stored", 7);
            assert_eq!(refused["code"], "conflict");
            assert!(
                refused["reason"]
                    .as_str()
                    .unwrap()
                    .contains("stored already with other content"),
                "{refused}"
            );
        }
    }
    balancer.put(8, b"goes on");
    assert_eq!(server.stored()["7_x.json"], b"one");
    assert_eq!(server.names(), ["7_x.json", "8_x.json"]);
}

#[test]
fn what_is_held_is_exactly_what_is_not_confirmed() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    for number in [5, 3, 9, 4] {
        balancer.put(number, b"one");
    }
    server.reconnect(OTHER).0.put(3, b"another's");
    balancer.confirm(&[3, 9, 1000]);
    balancer.confirm(&[]);
    let left = [held(4, b"one"), held(5, b"one")];
    assert_eq!(server.reconnect(JOURNAL).1, left);
    server.crash();
    assert_eq!(
        server.reconnect(&JOURNAL.to_uppercase()).1,
        left,
        "hex digits may be written either way"
    );
    assert_eq!(server.reconnect(OTHER).1, [held(3, b"another's")]);
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.confirm(&[4, 5]);
    assert!(server.reconnect(JOURNAL).1.is_empty());
    assert_eq!(server.names().len(), 5, "what is confirmed stays");
}

#[test]
fn what_is_held_comes_in_parts_when_it_is_much() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    let count = 16 * 1024 + 5;
    let mut writing = Wire(balancer.0.0.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        (1..=count).for_each(|number| writing.write(&store(number, b"x")));
    });
    for _ in 1..=count {
        assert_eq!(balancer.next().0["request_type"], "stored");
    }
    writer.join().unwrap();
    server.crash();
    let listed = server.reconnect(JOURNAL).1;
    assert!(
        listed
            .into_iter()
            .eq((1..=count).map(|number| held(number, b"x")))
    );
}

#[test]
fn a_dropped_file_is_removed_and_answered_as_often_as_it_is_asked_for() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    for number in 1..=4 {
        balancer.put(number, b"one");
    }
    fs::write(server.files_dir().join("4_x.json"), "changed").unwrap();
    for number in [1, 2, 2, 77, 4] {
        balancer.drop_file(number);
        balancer.expect("dropped", number);
    }
    assert_eq!(server.names(), ["3_x.json", "4_x.json"]);
    wait_for_line(|| server.log(), &["dropped", "number=1", "1_x.json"]);
    wait_for_line(
        || server.log(),
        &["not dropped", "number=4", "changed since"],
    );
    server.crash();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert_eq!(
        listed,
        [held(3, b"one"), held(4, b"one")],
        "what was changed is not forgotten"
    );
    balancer.drop_file(2);
    balancer.expect("dropped", 2);
    // In one write, so that all of it may fall into one batch.
    let drop_3 = frame(r#"{"request_type":"drop","request_number":3}"#, b"");
    balancer
        .0
        .write(&[drop_3, store(3, b"again"), store(2, b"two")].concat());
    balancer.expect("dropped", 3);
    balancer.expect("stored", 3);
    balancer.expect("stored", 2);
    assert_eq!(server.stored()["3_x.json"], b"again");
    assert_eq!(
        server.reconnect(JOURNAL).1,
        [held(2, b"two"), held(3, b"again"), held(4, b"one")]
    );
}

/// The balancer's link breaks with files under way and it connects anew: what it is told must be
/// all that there will ever be. The old link has delivered one file into the store's queue, half of
/// a small one and half of a large one.
#[test]
fn what_an_older_link_still_brings_is_told_or_given_up() {
    let server = Served::start();
    for round in 0..10u64 {
        let first = round * 10;
        let (mut small, _) = server.reconnect(JOURNAL);
        let content = vec![b'x'; 100_000];
        let half = store(first + 1, &content);
        small
            .0
            .write(&[&store(first, b"whole")[..], &half[..50_000]].concat());
        let (mut large, listed) = server.reconnect(JOURNAL);
        assert!(!listed.contains(&held(first + 1, &content)));
        let half_large = store(first + 2, &vec![b'x'; 900_000]);
        large.0.write(&half_large[..700_000]);
        let parts = || server.role.unfinished(&server.files_dir());
        wait_until("half of the large file to lie on disk", || parts() > 0);

        let (mut balancer, listed) = server.reconnect(JOURNAL);
        assert!(
            !listed
                .iter()
                .any(|[number, ..]| [first + 1, first + 2].contains(number)),
            "{listed:?}"
        );
        // Too late: the rest of both is not taken any more. The server may have closed by now.
        let _ = small.0.0.write_all(&half[50_000..]);
        let _ = large.0.0.write_all(&half_large[700_000..]);
        assert!(
            large.bye()["reason"]
                .as_str()
                .unwrap()
                .contains("newer connection")
        );
        balancer.put(first + 5, b"goes on");
        wait_until("the half files to be gone", || parts() == 0);
        let after = server.reconnect(JOURNAL).1;
        let numbers =
            |list: &[[u64; 3]]| list.iter().map(|[number, ..]| *number).collect::<Vec<_>>();
        let expected: Vec<u64> = numbers(&listed).into_iter().chain([first + 5]).collect();
        assert_eq!(
            numbers(&after),
            expected,
            "nothing was stored behind the balancer's back"
        );
        let names = numbers(&after)
            .into_iter()
            .map(|number| format!("{number}_x.json"));
        assert_eq!(
            server
                .names()
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>(),
            names.collect()
        );
    }
}

/// Two balancers that work on one replicated queue have one journal identity. Each of their links
/// ended the other's, which came back and ended the first one's, for ever.
#[test]
fn balancers_that_share_a_journal_leave_each_others_links_alone() {
    let server = Served::start();
    let mut one = server.process("a", Some(1));
    assert!(one.holding().is_empty());
    let mut two = server.process("b", Some(1));
    assert!(two.holding().is_empty());
    one.put(1, b"one");
    two.put(2, b"two");

    let mut again = server.process("a", Some(1));
    assert_eq!(again.holding(), [held(1, b"one"), held(2, b"two")]);
    assert!(
        one.bye()["reason"]
            .as_str()
            .unwrap()
            .contains("newer connection")
    );
    again.put(3, b"three");
    two.put(4, b"four");
    assert_eq!(server.reconnect(JOURNAL).1.len(), 4);
}

/// A balancer that shares its journal is restarted, or another one takes its files over: both
/// belong to a newer epoch. What the old process was sending must not come to be stored after the
/// new one has heard what is here, and the old one must not come back and end the new one's link.
#[test]
fn a_newer_epoch_of_a_shared_journal_ends_the_links_of_older_ones_for_good() {
    let server = Served::start();
    let mut late = server.process("a", Some(1));
    let mut other = server.process("b", Some(1));
    assert!(late.holding().is_empty() && other.holding().is_empty());
    let half = store(1, &vec![b'x'; 100_000]);
    late.0.write(&half[..50_000]);

    let mut newer = server.process("c", Some(2));
    assert!(newer.holding().is_empty());
    let _ = late.0.0.write_all(&half[50_000..]);
    assert_eq!(other.bye()["code"], "stopping");

    let refused = server.process("a", Some(1)).bye();
    assert_eq!(refused["code"], "stale", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("epoch 1") && reason.contains("epoch 2"),
        "{reason}"
    );
    newer.put(2, b"goes on");
    assert_eq!(server.names(), ["2_x.json"]);
}

/// Who has a journal for itself names no epoch. After a restart it is another process, and what its
/// former one was still sending must not be stored behind its back.
#[test]
fn a_restarted_balancer_ends_the_links_of_its_former_process() {
    let server = Served::start();
    let mut former = server.process("a", None);
    let mut sharing = server.process("b", Some(7));
    assert!(
        former.bye()["reason"]
            .as_str()
            .unwrap()
            .contains("newer connection")
    );
    assert!(sharing.holding().is_empty());
    let half = store(1, &vec![b'x'; 100_000]);
    sharing.0.write(&half[..50_000]);
    let mut restarted = server.process("c", None);
    assert!(restarted.holding().is_empty());
    let _ = sharing.0.0.write_all(&half[50_000..]);
    restarted.put(2, b"goes on");
    assert_eq!(server.names(), ["2_x.json"]);
}

/// Files pour in over link after link, each cut off at any point; the server is killed now and
/// then. What is told at a new link, and what is acknowledged over it, is exactly what lies in the
/// directory.
#[test]
fn told_and_acknowledged_is_exactly_what_is_there() {
    let mut server = Served::start();
    let mut next = 1;
    for round in 0..25usize {
        let (mut balancer, listed) = server.reconnect(JOURNAL);
        let told: Vec<String> = listed
            .iter()
            .map(|[number, ..]| format!("{number}_x.json"))
            .collect();
        let mut names = server.names();
        names.sort_by_key(|name| name.split_once('_').unwrap().0.parse::<u64>().unwrap());
        assert_eq!(names, told, "round {round}");
        let wire: Vec<u8> = (next..next + 60)
            .flat_map(|number| store(number, &vec![b'x'; 1500]))
            .collect();
        next += 60;
        let cut = wire.len() * (round % 7 + 1) / 7;
        balancer.0.write(&wire[..cut]);
        if round % 5 == 4 {
            // In the middle of it: the first of the batch have their names, and may not be
            // acknowledged yet.
            wait_until("some to be published", || server.names().len() > told.len());
            server.crash();
        }
    }
}

#[test]
fn without_an_identity_all_is_as_it_was() {
    let server = Served::start();
    let mut balancer = Balancer::greet(&server.role.address, None);
    balancer.0.greeting();
    balancer.put(1, b"one");
    balancer.put(1, b"one");
    balancer.put(1, b"two");
    assert_eq!(server.names(), ["1_x.json", "1_x~2.json"]);
    assert!(
        server.reconnect(JOURNAL).1.is_empty(),
        "nothing of it is in the index"
    );
    for message in [
        frame(r#"{"request_type":"drop","request_number":1}"#, b""),
        confirmed(b"[1]"),
    ] {
        let mut balancer = Balancer::greet(&server.role.address, None);
        balancer.0.greeting();
        balancer.0.write(&message);
        let bye = balancer.bye();
        assert_eq!(bye["code"], "malformed");
        assert!(
            bye["reason"].as_str().unwrap().contains("need an identity"),
            "{bye}"
        );
    }
    assert_eq!(server.names(), ["1_x.json", "1_x~2.json"]);
}

fn confirmed(content: &[u8]) -> Vec<u8> {
    frame(r#"{"request_type":"confirmed"}"#, content)
}

#[test]
fn lists_that_are_none_or_too_long_end_the_connection() {
    let server = Served::start();
    server.reconnect(JOURNAL).0.put(1, b"one");
    let many = serde_json::to_vec(&vec![1; 16 * 1024 + 1]).unwrap();
    let mut too_long = frame(r#"{"request_type":"confirmed"}"#, b"");
    too_long[4..12].copy_from_slice(&u64::MAX.to_be_bytes());
    let cases = [
        (confirmed(b"{}"), "malformed"),
        (confirmed(b"[1,-1]"), "malformed"),
        (confirmed(&many), "malformed"),
        (too_long, "too_large"),
        (
            frame(r#"{"request_type":"holding","last":true}"#, b""),
            "malformed",
        ),
    ];
    for (message, code) in cases {
        let (mut balancer, listed) = server.reconnect(JOURNAL);
        assert_eq!(listed, [held(1, b"one")]);
        balancer.0.write(&message);
        assert_eq!(balancer.bye()["code"], code);
    }
}

fn index_of(server: &Served) -> PathBuf {
    server.files_dir().join(".bilico-index")
}

#[test]
fn an_index_with_a_torn_end_or_a_damaged_line_is_used() {
    let mut server = Served::start();
    let identity = server.identity();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.put(1, b"one");
    balancer.put(2, b"two");
    server.role.kill();
    let mut text = fs::read(index_of(&server)).unwrap();
    text.extend_from_slice(b"12345678 storing 0123");
    fs::write(index_of(&server), &text).unwrap();
    server.role.restart();
    let all = [held(1, b"one"), held(2, b"two")];
    assert_eq!(server.reconnect(JOURNAL).1, all);

    server.role.kill();
    let mut text = fs::read(index_of(&server)).unwrap();
    let at = text
        .windows(8)
        .position(|window| window == b" storing")
        .unwrap();
    text[at + 3] ^= 1;
    fs::write(index_of(&server), &text).unwrap();
    server.role.restart();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert_eq!(listed, all[1..]);
    wait_for_line(|| server.log(), &["ERROR", "damaged", "lines=1"]);
    balancer.put(1, b"one");
    assert_eq!(
        server.reconnect(JOURNAL).1,
        all,
        "what is found by its name and content is in the index again"
    );
    assert_eq!((server.identity(), server.names().len()), (identity, 2));
}

#[test]
fn an_index_that_is_no_more_is_set_aside() {
    let mut server = Served::start();
    let identity = server.identity();
    server.reconnect(JOURNAL).0.put(1, b"one");
    server.role.kill();
    fs::write(index_of(&server), vec![0; 4096]).unwrap();
    server.role.restart();
    assert_ne!(server.identity(), identity);
    assert!(server.reconnect(JOURNAL).1.is_empty());
    wait_for_line(
        || server.log(),
        &["ERROR", "a new one is begun", ".bilico-index.damaged-"],
    );
    assert_eq!(server.names(), ["1_x.json"]);
}

/// The disk is full, as far as the index can tell: it may not grow. What cannot be written down is
/// not acknowledged and leaves nothing behind; as soon as there is room, all is as before.
#[test]
fn an_index_that_cannot_grow_refuses_and_recovers() {
    let server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    for number in 1..=20 {
        balancer.put(number, b"one");
    }
    let size = fs::metadata(index_of(&server)).unwrap().len();
    for over in [0, 1, 60, 130] {
        limit_file_size(&server.role, &(size + over).to_string());
        balancer
            .0
            .write(&[store(21, b"21"), store(22, b"22")].concat());
        for number in [21, 22] {
            let (refused, _) = balancer.next();
            if refused["request_type"] == "stored" {
                assert!(over >= 60, "{refused}");
                continue;
            }
            assert_eq!(refused["code"], "storage", "{number}: {refused}");
        }
        let listed = balancer_after(&server, &mut balancer);
        assert_eq!(
            listed.len(),
            server.names().len(),
            "what is refused leaves nothing behind"
        );
        assert_eq!(
            fs::read(index_of(&server)).unwrap().last(),
            Some(&b'\n'),
            "no half line stays"
        );
    }
    limit_file_size(&server.role, "unlimited");
    for number in 1..=23 {
        balancer.put(
            number,
            if number <= 20 {
                b"one"
            } else if number == 21 {
                b"21"
            } else {
                b"22"
            },
        );
    }
    assert_eq!(balancer_after(&server, &mut balancer).len(), 23);
    assert_eq!(server.names().len(), 23);
}

/// Connects anew in place of the old connection, and gives what is held.
fn balancer_after(server: &Served, balancer: &mut Balancer) -> Vec<[u64; 3]> {
    let (new, listed) = server.reconnect(JOURNAL);
    *balancer = new;
    listed
}

pub fn limit_file_size(role: &Role, limit: &str) {
    let args = [format!("--fsize={limit}:"), format!("--pid={}", role.pid())];
    assert!(
        Command::new("prlimit")
            .args(args)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_directory_that_is_gone_says_nothing_and_a_new_one_is_another() {
    let mut server = Served::start();
    let identity = server.identity();
    server.reconnect(JOURNAL).0.put(1, b"one");
    fs::remove_dir_all(server.files_dir()).unwrap();
    let mut balancer = server.link(JOURNAL);
    let bye = balancer.bye();
    assert_eq!(
        bye["code"], "storage",
        "an empty list would say that nothing is here: {bye}"
    );
    wait_until("the server to end", || server.role.ended().is_some());
    server.role.restart();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert!(listed.is_empty());
    balancer.put(1, b"one");
    assert_ne!(server.identity(), identity);
    assert_eq!(server.names(), ["1_x.json"]);
}
