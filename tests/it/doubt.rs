//! Files in doubt at a server are remembered until the server has listed its files and removed its
//! second copies, however long it is away and however many files pass meanwhile.

use std::io::Write;

use bilico_testkit::{Client, Farm, frame, noise, put, sized, wait_for_line, wait_until};

/// How many files the balancer remembers after their end: as many as by default in a full proof.
fn remembered() -> u64 {
    sized(3_000, 100_000)
}

/// Hands over tiny files, many in one write, and waits until so many are delivered in all.
#[track_caller]
fn pass(farm: &Farm, files: u64, delivered: u64) {
    let mut wire = farm.client().wire;
    let receipts = bilico_testkit::Wire(wire.0.try_clone().unwrap());
    let reader = std::thread::spawn(move || receipts.swallow());
    for first in (0..files).step_by(500) {
        let some = (first..files.min(first + 500)).flat_map(|id| frame(&put(id, "t"), b"x"));
        wire.0.write_all(&some.collect::<Vec<u8>>()).unwrap();
    }
    wait_until("all of them to be delivered", || {
        farm.status().delivered >= delivered
    });
    wire.0.shutdown(std::net::Shutdown::Both).unwrap();
    reader.join().unwrap();
}

/// Two servers: the first is stopped with its share of 40 files, which have all gone to the other
/// one since.
fn with_files_in_doubt(flags: &[&str]) -> Farm {
    // This is not about syncs, which would take the longest.
    let farm = Farm::with(&[1, 1], &["--durability", "os"], flags);
    farm.servers[0].signal("STOP");
    let mut client = Client::connect(&farm.balancer.address);
    for id in 1..=40 {
        client.put(id, None, &noise(id, 500));
    }
    for id in 1..=40 {
        client.expect("delivered", id);
    }
    assert_eq!(farm.numbers_in(1).len(), 40);
    farm
}

/// While a server's link opened, the balancer forgot the ends that it had kept for files in doubt,
/// before it had decided which copies the server must remove. It confirmed them, and 97 of 1,051
/// files stayed there twice.
#[test]
fn files_in_doubt_are_there_once_however_much_passed_elsewhere_meanwhile() {
    let remembered = remembered();
    let passing = remembered + 2_000;
    let remember = remembered.to_string();
    let farm = with_files_in_doubt(&["--log-level", "warn", "--remember-files", &remember]);
    pass(&farm, passing, 40 + passing);
    farm.servers[0].signal("CONT");
    farm.wait_until_up();
    farm.wait_until_each_is_there_once(40 + passing);
    wait_for_line(|| farm.server_log(0), &["dropped", "another server has it"]);
}

/// After a restart the balancer does not know which files were in doubt, so it must keep all ends
/// from before it until every server has listed its files. It kept only those of waiting files.
#[test]
fn files_in_doubt_are_there_once_when_the_balancer_was_restarted_meanwhile() {
    let flags = ["--remember", "0s", "--remember-files", "10"];
    for restarts in 1..=2 {
        let mut farm = with_files_in_doubt(&["--remember-files", "1000"]);
        for _ in 0..restarts {
            farm.balancer.kill();
            let specs: Vec<String> = farm
                .servers
                .iter()
                .map(|server| format!("{}=1", server.address))
                .collect();
            farm.balancer = bilico_testkit::start_balancer(farm.dir.path(), &specs, &flags);
            wait_until("one to be up", || {
                farm.status().servers.iter().any(|server| server.eligible)
            });
        }
        pass(&farm, 200, 200);
        let shown = || farm.queue(&["show", "240"]);
        wait_until("what is in doubt nowhere to be forgotten", || {
            shown().code != Some(0)
        });
        farm.servers[0].signal("CONT");
        farm.wait_until_up();
        farm.wait_until_each_is_there_once(240);
    }
}
