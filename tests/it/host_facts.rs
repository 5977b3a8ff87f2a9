//! What servers tell of their hosts, and what balancers make of it.

use std::fs;

use bilico::admin::AdminLimits;
use bilico::balancer::BalancerConfig;
use bilico::fleet_core::Trust;
use bilico_testkit::{JOURNAL, Role, Served, pretend, server_hello, status, wait_for, wait_until};
use serde_json::{Value, json};

use crate::in_process::{InProcess, settings_with};

/// What a server tells, once it has measured everything.
fn facts(server: &Served) -> Value {
    wait_for("all figures", || {
        let facts = server.hello()["facts"].clone();
        let is_whole = facts["cpu"].is_number() && facts["held_files"].is_number();
        is_whole.then_some(facts)
    })
}

#[test]
fn a_greeting_has_the_figures_of_the_host_and_of_the_server() {
    let mut server = Served::start();
    let first = facts(&server);
    assert_eq!(
        (&first["held_files"], &first["held_bytes"]),
        (&json!(0), &json!(0))
    );
    for figure in [
        "cores",
        "memory_used",
        "memory_total",
        "swap_used",
        "disk_used",
        "disk_total",
        "disk_free",
        "net_rx",
        "net_tx",
        "net_dropped",
        "network_up",
        "uptime_s",
        "load",
    ] {
        assert!(!first[figure].is_null(), "{figure} in {first}");
    }
    let hello = server.hello();
    assert_eq!(hello["facts"]["process_limit"], hello["memory_limit"]);
    let space = rustix::fs::statvfs(server.dir.path()).unwrap();
    let total = space.f_blocks * space.f_frsize;
    assert_eq!(first["disk_total"], json!(total));
    assert!(first["load"].as_f64().unwrap() >= first["cpu"].as_f64().unwrap());

    let (mut balancer, _) = server.reconnect(JOURNAL);
    for (number, size) in [(1, 10), (2, 100), (3, 5)] {
        balancer.store(number, &vec![b'x'; size]);
        balancer.expect("stored", number);
    }
    balancer.drop_file(3);
    balancer.expect("dropped", 3);
    let held = |server: &Served, files: u64, bytes: u64| {
        wait_until("what it holds", || {
            let facts = server.hello()["facts"].clone();
            (&facts["held_files"], &facts["held_bytes"]) == (&json!(files), &json!(bytes))
        });
    };
    held(&server, 2, 110);
    drop(balancer);
    server.crash();
    held(&server, 2, 110);
}

#[test]
fn a_balancer_tells_its_fleet_what_probes_hear() {
    let server = Served::start();
    let config = BalancerConfig {
        settings: settings_with(std::slice::from_ref(&server.role)),
        ..BalancerConfig::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let balancer = InProcess::start(dir.path(), config, AdminLimits::default());
    let member = wait_for("a member with figures", || {
        let members = balancer.fleet.members();
        members
            .into_iter()
            .find(|member| member.facts.cpu.is_some())
    });
    assert_eq!(member.trust, Trust::Measured);
    assert!(member.facts.disk_total > Some(0), "{member:?}");
    let identity = server.hello()["identity"].as_str().unwrap().to_owned();
    assert_eq!(member.id, format!("directory:{identity}"));
}

/// A cpu of 2 made the greeting no greeting, and a server whose clock was wrong got no files.
#[test]
fn figures_that_cannot_be_are_left_out_and_said_once() {
    let mut hello = server_hello();
    hello["facts"] = json!({"cpu": 2, "memory_used": 5});
    let server = pretend(&hello, bilico_testkit::Wire::swallow);
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--server", &server, "--probe-interval", "100ms"];
    let args = [&["balancer", "--listen", "127.0.0.1:0"][..], &flags].concat();
    let balancer = Role::start(dir.path(), &args);
    wait_until("the server to be found", || {
        status(&balancer.address).servers[0].dialect.is_some()
    });
    let log = || fs::read_to_string(dir.path().join("logs/balancer.log")).unwrap();
    let lines = || {
        log()
            .lines()
            .filter(|line| line.contains("`cpu` must be a part of 1"))
            .count()
    };
    wait_until("the log to say it", || lines() > 0);
    // Ten more probes say nothing.
    let probed = status(&balancer.address).servers[0].probe_ms;
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(probed.is_some());
    assert_eq!(lines(), 1, "{}", log());
    assert!(status(&balancer.address).servers[0].dialect.is_some());
}
