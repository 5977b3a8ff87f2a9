//! One server with two addresses, and two servers with one directory.

use std::fs;
use std::process::Command;

use bilico_testkit::wait_until;

use super::helpers::Place;

#[test]
fn a_server_that_moved_is_the_same_server() {
    let place = Place::start(&["--join", "loopback"]);
    let mut server = place.server(1, &[]);
    wait_until("it to get files", || place.is_up(&server.address));
    let before = server.address.clone();
    server.kill();
    let server = place.server(1, &[]);
    assert_ne!(server.address, before);
    wait_until("it to get files at its new address", || {
        place.is_up(&server.address)
    });
    wait_until("its old address to be forgotten", || {
        place.seen(&before).is_none()
    });
    assert_eq!(place.status().servers.len(), 1);
}

#[test]
fn of_two_servers_with_one_directory_one_gets_files() {
    let place = Place::start(&["--join", "loopback"]);
    let first = place.server(1, &[]);
    wait_until("it to get files", || place.is_up(&first.address));
    let copied = Command::new("cp")
        .args(["-r", place.files(1).to_str().unwrap()])
        .arg(place.files(2))
        .status();
    assert!(copied.unwrap().success());
    assert!(fs::read_dir(place.files(2)).unwrap().count() > 0);
    let second = place.server(2, &[]);
    place.wait_for_line_of(&second, &["gets no files"]);
    assert!(!place.is_up(&second.address));
    assert!(place.is_up(&first.address), "{:?}", place.status());
}
