//! How long a peer of the admin listener can make it wait, and how often it tells its state: with
//! short limits, in this process.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use bilico::admin::AdminLimits;
use bilico::balancer::BalancerConfig;
use bilico_testkit::{Wire, http_at, wait_until};

use crate::in_process::InProcess;

/// A peer that sends requests and reads no answer is cut off; it would hold its answers for ever.
#[test]
fn a_peer_that_reads_nothing_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let limits = AdminLimits {
        write_stall: Duration::from_millis(300),
        ..AdminLimits::default()
    };
    let balancer = InProcess::start(dir.path(), BalancerConfig::default(), limits);
    let admin = &balancer.admin;
    let mut wire = Wire::connect(admin);
    let request = format!("GET /api/v1/openapi.json HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    // More answers than the kernels hold between us.
    let written = wire.0.write_all(request.repeat(1000).as_bytes());
    wait_until("the connection to be cut off", || {
        written.is_err() || wire.0.write_all(request.as_bytes()).is_err()
    });
    assert_eq!(http_at(admin, "GET", "/live", None).status, 200);
}

#[test]
fn a_state_comes_at_each_tick() {
    let dir = tempfile::tempdir().unwrap();
    let limits = AdminLimits {
        tick: Duration::from_millis(20),
        ..AdminLimits::default()
    };
    let balancer = InProcess::start(dir.path(), BalancerConfig::default(), limits);
    let began = Instant::now();
    let mut wire = Wire::connect(&balancer.admin);
    wire.write(
        format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n",
            balancer.admin
        )
        .as_bytes(),
    );
    let states = BufReader::new(&wire.0)
        .lines()
        .map(Result::unwrap)
        .filter(|line| line == "event: state");
    assert_eq!(states.take(20).count(), 20);
    assert!(
        began.elapsed() >= 15 * limits.tick,
        "no faster than it ticks"
    );
}
