//! Chaos on real processes, and three claims about the balancer shown one by one.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use bilico_testkit::{
    Mount, Wire, bilico, chaos, frame, put, sized, start_balancer, start_server, status, stored,
    wait_for_line, wait_until,
};

/// Every kind of fault comes, and no file is lost, doubled or damaged.
///
/// `BILICO_CHAOS_SECONDS` makes a full run of it, which must not miss a kind of fault. Without it
/// this is a short run, where faults come as fast as they can and a kind may be missed.
#[test]
fn nothing_is_lost_or_doubled_whatever_fails() {
    rain(false);
}

/// The same with TLS on both legs and a lock that is on.
#[test]
fn nothing_is_lost_or_doubled_over_tls_with_users() {
    rain(true);
}

fn rain(is_secure: bool) {
    let seed = chaos::seed();
    println!("seed {seed}");
    let full = std::env::var("BILICO_CHAOS_SECONDS").ok();
    let seconds = full.as_ref().map_or(12, |text| text.parse().unwrap());
    let mut outcome = chaos::run(seed, Duration::from_secs(seconds), is_secure, || false);
    if full.is_some() {
        outcome.fail_if_missed();
    }
    outcome.tell(seed);
    let findings = outcome.findings.len();
    assert_eq!(findings, 0, "what was found stands above");
}

/// The chaos tool shows the same with more files (`--show kills`). With
/// `BILICO_PROOF=full` there are 25 kills, not five.
#[test]
fn every_file_is_stored_once_though_all_are_killed_again_and_again() {
    let (files, kills) = sized((1000, 1), (4000, 5));
    let said = chaos::shows::kills(chaos::seed(), files, kills);
    let expected = {
        let count = bilico::numbers::count;
        let (receipts, stored) = (count(files, "receipt"), count(files, "stored file"));
        format!(
            "{receipts}, {stored}: {} match; no findings",
            bilico::numbers::Grouped(files as u64)
        )
    };
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn what_a_full_disk_accepted_arrives_and_nothing_else() {
    chaos::shows::full(chaos::seed());
}

#[test]
fn a_file_that_is_stuck_does_not_make_the_journal_grow() {
    chaos::shows::stuck(sized(3000, 6000));
}

/// Puts a file with a key, and returns its receipts up to the final one.
fn put_with_key(wire: &mut Wire, id: u64, key: &str, content: &[u8]) -> Vec<Value> {
    let header = json!({"request_type": "put", "id": id, "title": key, "key": key});
    wire.write(&frame(&header.to_string(), content));
    let mut receipts: Vec<Value> = Vec::new();
    loop {
        let receipt: Value = serde_json::from_str(&wire.frame().unwrap().0).unwrap();
        receipts.push(receipt.clone());
        if receipt["request_type"] != "accepted" {
            return receipts;
        }
    }
}

/// A client that lost its connection sends files without a receipt again. By then the disk was
/// full, and the file was refused although it had been accepted before and was stored.
#[test]
fn a_file_that_is_here_already_is_not_refused_for_want_of_room() {
    let Some(disk) = Mount::tmpfs("8m") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let journal = disk.path().join("journal");
    let flags = [
        "--journal",
        journal.to_str().unwrap(),
        "--segment-size",
        "1MiB",
    ];
    let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &flags);
    let mut wire = Wire::native(&balancer.address);
    let contents = [("small", vec![1; 100]), ("large", vec![2; 200_000])];
    for (key, content) in &contents {
        assert_eq!(
            put_with_key(&mut wire, 1, key, content)[1]["request_type"],
            "delivered"
        );
    }
    let mut filler = fs::File::create(disk.path().join("filler")).unwrap();
    while filler.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    for (key, content) in &contents {
        wait_until("new files to be refused", || {
            let refused = &put_with_key(&mut wire, 1, &format!("new {key}"), content)[0];
            refused["code"] == "full"
        });
        let receipts = put_with_key(&mut wire, 1, key, content);
        let kinds: Vec<&Value> = receipts
            .iter()
            .map(|receipt| &receipt["request_type"])
            .collect();
        assert_eq!(kinds, ["accepted", "delivered"], "{key}");
    }
    let mut wire = Wire::native(&balancer.address);
    let other = put_with_key(&mut wire, 1, "small", b"another");
    assert_eq!(other[0]["code"], "conflict", "{other:?}");
}

/// The balancer ran out of descriptors. It could not open the content of waiting files and made
/// them dead letters; and it ended, because it could not open the journal's directory to sync it.
#[test]
fn want_of_descriptors_makes_files_wait_and_kills_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let flags = ["--window-files", "1", "--segment-size", "1MiB"];
    let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &flags);
    wait_until("the server to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    server.signal("STOP");
    for file in 0..20 {
        fs::write(
            dir.path().join(format!("large-{file}")),
            vec![file; 200_000],
        )
        .unwrap();
        fs::write(dir.path().join(format!("small-{file}")), vec![file; 60_000]).unwrap();
    }
    let files = (0..20).flat_map(|file| [format!("large-{file}"), format!("small-{file}")]);
    let mut send = bilico(&[
        "send",
        "--quiet",
        "--balancer",
        &balancer.address,
        "--wait",
        "accepted",
    ]);
    assert!(
        send.args(files)
            .current_dir(dir.path())
            .status()
            .unwrap()
            .success()
    );
    balancer.limit("nofile", "1");
    server.signal("CONT");
    let log = || fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    wait_for_line(log, &["came back", "too many open files"]);
    balancer.limit("nofile", "1024");
    wait_until("all to be delivered", || {
        status(&balancer.address).queue.files() == 0
    });
    assert_eq!(status(&balancer.address).queue.dead, 0, "{}", log());
    assert_eq!(stored(&dir.path().join("json_files_1")).len(), 40);
}

/// Chaos seldom kills a balancer between a receipt and a commit. So here the commit does not come:
/// the journal cannot be written, while the balancer answers everything else.
#[test]
fn nothing_is_accepted_before_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = start_balancer(
        dir.path(),
        &["127.0.0.1:1=1".to_owned()],
        &["--segment-size", "1MiB"],
    );
    balancer.limit("fsize", "0");
    let mut wire = Wire::native(&balancer.address);
    wire.write(&frame(&put(1, "a"), b"content"));
    for _ in 0..3 {
        // A status that was asked for after the file comes before its receipt.
        wire.write(&frame(r#"{"request_type":"status"}"#, b""));
        let (header, _) = wire.frame().unwrap();
        assert!(header.contains(r#""request_type":"status""#), "{header}");
    }
    balancer.limit("fsize", "unlimited");
    let header = wire.frame_of("accepted");
    assert!(header.contains(r#""id":1"#), "{header}");
}
