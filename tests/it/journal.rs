//! Accepted means kept: what the balancer's journal promises, with balancers that are killed, disks
//! that are full or gone, bytes that are not what they were, and servers that vanish or talk
//! nonsense.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Client, Ended, Farm, Mount, Role, Running, Wire, bilico, frame, names_with, noise, number,
    old_style_put, pretend_server, put, put_header, run, start_balancer, start_server, status,
    stored, wait_for, wait_for_line, wait_until,
};
use crate::old_style::OldServer;
use crate::reconcile::limit_file_size;

const MIB: usize = 1024 * 1024;

impl Farm {
    /// Runs `bilico queue` with these arguments against this balancer.
    pub fn queue(&self, args: &[&str]) -> Ended {
        let mut all = vec!["queue"];
        all.extend(args);
        all.extend(["--balancer", &self.balancer.address]);
        run(bilico(&all).current_dir(self.dir.path()), "")
    }

    /// All that is stored, by request number; a number that is there twice fails the test.
    fn by_number(&self) -> BTreeMap<u64, Vec<u8>> {
        let mut found = BTreeMap::new();
        for place in 0..self.servers.len() {
            for (name, content) in self.stored(place) {
                let number = name.split_once('_').unwrap().0.parse().unwrap();
                assert!(
                    found.insert(number, content).is_none(),
                    "{number} is there twice"
                );
            }
        }
        found
    }

    fn wait_until_delivered(&self) {
        wait_until("all to be delivered", || self.status().queue.files() == 0);
    }

    /// The text of a file's way.
    fn way(&self, number: u64) -> String {
        let shown = self.queue(&["show", &number.to_string()]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        shown.stdout
    }
}

/// Runs `bilico queue check` on a journal.
pub fn check(journal: &Path) -> Ended {
    run(bilico(&["queue", "check"]).arg(journal), "")
}

// ---------------------------------------------------------------- the balancer is killed

#[test]
fn every_accepted_file_survives_a_kill_of_the_balancer() {
    for flags in [
        &[][..],
        &["--durability", "os"],
        &["--segment-size", "1MiB"],
    ] {
        let mut farm = Farm::start(&[2, 1]);
        farm.servers.iter_mut().for_each(Role::kill);
        let specs: Vec<String> = farm
            .servers
            .iter()
            .map(|server| format!("{}=1", server.address))
            .collect();
        farm.balancer = start_balancer(
            farm.dir.path(),
            &specs,
            &[flags, &["--journal", "kept"]].concat(),
        );
        let mut files: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut client = farm.client();
        let long = "è".repeat(2048);
        let titles = [
            "",
            "è 🚚.json",
            "a \"b\" \\ c",
            "line\nand\ttab\u{1}",
            "../../up",
            "a/b/c",
            &long,
        ];
        for (id, title) in titles.iter().enumerate() {
            client
                .wire
                .write(&frame(&put(id as u64, title), title.as_bytes()));
            files.insert(
                number(&client.expect("accepted", id as u64)),
                title.as_bytes().to_vec(),
            );
        }
        let accepted = Instant::now();
        for (id, len) in [0, 65_535, 65_536, 65_537, MIB, 1, 3000]
            .into_iter()
            .enumerate()
        {
            let content = noise(len as u64, len);
            files.insert(
                client.put_accepted(100 + id as u64, None, &content),
                content,
            );
        }
        let mut old_client = TcpStream::connect(&farm.balancer.address).unwrap();
        for text in ["perché", "", &"x".repeat(100_000)] {
            old_client
                .write_all(old_style_put("città.json", text).as_bytes())
                .unwrap();
            let number = files.len() as u64 + 1;
            wait_until("it to be accepted", || farm.status().accepted == number);
            files.insert(number, text.as_bytes().to_vec());
        }
        assert!(files.keys().copied().eq(1..=17));

        for _ in 0..2 {
            farm.crash_balancer();
            let kept = farm.status();
            let waited = accepted.elapsed().as_secs_f64();
            assert_eq!((kept.queue.files(), kept.accepted), (17, 0), "{flags:?}");
            assert!(
                kept.queue.oldest_s.unwrap() > waited - 1.0,
                "{kept:?} after {waited} s"
            );
        }
        assert_eq!(
            farm.client().put_accepted(1, None, b"new"),
            18,
            "numbers go on"
        );
        files.insert(18, b"new".to_vec());
        farm.servers.iter_mut().for_each(Role::restart);
        farm.wait_until_delivered();
        let stored = farm.by_number();
        assert!(
            stored.keys().eq(files.keys()),
            "{flags:?}: {:?}",
            stored.keys()
        );
        assert!(stored == files, "{flags:?}: a file is not what it was");
        let kept = farm.dir.path().join("kept");
        wait_until("their content to be gone", || {
            names_with(&kept, "content-").is_empty()
        });
    }
}

/// A document that its frame made too long was said, after a restart, to be no text.
#[test]
fn what_old_servers_can_read_is_the_same_after_a_restart() {
    let mut old = OldServer::start();
    let dir = tempfile::tempdir().unwrap();
    let balancer = start_balancer(dir.path(), &[format!("{}=1", old.address)], &[]);
    let mut farm = Farm {
        servers: Vec::new(),
        balancer,
        dir,
    };
    farm.wait_until_up();
    old.kill();
    wait_until("it to be seen down", || !farm.server_status(0).eligible);
    let document =
        |title: &str, text: &str| bilico::protocol::json::old_style_file(1, title, text.as_bytes());
    // Its escapes make the document longer than the text.
    let fits = |text: String| {
        if document("7.json", &text).is_ok() {
            Ok(text)
        } else {
            Err(text)
        }
    };
    let longest = (1..4096)
        .rev()
        .find_map(|len| fits("è".repeat(len)).ok())
        .unwrap();
    let texts = [
        "perché".to_owned(),
        String::new(),
        longest.clone(),
        format!("{longest}è"),
        "x".repeat(70_000),
    ];
    let mut client = TcpStream::connect(&farm.balancer.address).unwrap();
    for text in &texts {
        client
            .write_all(old_style_put("7.json", text).as_bytes())
            .unwrap();
    }
    wait_until("all to be accepted", || farm.status().accepted == 5);
    assert_eq!(farm.client().put_accepted(1, None, b"\xff\xfe no text"), 6);
    for _ in 0..2 {
        farm.crash_balancer();
    }
    old.listen();
    wait_until("what it can read to be there", || old.files().len() == 3);
    farm.client().put_accepted(1, None, b"one more");
    wait_until("another one to be there", || old.files().len() == 4);
    old.check();
    let mut came: Vec<String> = old
        .files()
        .iter()
        .map(|file| file["contenuto"].as_str().unwrap().to_owned())
        .collect();
    came.pop();
    came.sort();
    let mut expected = texts[..3].to_vec();
    expected.sort();
    assert_eq!(came, expected);
    assert_eq!(farm.status().queue.files(), 3);
    for (number, why) in [
        (4, "larger than the 4096 bytes"),
        (5, "larger than the 4096 bytes"),
        (6, "not UTF-8 text"),
    ] {
        wait_for_line(|| farm.way(number), &["waited", why]);
    }
}

/// The records of what was delivered are not yet written when the balancer is killed, again and
/// again: it asks the servers what they have before it sends anything once more.
#[test]
fn a_balancer_that_is_killed_right_after_deliveries_stores_nothing_twice() {
    let mut farm = Farm::start(&[2, 1]);
    let mut sent = 0;
    for round in 0..20 {
        let mut client = farm.client();
        let count = 60;
        for id in 0..count {
            let key = format!("r{round}k{id}");
            client.put(
                id,
                Some(&key),
                &noise(id, if id % 20 == 0 { 70_000 } else { 900 }),
            );
        }
        // Killed at some point between the first receipt and the last.
        for id in 0..(round * 7) % count {
            client.expect("accepted", id);
        }
        client.expect("delivered", round % 5);
        farm.crash_balancer();
        let mut client = farm.client();
        for id in 0..count {
            client.put(
                id,
                Some(&format!("r{round}k{id}")),
                &noise(id, if id % 20 == 0 { 70_000 } else { 900 }),
            );
        }
        (0..count).for_each(|id| drop(client.expect("accepted", id)));
        sent += count;
    }
    farm.wait_until_delivered();
    let mut titles: Vec<String> = farm
        .all_stored()
        .into_keys()
        .map(|name| name.split_once('_').unwrap().1.to_owned())
        .collect();
    titles.sort();
    titles.dedup();
    assert_eq!(
        (titles.len() as u64, farm.all_stored().len() as u64),
        (sent, sent)
    );
}

#[test]
fn a_stopping_balancer_says_what_it_keeps_and_ends_well() {
    let farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        &server,
        "--journal",
        "kept",
    ];
    let start = |more: &[&str]| {
        Running::start(
            bilico(&args)
                .args(["--shutdown-timeout", "100ms"])
                .args(more)
                .current_dir(farm.dir.path()),
        )
    };
    let balancer = start(&[]);
    let address = address_of(&balancer);
    let mut client = Client::connect(&address);
    for id in 0..3 {
        client.put_accepted(id, None, b"x");
    }
    balancer.signal("TERM");
    assert_eq!(client.bye()["code"], "stopping");
    let ended = balancer.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("3 files are not delivered yet") && ended.stderr.contains("kept"),
        "{ended:?}"
    );
    let balancer = start(&[]);
    assert_eq!(status(&address_of(&balancer)).queue.files(), 3);
}

/// Where a role that was started as a command listens.
pub fn address_of(role: &Running) -> String {
    role.wait_for_output("\n")
        .lines()
        .next()
        .unwrap()
        .strip_prefix("listening on ")
        .unwrap()
        .to_owned()
}

// ---------------------------------------------------------------- its directory

#[test]
fn a_second_balancer_on_the_same_journal_is_refused_and_the_first_goes_on() {
    let farm = Farm::start(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        &server,
        "--log-dir",
        "other",
    ];
    let second = run(bilico(&args).current_dir(farm.dir.path()), "");
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.stderr.contains(&format!(
            "in use by another balancer (pid {})",
            farm.balancer.pid()
        )),
        "{second:?}"
    );
    assert!(
        second.stderr.contains("hint: ") && second.stderr.contains("--journal"),
        "{second:?}"
    );
    assert_eq!(second.stdout, "");
    let mut client = farm.client();
    client.put_accepted(1, None, b"x");
    client.expect("delivered", 1);
}

#[test]
fn a_journal_that_cannot_be_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    for (journal, reason) in [
        ("file", "not a directory"),
        ("file/below", "file/below"),
        ("/proc/journal", "/proc/journal"),
    ] {
        let args = [
            "balancer",
            "--listen",
            "127.0.0.1:0",
            "--server",
            "127.0.0.1:1=1",
            "--journal",
            journal,
        ];
        let ended = run(bilico(&args).current_dir(dir.path()), "");
        assert_eq!(ended.code, Some(6), "{ended:?}");
        assert!(
            ended.stderr.contains("error: ") && ended.stderr.contains(reason),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains("hint: ") && ended.stderr.contains("--journal"),
            "{ended:?}"
        );
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"x");
}

// ---------------------------------------------------------------- bytes that are not what they
// were

/// A stopped balancer's journal with 40 files of 1000 bytes, each a batch of its own.
fn journal_of_40(end: impl FnOnce(&mut Role)) -> (Farm, PathBuf) {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=40 {
        assert_eq!(
            client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 1000)),
            id
        );
    }
    end(&mut farm.balancer);
    let journal = farm.journal();
    let mut segments: Vec<PathBuf> = fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_segment(path))
        .collect();
    segments.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let segment = segments.pop().unwrap();
    (farm, segment)
}

pub fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_segment_costs_what_is_damaged_and_is_told() {
    let (mut farm, segment) = journal_of_40(Role::kill);
    change(&segment, |bytes| {
        let content = noise(20, 1000);
        let at = bytes
            .windows(1000)
            .position(|window| window == content)
            .unwrap();
        bytes[at + 500] ^= 0x10;
    });
    let before = check(&farm.journal());
    assert_eq!(before.code, Some(6), "{before:?}");
    assert!(
        before.stdout.contains("not sound") && before.stderr.contains("damaged"),
        "{before:?}"
    );
    farm.balancer.restart();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let line = wait_for_line(|| farm.log(), &["ERROR", "the journal is damaged", name]);
    assert!(line.contains("damaged-"), "{line}");
    assert_eq!(names_with(&farm.journal(), "damaged-").len(), 1);
    assert!(
        farm.client().put_accepted(1, None, b"new") > 1_000_000,
        "no number is given that a lost file may have had"
    );
    let after = check(&farm.journal());
    assert_eq!(after.code, Some(6), "{after:?}");
    assert!(
        after.stdout.contains("not sound") && after.stderr.contains("a copy is in damaged-"),
        "{after:?}"
    );
    farm.servers[0].restart();
    farm.wait_until_delivered();
    let stored = farm.by_number();
    assert_eq!(stored.len(), 40, "39 and the new one: {:?}", stored.keys());
    assert!(
        stored
            .iter()
            .all(|(id, content)| *id > 40 || *content == noise(*id, 1000))
    );
    assert!(!stored.contains_key(&20));
    let again = farm.client().put_accepted(1, Some("k20"), &noise(20, 1000));
    assert!(again > 1_000_000, "its client can send it again");
}

#[test]
fn a_torn_tail_is_no_damage() {
    for tear in 0..3 {
        let (mut farm, segment) = journal_of_40(Role::kill);
        change(&segment, |bytes| match tear {
            0 => bytes.extend_from_slice(&noise(1, 777)),
            1 => bytes.extend_from_slice(&[0; 4096]),
            _ => bytes.truncate(bytes.len() - 5),
        });
        let before = check(&farm.journal());
        assert_eq!(before.code, Some(0), "{tear}: {before:?}");
        farm.balancer.restart();
        assert!(!farm.log().contains("damaged"), "{}", farm.log());
        assert_eq!(names_with(&farm.journal(), "damaged-").len(), 0);
        let files = farm.status().queue.files();
        assert!(
            if tear < 2 { files == 40 } else { files >= 39 },
            "{tear}: {files} files"
        );
        farm.servers[0].restart();
        farm.wait_until_delivered();
        assert_eq!(farm.stored(0).len(), files);
        assert_eq!(check(&farm.journal()).code, Some(0));
    }
}

/// All files of a directory with their bytes.
fn image(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // The lock names the process that tried last.
    let paths = paths.filter(|path| path.file_name().is_some_and(|name| name != "lock"));
    paths
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_journal_that_is_not_ours_is_refused_and_left_as_it_is() {
    let (other, foreign) = journal_of_40(Role::kill);
    for case in ["another version", "another journal"] {
        let (farm, segment) = journal_of_40(Role::kill);
        if case == "another version" {
            // With the right checksum, as the other version would write it.
            change(&segment, |bytes| {
                bytes[7] += 1;
                let crc = crc32c::crc32c(&bytes[..56]);
                bytes[56..60].copy_from_slice(&crc.to_le_bytes());
            });
        } else {
            let beside = farm.journal().join("0000000000000063.log");
            fs::copy(&foreign, &beside).unwrap();
        }
        let before = image(&farm.journal());
        let server = format!("{}=1", farm.servers[0].address);
        let args = ["balancer", "--listen", "127.0.0.1:0", "--server", &server];
        for _ in 0..2 {
            let ended = run(bilico(&args).current_dir(farm.dir.path()), "");
            assert_eq!(ended.code, Some(6), "{case}: {ended:?}");
            assert!(
                ended.stderr.contains(".log") && ended.stderr.contains("hint: "),
                "{case}: {ended:?}"
            );
            let checked = check(&farm.journal());
            assert_eq!(checked.code, Some(6), "{case}: {checked:?}");
        }
        assert!(
            image(&farm.journal()) == before,
            "{case}: the journal was changed"
        );
    }
    drop(other);
}

// ---------------------------------------------------------------- the disk

/// Without its directory the journal cannot begin a new segment. So many files wait that most are
/// known to the balancer by their places in the journal alone. They can be asked about, sent again
/// under their keys, survive a kill, and leave in their order.
#[test]
fn files_behind_thousands_of_others_are_kept_and_leave_in_order() {
    const FILES: u64 = 9_000;
    let mut farm = Farm::start(&[1]);
    farm.servers.iter_mut().for_each(Role::kill);
    let specs: Vec<String> = farm
        .servers
        .iter()
        .map(|server| format!("{}=1", server.address))
        .collect();
    farm.balancer = start_balancer(
        farm.dir.path(),
        &specs,
        &["--journal", "kept", "--segment-size", "1MiB"],
    );
    let content = |number: u64| noise(number, 200);
    let mut client = farm.client();
    for first in (1..=FILES).step_by(1000) {
        (first..first + 1000).for_each(|n| client.put(n, Some(&format!("k{n}")), &content(n)));
        (first..first + 1000).for_each(|n| assert_eq!(number(&client.expect("accepted", n)), n));
    }
    let check = |farm: &Farm| {
        assert_eq!(farm.status().queue.files() as u64, FILES);
        let address = &*farm.balancer.address;
        let shown = run(
            &mut bilico(&["queue", "show", "8900", "--balancer", address]),
            "",
        )
        .stdout;
        assert!(shown.contains("k8900"), "{shown}");
        let listed = [
            "queue",
            "ls",
            "--after",
            "8190",
            "--limit",
            "4",
            "--json",
            "--balancer",
            address,
        ];
        let listed = run(&mut bilico(&listed), "").stdout;
        let listed = listed
            .lines()
            .filter(|line| line.contains("\"title\""))
            .collect::<Vec<_>>();
        assert_eq!(listed.len(), 4, "{listed:?}");
        let is_next = |(line, n): (&&str, u64)| line.contains(&format!("\"k{n}\""));
        assert!(listed.iter().zip(8191..).all(is_next), "{listed:?}");
    };
    check(&farm);
    farm.crash_balancer();
    check(&farm);

    let mut client = farm.client();
    let again: Vec<u64> = (1..=FILES).step_by(500).collect();
    for n in &again {
        assert_eq!(
            client.put_accepted(*n, Some(&format!("k{n}")), &content(*n)),
            *n
        );
    }
    client.put(FILES + 1, Some("k8900"), b"another");
    assert_eq!(client.expect("refused", FILES + 1)["code"], "conflict");
    farm.servers.iter_mut().for_each(Role::restart);
    for n in &again {
        let receipt = client.next();
        assert_eq!(
            (&receipt["request_type"], &receipt["id"]),
            (&"delivered".into(), &(*n).into()),
            "in their order"
        );
    }
    farm.wait_until_delivered();
    let stored = farm.by_number();
    assert!(stored.keys().copied().eq(1..=FILES));
    assert!(stored.iter().all(|(n, stored)| *stored == content(*n)));
}

#[test]
fn a_journal_that_fails_ends_the_balancer_and_clients_are_told() {
    let farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        &server,
        "--journal",
        "kept",
        "--segment-size",
        "1MiB",
    ];
    let balancer = Running::start(bilico(&args).current_dir(farm.dir.path()));
    let address = address_of(&balancer);
    let (mut client, mut bystander) = (Client::connect(&address), Client::connect(&address));
    bystander.put_accepted(1, None, b"x");
    fs::remove_dir_all(farm.dir.path().join("kept")).unwrap();
    let mut writing = client.wire.0.try_clone().unwrap();
    let feeding = std::thread::spawn(move || {
        let file = frame(&put(7, "x"), &noise(7, 60_000));
        while writing.write_all(&file).is_ok() {}
    });
    for client in [&mut client, &mut bystander] {
        let bye = client.bye();
        assert_eq!(bye["code"], "storage", "{bye}");
        assert!(
            bye["reason"]
                .as_str()
                .unwrap()
                .contains("the journal's directory"),
            "{bye}"
        );
    }
    drop(client);
    feeding.join().unwrap();
    let ended = balancer.wait();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.stderr.contains("error: the journal's directory") && ended.stderr.contains("hint: "),
        "{ended:?}"
    );
}

#[test]
fn a_full_disk_makes_receipts_wait_while_deliveries_go_on() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=20 {
        client.put_accepted(id, None, &noise(id, 65_000));
    }
    let segments = fs::read_dir(farm.journal())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let longest = segments
        .filter(|path| is_segment(path))
        .map(|path| fs::metadata(path).unwrap().len())
        .max();
    limit_file_size(&farm.balancer, &(longest.unwrap() + 3000).to_string());
    let mut late = farm.client();
    for id in 21..=25 {
        late.put(id, Some(&format!("k{id}")), &noise(id, 2000));
    }
    wait_for_line(
        || farm.log(),
        &["ERROR", "the journal waits until it can write"],
    );
    farm.servers[0].restart();
    for id in 1..=20 {
        client.expect("delivered", id);
    }
    assert!(farm.stored(0).len() >= 20);
    limit_file_size(&farm.balancer, "unlimited");
    for id in 21..=25 {
        late.expect("accepted", id);
        late.expect("delivered", id);
    }
    wait_for_line(|| farm.log(), &["INFO", "the journal goes on"]);
    farm.crash_balancer();
    farm.wait_until_delivered();
    assert_eq!(farm.by_number().len(), 25, "nothing is stored twice");
}

/// A balancer over one server that is down, its journal on a small disk.
fn farm_on(disk: &Mount) -> Farm {
    let mut farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let journal = disk.path().join("journal");
    let flags = ["--journal", journal.to_str().unwrap(), "--log-dir", "small"];
    farm.balancer = start_balancer(farm.dir.path(), &[server], &flags);
    farm
}

#[test]
fn a_full_disk_refuses_at_the_door_and_takes_files_again_after_deliveries() {
    let Some(disk) = Mount::tmpfs("16m") else {
        return;
    };
    let mut farm = farm_on(&disk);
    let log = |farm: &Farm| fs::read_to_string(farm.dir.path().join("small/balancer.log")).unwrap();
    let mut client = farm.client();
    let large = noise(1, 20 * MIB);
    let whole = frame(&put_header(1, Some("too large")).to_string(), &large);
    let header = whole.len() - large.len() - 4;
    client.wire.write(&whole[..header]);
    let refused = client.expect("refused", 1);
    assert_eq!(refused["code"], "full", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("20 MiB") && reason.matches("MiB").count() >= 2,
        "{reason}"
    );
    client.wire.write(&whole[header..]);
    client.put_accepted(2, None, b"the connection goes on");

    let mut accepted = vec![(1, b"the connection goes on".to_vec())];
    let refused = loop {
        let (id, content) = (
            10 + accepted.len() as u64,
            noise(accepted.len() as u64, MIB),
        );
        client.put(id, Some(&format!("k{id}")), &content);
        let answer = client.next();
        if answer["request_type"] == "refused" {
            break answer;
        }
        accepted.push((number(&answer), content));
    };
    assert_eq!(refused["code"], "full", "{refused}");
    assert!(
        accepted.len() > 8,
        "only {} of 16 MiB could be used",
        accepted.len()
    );
    wait_for_line(
        || log(&farm),
        &["ERROR", "files are refused", "disk is full"],
    );
    let text = "x".repeat(MIB);
    let mut old_client = TcpStream::connect(&farm.balancer.address).unwrap();
    old_client
        .write_all(old_style_put("perché.json", &text).as_bytes())
        .unwrap();
    let before = farm.status().accepted;
    client.offer_size(5000, "k10", 7);
    client.expect("wanted", 5000);
    assert_eq!(
        farm.status().accepted,
        before,
        "the old client's file waits"
    );

    farm.servers[0].restart();
    farm.wait_until_delivered();
    accepted.push((accepted.len() as u64 + 1, text.into_bytes()));
    wait_until("the old client's file to be delivered", || {
        farm.stored(0).len() == accepted.len()
    });
    let content = noise(77, MIB);
    accepted.push((client.put_accepted(6000, None, &content), content));
    client.expect("delivered", 6000);
    assert!(farm.by_number() == accepted.into_iter().collect());
    wait_for_line(
        || log(&farm),
        &["INFO", "the journal's disk has room again"],
    );
}

// ---------------------------------------------------------------- servers that vanish

/// A farm of two whose first server is frozen with some of 40 files, and the numbers of those.
fn frozen(flags: &[&str]) -> (Farm, Client, Vec<u64>) {
    let farm = Farm::with(&[1, 1], &[], flags);
    farm.servers[0].signal("STOP");
    let mut client = farm.client();
    for id in 1..=40 {
        assert_eq!(
            client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 500)),
            id
        );
    }
    wait_until("the other server to have its share", || {
        farm.stored(1).len() >= 20
    });
    let here = farm.by_number_in(1);
    let with_first = (1..=40).filter(|number| !here.contains(number)).collect();
    (farm, client, with_first)
}

impl Farm {
    fn by_number_in(&self, place: usize) -> Vec<u64> {
        // Not read: a second copy may be removed meanwhile. All other names in there begin with a
        // dot.
        let names = names_with(&self.server_dir(place), "")
            .into_iter()
            .filter(|name| !name.starts_with('.'));
        names
            .map(|name| name.split_once('_').unwrap().0.parse().unwrap())
            .collect()
    }

    /// Waits until each of the files from 1 on is on exactly one server.
    #[track_caller]
    fn wait_until_each_is_there_once(&self, count: u64) {
        wait_until("each file to be there exactly once", || {
            let mut numbers: Vec<u64> = (0..2).flat_map(|place| self.by_number_in(place)).collect();
            numbers.sort_unstable();
            numbers.into_iter().eq(1..=count)
        });
    }
}

#[test]
fn files_in_doubt_wait_for_their_server_when_they_are_told_to() {
    for killed in [false, true] {
        let (mut farm, mut client, in_doubt) = frozen(&["--in-doubt", "wait"]);
        if killed {
            farm.servers[0].kill();
        }
        let name = farm.servers[0].address.clone();
        let reason = [name.as_str(), "may have it", "--in-doubt wait"];
        wait_for("the files to be in doubt", || {
            let way = farm.way(in_doubt[0]);
            reason.iter().all(|part| way.contains(part)).then_some(())
        });
        let files = farm.status().queue.files();
        assert_eq!(files, in_doubt.len());
        if killed {
            // What is in doubt stays so over a restart, and it is told which server must be heard.
            farm.crash_balancer();
            wait_for("it to be told which server is missing", || {
                let way = farm.way(in_doubt[0]);
                way.contains(&format!("have not said yet whether they have it: {name}"))
                    .then_some(())
            });
            assert_eq!(farm.status().queue.files(), files);
        }
        assert!(
            farm.by_number_in(1)
                .iter()
                .all(|number| !in_doubt.contains(number)),
            "nothing went elsewhere"
        );
        if killed {
            farm.servers[0].restart();
        } else {
            farm.servers[0].signal("CONT");
        }
        farm.wait_until_delivered();
        farm.wait_until_each_is_there_once(40);
        if !killed {
            for id in 1..=40 {
                client.expect("delivered", id);
            }
        }
    }
}

/// A server whose directory cannot be used greets without an identity, and cannot say what it has.
/// That was taken for "nothing", and the files in doubt were stored elsewhere, too.
#[test]
fn a_server_that_cannot_say_what_it_has_settles_no_doubt() {
    let (mut farm, _client, in_doubt) = frozen(&["--in-doubt", "wait"]);
    farm.servers[0].kill();
    wait_until("the files to be in doubt", || {
        farm.way(in_doubt[0]).contains("may have it")
    });
    let (dir, aside) = (farm.server_dir(0), farm.dir.path().join("aside"));
    fs::rename(&dir, &aside).unwrap();
    fs::write(&dir, "in the way").unwrap();
    farm.servers[0].restart();
    wait_for_line(
        || farm.log(),
        &["cannot say what", &farm.servers[0].address],
    );
    assert_eq!(farm.status().queue.files(), in_doubt.len());
    assert!(
        farm.by_number_in(1)
            .iter()
            .all(|number| !in_doubt.contains(number)),
        "nothing went elsewhere"
    );
    fs::remove_file(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    farm.wait_until_delivered();
    farm.wait_until_each_is_there_once(40);
}

#[test]
fn files_in_doubt_that_went_elsewhere_are_there_once_when_their_server_returns() {
    for killed in [false, true] {
        let (mut farm, mut client, in_doubt) = frozen(&[]);
        for id in 1..=40 {
            client.expect("delivered", id);
        }
        assert_eq!(farm.stored(1).len(), 40, "all went to the other one");
        if killed {
            farm.crash_balancer();
        }
        farm.servers[0].signal("CONT");
        farm.wait_until_up();
        farm.wait_until_each_is_there_once(40);
        assert!(!in_doubt.is_empty());
    }
}

// ---------------------------------------------------------------- servers that talk nonsense

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

/// What a pretended server says instead of what it has.
struct Nonsense {
    what: &'static str,
    say: fn(&mut Wire),
    /// Something that the balancer's log says of it, unless it can be used all the same.
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
                )
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
                )
            },
            "holding",
        ),
        case(
            "something else",
            |wire| {
                tell(
                    wire,
                    &frame(r#"{"request_type":"stored","request_number":1}"#, b""),
                )
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
fn a_server_that_says_nonsense_about_what_it_has_costs_nothing() {
    for Nonsense { what, say, logged } in nonsense() {
        let dir = tempfile::tempdir().unwrap();
        let pretended = pretend_server(Some(IDENTITY), move |mut wire| {
            say(&mut wire);
            wire.swallow();
        });
        let mut real = start_server(dir.path(), 1, &[]);
        let specs = [format!("{pretended}=1"), format!("{}=1", real.address)];
        let flags = ["--stall-timeout", "500ms"];
        // Files that wait before any server is asked.
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

#[test]
fn the_journal_can_be_checked_beside_a_running_balancer() {
    let farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=10 {
        client.put_accepted(id, None, &noise(id, 70_000));
    }
    let checked = check(&farm.journal());
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains("files: 10 wait") && checked.stdout.ends_with("\nsound\n"),
        "{checked:?}"
    );
    let json = run(
        bilico(&["queue", "check", "--json"]).arg(farm.journal()),
        "",
    );
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&json["sound"], &json["waiting"], &json["next_number"]),
        (&json!(true), &json!(10), &json!(11))
    );
    client.put_accepted(11, None, b"goes on");
}

#[test]
fn what_is_no_journal_cannot_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let missing = check(&dir.path().join("missing"));
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("missing"), "{missing:?}");
    assert_eq!(check(&dir.path().join("file")).code, Some(1));
    let empty = check(dir.path());
    assert_eq!(empty.code, Some(1), "{empty:?}");
    assert!(empty.stderr.contains("no journal"), "{empty:?}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing was made there"
    );
    // A new journal holds nothing, and is one.
    let farm = Farm::start(&[1]);
    assert_eq!(check(&farm.journal()).code, Some(0));
}

/// A journal that may only be read could not be checked: it was opened for writing.
#[test]
fn a_journal_that_may_not_be_written_to_can_be_checked() {
    let Some(disk) = Mount::tmpfs("16m") else {
        return;
    };
    let mut farm = farm_on(&disk);
    farm.client().put_accepted(1, None, b"x");
    farm.balancer.kill();
    assert!(crate::harness::mount(&["-o", "remount,ro"], disk.path()));
    let checked = check(&disk.path().join("journal"));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let server = format!("{}=1", farm.servers[0].address);
    let journal = disk.path().join("journal");
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        &server,
        "--journal",
        journal.to_str().unwrap(),
    ];
    let ended = run(bilico(&args).current_dir(farm.dir.path()), "");
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.stderr.contains("read-only") || ended.stderr.contains("Read-only"),
        "{ended:?}"
    );
}
