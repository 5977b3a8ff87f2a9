//! Overload, brought about by work: files that are held in memory while they are worked on.

use std::fs;
use std::time::{Duration, Instant};

use bilico::protocol::status::StatusReport;

use crate::harness::{Farm, Role, bilico, start_balancer, start_server, wait_until};

/// A server that is overloaded by 8 MiB of held files, and works 6 ms on each letter A.
const BUSY: [&str; 4] = ["--overload-margin", "8MiB", "--work-delay", "6ms"];

/// Files of 1 MiB with 1,000 letters A: each is held for six seconds by a busy server.
fn make_heavy_files(dir: &std::path::Path, count: usize) -> String {
    let folder = dir.join("heavy");
    fs::create_dir_all(&folder).unwrap();
    let mut content = vec![b'a'; 1000];
    content.resize(1 << 20, b'-');
    for file in 0..count {
        fs::write(folder.join(format!("{file}.txt")), &content).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

fn send(balancer: &Role, folder: &str, wait: &str) {
    let sent = bilico(&["send", "-r", folder, "--balancer", &balancer.address, "--wait", wait]).output().unwrap();
    assert!(sent.status.success(), "{sent:?}");
}

fn overloaded(status: &StatusReport) -> Vec<bool> {
    status.servers.iter().map(|server| server.overloaded).collect()
}

#[test]
fn an_overloaded_server_gets_nothing_until_its_memory_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let busy = start_server(dir.path(), 1, &BUSY);
    let idle = start_server(dir.path(), 2, &[]);
    let balancer = start_balancer(dir.path(), &[format!("{}=1", busy.address), format!("{}=1", idle.address)], &[]);
    let status = || crate::harness::status(&balancer.address);
    wait_until("both to be up", || status().servers.iter().all(|server| server.eligible));

    let folder = make_heavy_files(dir.path(), 40);
    send(&balancer, &folder, "delivered");
    wait_until("the overload to be seen", || overloaded(&status()) == [true, false]);
    let before = status();
    assert!(before.servers[0].reason.as_deref().unwrap().contains("overload byte 1"), "{before:?}");
    send(&balancer, &folder, "delivered");
    let after = status();
    if overloaded(&after) == [true, false] {
        assert_eq!(after.servers[0].delivered, before.servers[0].delivered, "nothing new goes to it");
        assert_eq!(after.servers[1].delivered, before.servers[1].delivered + 40);
    } else {
        panic!("the overload ended before it could be tested");
    }

    let waiting = Instant::now();
    wait_until("the overload to end with the work", || overloaded(&status()) == [false, false]);
    assert!(waiting.elapsed() < Duration::from_secs(15), "memory comes back within seconds: {:?}", waiting.elapsed());
    let before = status().servers[0].delivered;
    send(&balancer, &make_heavy_files(dir.path(), 4), "delivered");
    assert!(status().servers[0].delivered > before, "it gets files again");
    let log = fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    assert!(log.contains("fact=load reason=\"overload byte 1\""), "{log}");
    assert!(log.contains("fact=load reason=\"overload byte 0\""), "{log}");
    drop((busy, idle));
}

#[test]
fn with_all_servers_overloaded_files_wait_and_nobody_spins() {
    // Held for longer than it takes to send them all, on a busy disk, too.
    let farm = Farm::with(&[1, 1, 1], &["--overload-margin", "8MiB", "--work-delay", "15ms"], &[]);
    let folder = make_heavy_files(farm.dir.path(), 60);
    send(&farm.balancer, &folder, "delivered");
    wait_until("all to be overloaded", || overloaded(&farm.status()) == [true; 3]);
    let before = farm.status().delivered;
    let cpu_before = farm.balancer.cpu_time();
    let waited = Instant::now();
    send(&farm.balancer, &folder, "accepted");
    let accepted = farm.balancer.cpu_time();
    let mut observed = Duration::ZERO;
    while overloaded(&farm.status()) == [true; 3] {
        observed = waited.elapsed();
        assert_eq!(farm.status().delivered, before, "an overloaded server gets nothing");
        assert!(observed < crate::harness::DEADLINE, "the overload does not end");
        // The asking itself costs the balancer time, which is not what is measured.
        std::thread::sleep(Duration::from_millis(200));
    }
    let cpu = farm.balancer.cpu_time() - accepted;
    println!("CPU of the balancer: {:?} to accept 60 MiB, {cpu:?} of {observed:?} waiting", accepted - cpu_before);
    assert!(observed > Duration::from_secs(1), "too short to tell anything: {observed:?}");
    assert!(cpu < observed / 10, "the balancer is busy with waiting: {cpu:?} of {observed:?}");
    wait_until("all files to arrive once the overload ends", || farm.status().delivered == 120);
    assert_eq!(farm.all_stored().len(), 120);
}
