//! Twelve servers register, four are killed, two move, and the balancer is killed twice while files
//! pass: each file is stored once.

use std::fs;
use std::time::Duration;

use bilico_testkit::{Role, Running, bilico, run, sized, wait_until};

use super::helpers::Place;

/// `BILICO_PROOF=full` sends more files, more often.
#[test]
fn each_file_is_stored_once_while_a_fleet_changes() {
    for round in 0..sized(1, 10) {
        changes(round);
    }
}

fn changes(round: usize) {
    let mut place = Place::start(&["--join", "loopback", "--window-files", "4"]);
    let slow = ["--work-delay", "1ms"];
    let mut servers: Vec<Role> = (0..12).map(|n| place.server(n, &slow)).collect();
    wait_until("twelve servers to get files", || {
        let servers = place.status().servers;
        servers.iter().filter(|seen| seen.eligible).count() == 12
    });
    let files = sized(600, 3000);
    let out = place.dir.path().join("out");
    fs::create_dir_all(&out).unwrap();
    for n in 0..files {
        fs::write(out.join(format!("{n}.txt")), format!("A{n}").repeat(30)).unwrap();
    }
    let mut send = bilico(&["send", "--quiet", "-r", "out", "--key-prefix", "k/"]);
    send.args(["--balancer", &place.balancer.address]).args([
        "--receipts",
        "receipts.jsonl",
        "--retry",
        "2m",
    ]);
    let client = Running::start(send.current_dir(place.dir.path()));
    let receipts = place.dir.path().join("receipts.jsonl");
    let count = || fs::read_to_string(&receipts).map_or(0, |text| text.lines().count());
    let mut due = 0;
    let mut wait_for_more = || {
        due += files / 8;
        wait_until("more files", || count() >= due.min(files));
    };
    wait_for_more();
    for server in &mut servers[..2] {
        server.kill();
    }
    wait_for_more();
    place.balancer.kill();
    for server in &mut servers[2..4] {
        server.kill();
    }
    place.balancer.restart();
    wait_for_more();
    // Two move: the same directories at other ports, one of them in the middle of a restart.
    for n in [4, 5] {
        servers[n].kill();
        servers[n] = place.server(n, &slow);
    }
    wait_for_more();
    place.balancer.kill();
    std::thread::sleep(Duration::from_millis(200));
    place.balancer.restart();
    wait_for_more();
    for server in &mut servers[..4] {
        server.restart();
    }
    let ended = client.wait();
    assert_eq!(ended.code, Some(0), "round {round}: {ended:?}");
    wait_until("twelve servers to get files", || {
        let servers = place.status().servers;
        servers.len() == 12 && servers.iter().all(|seen| seen.eligible)
    });
    wait_until("all to be delivered", || place.status().queue.files() == 0);
    let mut verify = bilico(&["verify", "--receipts", "receipts.jsonl"]);
    for n in 0..12 {
        verify.arg(place.files(n));
    }
    let verified = || run_verify(&mut verify, &place);
    wait_until("copies to be removed", verified);
}

fn run_verify(verify: &mut std::process::Command, place: &Place) -> bool {
    let ended = run(verify.current_dir(place.dir.path()), "");
    if ended.code != Some(0) {
        println!("{}{}", ended.stdout, ended.stderr);
    }
    ended.code == Some(0)
}
