//! Servers come, get their share, and go in order.

use std::fs;
use std::time::{Duration, Instant};

use bilico_testkit::{
    DEMO_ON_FREE_PORTS, Farm, Role, Running, bilico, run, status, stored, wait_until,
};

use super::helpers::Place;

/// From a free port, without anything said about it at the balancer.
#[test]
fn a_server_registers_gets_files_and_leaves_in_order() {
    let place = Place::start(&["--join", "loopback"]);
    let began = Instant::now();
    let mut server = place.server(1, &["--weight", "3", "--name", "store one"]);
    wait_until("the server to get files", || place.is_up(&server.address));
    assert!(began.elapsed() < Duration::from_secs(10));
    let seen = place.seen(&server.address).unwrap();
    assert_eq!(seen.weight, 3);
    place.wait_for_line_of(&server, &["registered as store one", &server.address]);
    place.wait_for_line_of(&server, &["gets files"]);
    for n in 0..20 {
        fs::write(place.dir.path().join(format!("f{n}")), format!("{n}")).unwrap();
    }
    let names: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    let mut files = bilico(&["send", "--balancer", &place.balancer.address]);
    let sent = run(files.args(&names).current_dir(place.dir.path()), "");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    // Server names in the log show that it was asked to leave, and was let go.
    assert_eq!(server.stop(), Some(0));
    let log = place.log_of(&server);
    assert!(log.contains("has left"), "{log}");
    wait_until("the balancer to forget it", || {
        place.seen(&server.address).is_none()
    });
    // It comes back at its old address, and is the same.
    server.restart();
    wait_until("the server to be back", || place.is_up(&server.address));
}

/// A share by its weight, beside servers that are named.
#[test]
fn a_fourth_server_gets_its_share() {
    let farm = Farm::with(&[1, 1, 1], &[], &["--join", "loopback"]);
    let dir = farm.dir.path().join("fourth");
    let server = Role::start(
        farm.dir.path(),
        &[
            "server",
            "--listen",
            "127.0.0.1:0",
            "--dir",
            dir.to_str().unwrap(),
            "--register",
            &farm.balancer.address,
            "--weight",
            "3",
        ],
    );
    wait_until("it to get files", || {
        let servers = farm.status().servers;
        servers.len() == 4 && servers[3].eligible
    });
    for n in 0..120 {
        farm.write(format!("f{n}"), format!("{n}"));
    }
    let names: Vec<String> = (0..120).map(|n| format!("f{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(farm.send(&names).status.success());
    farm.wait_for_delivered(120);
    let its = stored(&dir).len();
    assert!(
        (50..=70).contains(&its),
        "{its} of 120 with half of all weight"
    );
    drop(server);
}

/// Both sides may be started again, in any order.
#[test]
fn a_registration_outlives_either_side() {
    let mut place = Place::start(&["--join", "loopback"]);
    let mut server = place.server(1, &[]);
    wait_until("the server to get files", || place.is_up(&server.address));
    place.balancer.kill();
    place.balancer.restart();
    // It is known before it says anything: the fleet is kept.
    assert!(place.seen(&server.address).is_some());
    wait_until("the server to get files again", || {
        place.is_up(&server.address)
    });
    let log = || place.log_of(&server);
    wait_until("it to register again", || {
        log().matches("registered as").count() == 2
    });
    server.kill();
    wait_until("it to be away", || !place.is_up(&server.address));
    server.restart();
    wait_until("it to be back", || place.is_up(&server.address));
}

/// A reload of the configuration is no business of servers that have registered, and a standing
/// order about one stays.
#[test]
fn a_reload_leaves_registered_servers_and_orders_about_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bilico.toml");
    fs::write(&config, "[balancer]\njoin = \"loopback\"\n").unwrap();
    let config = config.to_str().unwrap().to_owned();
    let mut place = Place::with(dir, &["--config", &config]);
    let mut server = place.server(1, &["--weight", "2"]);
    wait_until("the server to get files", || place.is_up(&server.address));
    let admin = place.balancer.admin.clone().unwrap();
    let order = |args: &[&str]| {
        let mut command = bilico(&[]);
        let ended = run(command.args(args).args(["--admin", &admin]), "");
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
    };
    order(&["weight", &server.address, "7"]);
    order(&["drain", &server.address]);
    fs::write(&config, "[balancer]\njoin = \"loopback\"\nfall = 3\n").unwrap();
    place.balancer.signal("HUP");
    wait_until("the reload", || {
        place.log().contains("configuration reloaded")
    });
    let address = server.address.clone();
    let is_as_ordered = |place: &Place| {
        let seen = place.seen(&address);
        seen.is_some_and(|seen| seen.weight == 7 && seen.drained && !seen.removing)
    };
    assert!(is_as_ordered(&place), "{:?}", place.status());
    place.balancer.kill();
    place.balancer.restart();
    assert!(is_as_ordered(&place), "{:?}", place.status());
    let log = || place.log_of(&server);
    wait_until("it to register again", || {
        log().matches("registered as").count() == 2
    });
    // It goes in order and comes back: an operator has drained it, and nobody has ended that.
    assert_eq!(server.stop(), Some(0));
    wait_until("it to be forgotten", || {
        place.seen(&server.address).is_none()
    });
    server.restart();
    wait_until("it to register", || place.seen(&address).is_some());
    let seen = place.seen(&address).unwrap();
    assert!(seen.drained && seen.weight == 7, "{seen:?}");
    order(&["undrain", &address]);
    wait_until("the server to get files", || place.is_up(&address));
}

/// A fourth server beside those of a demo.
#[test]
fn a_server_joins_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = bilico(&DEMO_ON_FREE_PORTS);
    demo.args(["--log-dir", "none"]).current_dir(dir.path());
    let demo = Running::start(&mut demo);
    let banner = demo.wait_for_output("To start over");
    let server = Role::start(
        dir.path(),
        &[
            "server",
            "--listen",
            "127.0.0.1:0",
            "--dir",
            "fourth",
            "--register",
            &balancer_in(&banner),
        ],
    );
    let balancer = balancer_in(&banner);
    wait_until("it to get files", || {
        let servers = status(&balancer).servers;
        servers
            .iter()
            .any(|seen| seen.name == server.address && seen.eligible)
    });
    drop(server);
    demo.end();
}

/// The balancer's address in what a demo says.
fn balancer_in(banner: &str) -> String {
    let line = banner.lines().find(|line| line.starts_with("balancer "));
    let address = line.and_then(|line| line.split_whitespace().nth(1));
    address.unwrap().to_owned()
}
