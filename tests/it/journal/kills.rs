//! The balancer is killed or stopped, and starts again.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use bilico_testkit::{
    Client, Farm, OldServer, Role, Running, bilico, frame, names_with, noise, number,
    old_style_put, put, start_balancer, status, wait_for_line, wait_until,
};

use super::helpers::{MIB, address_of};

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

/// After a restart, a document that its frame made too long was reported as not being text.
#[test]
fn a_restart_does_not_change_which_files_old_style_servers_get() {
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
        wait_for_line(|| farm.history(number), &["waited", why]);
    }
}

/// The balancer is killed again and again before the ends of delivered files are written. It must
/// ask servers for their lists before it sends a file again.
#[test]
fn a_kill_right_after_deliveries_stores_nothing_twice() {
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
fn a_stopping_balancer_says_how_many_files_it_keeps() {
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

/// So many files wait that the balancer keeps only backlog entries of most. They can be asked about
/// and sent again under their keys, survive a kill, and leave in their order.
#[test]
fn files_behind_thousands_of_others_leave_in_order() {
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
        let shown = farm.queue(&["show", "8900"]).stdout;
        assert!(shown.contains("k8900"), "{shown}");
        let listed = ["ls", "--after", "8190", "--limit", "4", "--json"];
        let listed = farm.queue(&listed).stdout;
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
