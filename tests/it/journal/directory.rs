//! Which journals a balancer opens, and what `queue check` reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bilico::balancer::{Balancer, BalancerConfig};
use bilico::transport::Tcp;
use bilico_testkit::{DEADLINE, Farm, Mount, Role, bilico, noise, run};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::helpers::{change, check, farm_on, journal_of_40};

#[test]
fn a_second_balancer_on_a_journal_is_refused_and_the_first_goes_on() {
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
fn a_journal_directory_that_cannot_be_used_is_refused_with_a_reason() {
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

/// All files of a directory with their bytes.
fn image(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // The lock holds the id of the last process that tried.
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
fn a_foreign_journal_is_refused_and_left_unchanged() {
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
fn only_a_journal_can_be_checked() {
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
    // A new journal without files is valid.
    let farm = Farm::start(&[1]);
    assert_eq!(check(&farm.journal()).code, Some(0));
}

/// `queue check` failed on a read-only journal, because it opened it for writing.
#[test]
fn a_read_only_journal_can_be_checked() {
    let Some(disk) = Mount::tmpfs("16m") else {
        return;
    };
    let mut farm = farm_on(&disk);
    farm.client().put_accepted(1, None, b"x");
    farm.balancer.kill();
    assert!(bilico_testkit::mount(&["-o", "remount,ro"], disk.path()));
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

/// The hub is a task: it ends after the future that waited for it is gone.
#[test]
fn a_journal_stays_locked_until_the_hub_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Balancer::open(BalancerConfig {
            journal: dir.path().join("journal"),
            ..BalancerConfig::default()
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let balancer = open().unwrap();
        let running = balancer.run(listener, Arc::new(Tcp), CancellationToken::new());
        // It runs for a moment, and is dropped.
        let ended = tokio::time::timeout(Duration::from_millis(50), running).await;
        assert!(ended.is_err());
        assert!(
            open().is_err(),
            "nothing has run since that could end the hub"
        );
        let began = Instant::now();
        while open().is_err() {
            assert!(began.elapsed() < DEADLINE, "it is locked for good");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
