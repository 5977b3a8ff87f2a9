//! Old-style servers that are overloaded, die, return, or are replaced by native ones.

use std::time::{Duration, Instant};

use bilico::protocol::status::Dialect;
use bilico_testkit::{OldServer, stored, wait_for_line, wait_until};

use super::farms::{farm_over, farm_with, native_at, small, wait_for_server, write_files};

#[test]
fn the_overload_byte_of_a_server_stops_files_until_it_changes() {
    let (busy, other) = (OldServer::start(), OldServer::start());
    let farm = farm_over(&[(&busy, 1), (&other, 1)], &[]);
    busy.set_overloaded(true);
    let set = Instant::now();
    wait_for_server(&farm, 0, "overloaded", |server| {
        server.overloaded && !server.eligible
    });
    assert!(
        set.elapsed() < Duration::from_secs(5),
        "about two seconds, not {:?}",
        set.elapsed()
    );
    let folder = write_files(&farm, 20, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || other.files().len() == 20);
    assert_eq!(busy.files().len(), 0, "it gets none while its byte is 1");

    // With all of them overloaded, files wait.
    other.set_overloaded(true);
    wait_for_server(&farm, 1, "overloaded", |server| {
        server.overloaded && !server.eligible
    });
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    busy.wait_for_statuses(2);
    other.wait_for_statuses(2);
    assert_eq!(
        (
            busy.files().len(),
            other.files().len(),
            farm.status().queue.files()
        ),
        (0, 20, 20)
    );

    busy.set_overloaded(false);
    let cleared = Instant::now();
    wait_until("the files to come again", || busy.files().len() == 20);
    assert!(
        cleared.elapsed() < Duration::from_secs(5),
        "about two seconds, not {:?}",
        cleared.elapsed()
    );
    assert_eq!(other.files().len(), 20);
    busy.check();
    other.check();
}

#[test]
fn a_server_that_dies_is_used_again_when_it_returns() {
    let (mut mortal, other) = (OldServer::start(), OldServer::start());
    let farm = farm_over(&[(&mortal, 1), (&other, 1)], &[]);
    let folder = write_files(&farm, 10, small);
    mortal.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    assert!(farm.server_status(0).reason.is_some());
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || other.files().len() == 10);
    mortal.listen();
    wait_for_server(&farm, 0, "up", |server| server.eligible);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || {
        mortal.files().len() + other.files().len() == 20
    });
    assert!(!mortal.files().is_empty(), "it is used again");
    wait_for_line(|| farm.log(), &["server ineligible", &mortal.address]);
    wait_for_line(|| farm.log(), &["server recovered", &mortal.address]);
}

/// Files that go to a dead server before its death is noticed are not lost: a refused connection
/// does not count as a delivery.
#[test]
fn files_for_a_server_that_has_just_died_go_to_the_other() {
    let (mut mortal, other) = (OldServer::start(), OldServer::start());
    let farm = farm_over(&[(&mortal, 1), (&other, 1)], &[]);
    let folder = write_files(&farm, 20, small);
    mortal.kill();
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || other.files().len() == 20);
}

#[test]
fn a_server_that_is_replaced_by_another_kind_is_recognised_again() {
    let mut old = OldServer::start();
    let farm = farm_with(&[(&old, 1)], &[], &["--probe-interval", "200ms"]);
    old.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    let mut native = native_at(&farm, &old.address);
    wait_for_server(&farm, 0, "native", |server| {
        server.eligible && server.dialect == Some(Dialect::Native)
    });
    let folder = write_files(&farm, 4, |_| vec![0xff; 5000]);
    assert!(farm.send(&["-r", &folder]).status.success());
    assert_eq!(stored(&farm.dir.path().join("json_files_9")).len(), 4);

    native.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    let back = OldServer::at(&old.address);
    wait_for_server(&farm, 0, "old-style", |server| {
        server.eligible && server.dialect == Some(Dialect::OldStyle)
    });
    let folder = write_files(&farm, 4, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || back.files().len() == 4);
    back.check();
}

/// The server is replaced between two probes, so that no probe fails. It must be recognised again.
#[test]
fn a_server_that_is_replaced_between_two_probes_is_recognised_again() {
    let mut old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[]);
    old.wait_for_statuses(1);
    old.kill();
    let mut native = native_at(&farm, &old.address);
    let folder = write_files(&farm, 4, |_| vec![0xff; 5000]);
    let output = farm.send(&["-r", &folder, "--timeout", "20s"]);
    assert!(
        output.status.success(),
        "a native server is there and gets nothing: {output:?}"
    );
    assert_eq!(farm.server_status(0).dialect, Some(Dialect::Native));

    native.kill();
    let back = OldServer::at(&old.address);
    let folder = write_files(&farm, 4, small);
    let output = farm.send(&["-r", &folder, "--timeout", "20s"]);
    assert!(output.status.success(), "{output:?}");
    wait_until("all files to be there", || back.files().len() == 4);
    assert_eq!(farm.server_status(0).dialect, Some(Dialect::OldStyle));
    back.check();
}
