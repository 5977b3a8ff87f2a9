//! Single claims, shown at length: files survive every kill, a full disk loses no accepted file,
//! and one stuck file does not keep the journal from freeing its segments.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bilico::client::receipts::State;
use bilico::protocol::status::StatusReport;
use bilico::verify::{Receipts, verify};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::judge::told;
use super::stage::{PATIENCE, Setup, Stage, mortal_bilico};
use crate::pretend_server;

/// A client that runs; it is killed on drop.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes files with these titles.
fn write(dir: &Path, titles: impl Iterator<Item = String>, size: usize) {
    fs::create_dir_all(dir).unwrap();
    for title in titles {
        let mut content = vec![0; size];
        blake3::Hasher::new()
            .update(title.as_bytes())
            .finalize_xof()
            .fill(&mut content);
        fs::write(dir.join(title), content).unwrap();
    }
}

/// A client sends `files` files with keys while each of three servers is killed `kills` times and
/// the balancer twice as often. Returns the output of `bilico verify`, which looks for the files.
pub fn kills(seed: u64, files: usize, kills: usize) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut victims = [0, 0, 1, 2, 3].repeat(kills);
    victims.shuffle(&mut random);
    let kills = victims.len();
    // Slow enough, with such small windows, that all kills come while files are in flight.
    let time = Duration::from_secs(4) * u32::try_from(kills).unwrap();
    let mut stage = Stage::start(&Setup {
        weights: &[3, 2, 1],
        balancer: &["--window-files", "2", "--segment-size", "1MiB"],
        journal: None,
        delay: time / u32::try_from(files).unwrap(),
        is_secure: false,
    });
    let dir = stage.dir.path().to_owned();
    write(
        &dir.join("out"),
        (0..files).map(|file| format!("file-{file}.bin")),
        1000,
    );
    let receipts = dir.join("receipts.jsonl");
    fs::write(&receipts, "").unwrap();
    let mut command = mortal_bilico();
    command.args([
        "send",
        "--quiet",
        "-r",
        "out",
        "--key-prefix",
        "show/",
        "--receipts",
        "receipts.jsonl",
        "--retry",
        "2m",
    ]);
    command
        .args(["--balancer", &stage.balancer.proxy.address])
        .current_dir(&dir);
    let mut client = Client(command.spawn().unwrap());
    let count = || bytecount::count(&fs::read(&receipts).unwrap(), b'\n');
    for (kill, victim) in victims.into_iter().enumerate() {
        let left = kills - kill;
        let due = count() + (files - count()) / (left + 2);
        wait("files to be delivered", || count() >= due);
        let there = count();
        assert!(
            client.0.try_wait().unwrap().is_none(),
            "the client ended before kill {kill}"
        );
        stage.post(victim).kill();
        std::thread::sleep(Duration::from_millis(random.random_range(0..400)));
        stage.post(victim).start().unwrap();
        println!(
            "kill -9 of the {:9} with {there:6} of {files} files delivered",
            stage.post(victim).name
        );
    }
    wait("the client to end", || {
        client.0.try_wait().unwrap().is_some()
    });
    assert!(client.0.wait().unwrap().success(), "the client failed");
    stage.wait_for("the queue to drain", |status| status.queue.files() == 0);
    stage.wait_for("all servers to be up", |status| {
        status.servers.iter().all(|server| server.eligible)
    });
    let args = [
        "verify",
        "--receipts",
        "receipts.jsonl",
        "files_1",
        "files_2",
        "files_3",
    ];
    let started = Instant::now();
    loop {
        let verified = mortal_bilico()
            .args(args)
            .current_dir(&dir)
            .output()
            .unwrap();
        // A second copy may be about to be removed.
        if verified.status.success() || started.elapsed() > PATIENCE {
            let said = String::from_utf8_lossy(&verified.stdout).into_owned();
            println!(
                "$ bilico {}\n{said}exit code {:?}",
                args.join(" "),
                verified.status.code()
            );
            assert!(verified.status.success(), "{said}");
            return said;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[track_caller]
fn wait(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(
            started.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// With 16 MiB for the journal and no server up, files are sent until they are refused. Then the
/// servers start: all accepted files arrive and no refused one, and files are accepted again.
/// `None` if no disk of this size can be mounted.
pub fn full(seed: u64) -> Option<()> {
    let setup = Setup {
        weights: &[2, 1],
        balancer: &["--segment-size", "1MiB"],
        journal: Some("16m"),
        delay: Duration::ZERO,
        is_secure: false,
    };
    let mut stage = Stage::new(&setup);
    if !stage.has_own_disk {
        return None;
    }
    stage.balancer.start().unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let mut receipts = Vec::new();
    let refused = |receipts: &[std::path::PathBuf]| {
        let ledger = Receipts::read(receipts).unwrap();
        ledger
            .entries
            .iter()
            .filter(|entry| entry.state == State::Refused)
            .count()
    };
    // Until small files are refused, too, not only large ones.
    let mut batch = 0;
    while batch < 3 || refused(&receipts[receipts.len() - 1..]) < 10 || batch % 3 != 0 {
        let size = [500, 40_000, 300_000][batch % 3] + random.random_range(0..100);
        receipts.push(send_batch(&stage, batch, [400, 40, 10][batch % 3], size));
        batch += 1;
        assert!(batch < 1000, "the disk is never full");
    }
    let before = stage.status(PATIENCE).unwrap();
    println!(
        "{} files accepted, {} refused",
        before.accepted,
        refused(&receipts)
    );
    assert!(
        before.queue.files() > 0 && before.delivered == 0,
        "{before:?}"
    );
    stage.start_all();
    stage.wait_for("all that was accepted to be delivered", |status| {
        status.queue.files() == 0
    });
    compare(&stage, &receipts);
    let refused_before = refused(&receipts);
    for batch in batch..batch + 3 {
        receipts.push(send_batch(
            &stage,
            batch,
            10,
            [500, 40_000, 300_000][batch % 3],
        ));
    }
    assert_eq!(refused(&receipts), refused_before, "acceptance goes on");
    stage.wait_for("the rest to be delivered", |status| {
        status.queue.files() == 0
    });
    let status = compare(&stage, &receipts);
    println!(
        "{} files are stored once, and none that was refused",
        status.delivered
    );
    Some(())
}

fn send_batch(stage: &Stage, batch: usize, files: usize, size: usize) -> std::path::PathBuf {
    let from = stage.dir.path().join(format!("out/{batch}"));
    write(
        &from,
        (0..files).map(|file| format!("b{batch}-{file}")),
        size,
    );
    let receipts = stage.dir.path().join(format!("{batch}.receipts"));
    let mut command = mortal_bilico();
    command.args([
        "send",
        "--quiet",
        "--wait",
        "accepted",
        "--balancer",
        &stage.balancer.proxy.address,
        "-r",
    ]);
    let ended = command
        .arg(&from)
        .arg("--receipts")
        .arg(&receipts)
        .current_dir(stage.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        said.lines()
            .all(|line| line.contains("full") || line.contains("more")),
        "{said}"
    );
    receipts
}

fn compare(stage: &Stage, receipts: &[std::path::PathBuf]) -> StatusReport {
    let report = verify(receipts, &stage.shelves(), false).unwrap();
    assert!(report.is_clean(), "{:#?}", told(&report));
    stage.status(PATIENCE).unwrap()
}

/// A server that acknowledges all files and stores none, and refuses a file called `stuck` each
/// time. Returns its address and the number of refusals.
fn picky_server() -> (String, Arc<AtomicUsize>) {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = refused.clone();
    let address = pretend_server(None, move |mut wire| {
        while let Some((header, _)) = wire.message() {
            if header["request_type"] != "store" {
                continue;
            }
            let number = &header["request_number"];
            let answer = if header["title"] == "stuck" {
                count.fetch_add(1, Ordering::Relaxed);
                json!({"request_type": "not_stored", "request_number": number, "code": "checksum",
                    "reason": "picky"})
            } else {
                json!({"request_type": "stored", "request_number": number})
            };
            if !wire.say(&answer) {
                return;
            }
        }
    });
    (address, refused)
}

/// The size of a segment while a file is stuck, in bytes.
const SEGMENT: u64 = 1024 * 1024;

/// One file waits for ever, and `files` small ones pass by. The journal's segments never take more
/// than two segments and three times the bytes that are not delivered.
pub fn stuck(files: usize) {
    let (server, refused) = picky_server();
    let flags = [
        "--segment-size",
        "1MiB",
        "--max-attempts",
        "4000000000",
        "--remember-files",
        "0",
    ];
    let mut stage = Stage::new(&Setup {
        weights: &[],
        balancer: &flags,
        journal: None,
        delay: Duration::ZERO,
        is_secure: false,
    });
    stage.balancer.serve_only(&format!("{server}=1"));
    stage.balancer.start().unwrap();
    let dir = stage.dir.path().to_owned();
    write(
        &dir.join("stuck-one"),
        std::iter::once("stuck".to_owned()),
        60_000,
    );
    let send = |from: &str, wait: &str| {
        let mut command = mortal_bilico();
        command.args([
            "send",
            "--quiet",
            "-r",
            from,
            "--wait",
            wait,
            "--balancer",
            &stage.balancer.proxy.address,
        ]);
        let ended = command.current_dir(&dir).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    };
    send("stuck-one", "accepted");
    wait("it to be refused", || refused.load(Ordering::Relaxed) > 0);
    let (mut most, mut passed) = ((0, 0), 0);
    while passed < files {
        let batch = 1000.min(files - passed);
        let _ = fs::remove_dir_all(dir.join("out"));
        write(
            &dir.join("out"),
            (passed..passed + batch).map(|file| format!("small-{file}")),
            500,
        );
        send("out", "delivered");
        passed += batch;
        let status = stage.wait_for("all but one to be delivered", |status| {
            status.queue.files() == 1
        });
        let (taken, bound) = (stage.segments(), 3 * status.queue.bytes + 2 * SEGMENT);
        most = most.max((taken, bound));
        assert!(
            taken <= bound,
            "{taken} bytes in segments after {passed} files; {bound} are allowed"
        );
    }
    let tries = refused.load(Ordering::Relaxed);
    println!(
        "{passed} files passed one that is stuck (refused {tries} times): the segments took {} bytes at the most; {} are allowed",
        most.0, most.1
    );
}
