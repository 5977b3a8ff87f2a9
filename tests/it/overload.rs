//! Overload by work: servers hold files in memory while they work on them.

use std::fs;
use std::time::{Duration, Instant};

use bilico::protocol::status::StatusReport;

use bilico_testkit::{Farm, Role, bilico, start_balancer, start_server, wait_for_line, wait_until};

/// A server that 8 MiB of held files overload, and which works 6 ms on each letter A.
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
    let sent = bilico(&[
        "send",
        "-r",
        folder,
        "--balancer",
        &balancer.address,
        "--wait",
        wait,
    ])
    .output()
    .unwrap();
    assert!(sent.status.success(), "{sent:?}");
}

fn overloaded(status: &StatusReport) -> Vec<bool> {
    status
        .servers
        .iter()
        .map(|server| server.overloaded)
        .collect()
}

#[test]
fn an_overloaded_server_gets_nothing_until_its_memory_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let busy = start_server(dir.path(), 1, &BUSY);
    let idle = start_server(dir.path(), 2, &[]);
    let balancer = start_balancer(
        dir.path(),
        &[format!("{}=1", busy.address), format!("{}=1", idle.address)],
        &[],
    );
    let status = || bilico_testkit::status(&balancer.address);
    wait_until("both to be up", || {
        status().servers.iter().all(|server| server.eligible)
    });

    // A disk may stall for longer than the work that holds the memory. Such a round shows nothing.
    let folder = make_heavy_files(dir.path(), 40);
    wait_until("a round within one overload", || {
        let before = status();
        if overloaded(&before) != [true, false] {
            send(&balancer, &folder, "delivered");
            return false;
        }
        assert!(
            before.servers[0]
                .reason
                .as_deref()
                .unwrap()
                .contains("overload byte 1"),
            "{before:?}"
        );
        send(&balancer, &folder, "delivered");
        let after = status();
        let lasted = after.servers[0].since_s > after.uptime_s - before.uptime_s;
        if lasted {
            assert_eq!(
                after.servers[0].delivered, before.servers[0].delivered,
                "nothing new goes to it"
            );
            assert_eq!(after.servers[1].delivered, before.servers[1].delivered + 40);
        }
        lasted
    });

    let waiting = Instant::now();
    wait_until("the overload to end with the work", || {
        overloaded(&status()) == [false, false]
    });
    assert!(
        waiting.elapsed() < Duration::from_secs(15),
        "memory comes back within seconds: {:?}",
        waiting.elapsed()
    );
    let before = status().servers[0].delivered;
    send(&balancer, &make_heavy_files(dir.path(), 4), "delivered");
    assert!(
        status().servers[0].delivered > before,
        "it gets files again"
    );
    for byte in ["1", "0"] {
        wait_for_line(
            || fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap(),
            &[&format!("fact=load reason=\"overload byte {byte}\"")],
        );
    }
    drop((busy, idle));
}

#[test]
fn with_all_servers_overloaded_files_wait_and_nobody_spins() {
    let farm = Farm::with(
        &[1, 1, 1],
        &["--overload-margin", "8MiB", "--work-delay", "15ms"],
        &[],
    );
    let folder = make_heavy_files(farm.dir.path(), 40);
    let mut sent = 0;
    // However slowly the disk takes them, there are always files for the servers that are not
    // overloaded yet.
    wait_until("all to be overloaded, with nothing on its way", || {
        let status = farm.status();
        let all = overloaded(&status) == [true; 3];
        if !all && status.queue.files() == 0 {
            send(&farm.balancer, &folder, "accepted");
            sent += 40;
        }
        all && status.queue.in_flight == 0
    });
    let before = farm.status().delivered;
    // So that some files wait: the first ones may all be delivered by now.
    send(
        &farm.balancer,
        &make_heavy_files(&farm.dir.path().join("few"), 4),
        "accepted",
    );
    sent += 4;
    let cpu_before = farm.balancer.cpu_time();
    let waited = Instant::now();
    let mut observed = Duration::ZERO;
    loop {
        let status = farm.status();
        if overloaded(&status) != [true; 3] {
            break;
        }
        observed = waited.elapsed();
        assert_eq!(
            status.delivered, before,
            "an overloaded server gets nothing"
        );
        assert!(status.queue.files() >= 4, "{status:?}");
        assert!(
            observed < bilico_testkit::DEADLINE,
            "the overload does not end"
        );
        // Asking costs the balancer processor time, which must not be measured.
        std::thread::sleep(Duration::from_millis(200));
    }
    let cpu = farm.balancer.cpu_time() - cpu_before;
    println!("CPU of the balancer: {cpu:?} of {observed:?} waiting");
    assert!(
        observed > Duration::from_secs(1),
        "too short to tell anything: {observed:?}"
    );
    assert!(
        cpu < observed / 10,
        "the balancer is busy with waiting: {cpu:?} of {observed:?}"
    );
    wait_until("all files to arrive once the overload ends", || {
        farm.status().delivered == sent
    });
    assert_eq!(farm.all_stored().len(), usize::try_from(sent).unwrap());
}
