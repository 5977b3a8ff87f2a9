//! Old-style servers that work on their files for long: a process of its own, as the first system
//! has it.

use std::path::PathBuf;
use std::process::Command;

use bilico_testkit::{Farm, Port, Running, are_there, stored, wait_until};

use super::farms::{farm_in, wait_for_server, write_files};

/// A server of the first system.
struct FirstSystem {
    port: Port,
    dir: PathBuf,
    process: Running,
}

impl FirstSystem {
    /// It pauses so many seconds for each letter A.
    fn start(dir: PathBuf, pause: &str) -> Self {
        let port = Port::take();
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/old-style/server.py"
        );
        let number = port.address();
        let number = number.rsplit(':').next().unwrap();
        let mut command = Command::new("python3");
        command.args([script, number]).arg(&dir).arg(pause);
        let process = Running::start(&mut command);
        process.wait_for_output("listening");
        Self { port, dir, process }
    }

    fn saved(&self) -> usize {
        stored(&self.dir).len()
    }
}

/// A balancer over a first-system server, and over so many of ours behind it.
fn farm(
    old: &[(&FirstSystem, u32)],
    native: usize,
    flags: &[&str],
    dir: tempfile::TempDir,
) -> Farm {
    let old = old
        .iter()
        .map(|(old, weight)| format!("{}={weight}", old.port.address()));
    farm_in(dir, old, &vec![1; native], flags)
}

/// So many letters A, and the file's number.
fn letters(count: usize) -> impl Fn(usize) -> Vec<u8> {
    move |file| format!("{} {file}", "a".repeat(count)).into_bytes()
}

/// Twelve were delivered as soon as they were sent, four were saved when the server was killed, and
/// eight were lost.
#[test]
fn files_that_a_killed_old_style_server_has_not_saved_go_elsewhere() {
    if !are_there(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = FirstSystem::start(dir.path().join("first"), "0.02");
    let farm = farm(&[(&old, 3)], 1, &["--probe-interval", "200ms"], dir);
    // Every fourth goes to ours. The others take 0.1 s or a minute.
    let folder = write_files(&farm, 16, |file| {
        letters(if file < 8 { 5 } else { 3000 })(file)
    });
    let sent = farm.send(&["-r", &folder, "--wait", "accepted"]);
    assert!(sent.status.success(), "{sent:?}");
    wait_until("the quick ones to be saved, and known to be", || {
        let mut there = stored(&old.dir);
        let saved = there.len();
        there.extend(farm.stored(0));
        let titles: Vec<&str> = there
            .keys()
            .filter_map(|name| name.split('_').nth(1))
            .collect();
        let is_there = |file| titles.contains(&&*format!("{file}.bin"));
        (0..8).all(is_there) && farm.server_status(0).delivered == saved as u64
    });
    let status = farm.status();
    let is_with_it = status.servers[0].in_flight;
    assert!(is_with_it > 0, "{status:?}");
    assert!(status.queue.files() >= is_with_it);
    old.process.signal("KILL");
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    farm.wait_for_delivered(16);
    let saved = stored(&old.dir);
    let ours = farm.stored(0);
    let is_copy = |name: &&String| ours.contains_key(*name);
    assert_eq!(saved.keys().filter(is_copy).count(), 0, "{saved:?}");
    assert_eq!(saved.len() + ours.len(), 16);
    for file in 8..16 {
        let content = letters(3000)(file);
        assert!(ours.values().any(|stored| *stored == content), "{file}");
    }
}

/// Its slow work counts against its window, and a drain waits for it.
#[test]
fn a_file_is_in_flight_to_an_old_style_server_until_it_is_saved() {
    if !are_there(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = FirstSystem::start(dir.path().join("first"), "0.02");
    let farm = farm(&[(&old, 1)], 0, &["--window-files", "16"], dir);
    // One second each.
    let folder = write_files(&farm, 40, letters(50));
    let sent = farm.send(&["-r", &folder, "--wait", "accepted"]);
    assert!(sent.status.success(), "{sent:?}");
    wait_until("its window to be full", || {
        farm.server_status(0).in_flight == 16
    });
    let delivered = farm.server_status(0).delivered;
    assert!(delivered <= old.saved() as u64);
    // More of its threads work at once than the link sends at once.
    farm.wait_for_delivered(40);
    assert_eq!(old.saved(), 40);
    let returned = farm.server_status(0).returned;
    assert_eq!(returned, 0, "each was sent once: {}", farm.log());
}

/// Probes of a server that is stopped fail, and its connections stand: it may yet save its files,
/// and does when it goes on.
#[test]
fn files_of_an_old_style_server_that_stands_still_are_saved_once_it_goes_on() {
    if !are_there(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = FirstSystem::start(dir.path().join("first"), "0.02");
    let flags = ["--probe-interval", "200ms", "--probe-timeout", "300ms"];
    let farm = farm(&[(&old, 3)], 1, &flags, dir);
    let folder = write_files(&farm, 4, letters(20));
    let sent = farm.send(&["-r", &folder, "--wait", "accepted"]);
    assert!(sent.status.success(), "{sent:?}");
    old.process.signal("STOP");
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    assert_eq!(farm.server_status(0).in_flight, 3);
    old.process.signal("CONT");
    farm.wait_for_delivered(4);
    assert_eq!((old.saved(), farm.stored(0).len()), (3, 1));
}

/// A server that never closes keeps no file for ever.
#[test]
fn a_file_that_an_old_style_server_does_not_save_in_time_goes_elsewhere() {
    if !are_there(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = FirstSystem::start(dir.path().join("first"), "1000");
    let farm = farm(&[(&old, 1)], 1, &["--old-style-timeout", "2s"], dir);
    let folder = write_files(&farm, 2, letters(1));
    let sent = farm.send(&["-r", &folder]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!((old.saved(), farm.stored(0).len()), (0, 2));
    assert!(
        farm.log()
            .contains("did not close the file's connection within 2s")
    );
    wait_for_server(&farm, 0, "paused", |server| {
        format!("{:?}", server.state) == "Paused"
    });
}
