//! Names of servers, and the addresses behind them.

use serde_json::json;

use bilico_testkit::{Client, Farm, start_balancer, start_server, wait_for_line, wait_until};

/// Each of the two links ended the other: the server went up and down several times a second, for
/// ever.
#[test]
fn one_server_under_two_names_keeps_one_link() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let port = server.address.rsplit_once(':').unwrap().1;
    let specs = [server.address.clone(), format!("localhost:{port}")];
    let balancer = start_balancer(dir.path(), &specs, &["--probe-interval", "200ms"]);
    let farm = Farm {
        servers: vec![server],
        balancer,
        dir,
    };
    wait_for_line(
        || farm.log(),
        &[
            "WARN",
            "server ineligible",
            "identity",
            "under another name",
        ],
    );
    let mut client = Client::connect(&farm.balancer.address);
    for id in 0..50 {
        client.put(id, None, b"x");
        client.expect("delivered", id);
    }
    wait_until("probes enough to flip it", || farm.status().uptime_s > 3.0);
    let status = farm.status();
    let working: Vec<_> = status
        .servers
        .iter()
        .filter(|server| server.eligible)
        .collect();
    assert_eq!(working.len(), 1, "{status:?}");
    assert_eq!((working[0].delivered, working[0].returned), (50, 0));
    let other = status
        .servers
        .iter()
        .find(|server| !server.eligible)
        .unwrap();
    assert_eq!(json!(other.state), "paused");
    assert!(
        other.reason.as_deref().unwrap().contains(&working[0].name),
        "{other:?}"
    );
    let flips = farm
        .log()
        .lines()
        .filter(|line| line.contains("server ineligible"))
        .count();
    assert_eq!(flips, 1, "{}", farm.log());
    assert_eq!(farm.stored(0).len(), 50);
}

/// A name that does not exist is reported, and does not hold up other servers.
#[test]
fn a_name_that_was_never_resolved_is_down_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let specs = [
        server.address.clone(),
        "no-such-server.invalid:5001".to_owned(),
    ];
    let balancer = start_balancer(dir.path(), &specs, &[]);
    let farm = Farm {
        servers: vec![server],
        balancer,
        dir,
    };
    wait_until("the server to be up, and the other down", || {
        let servers = farm.status().servers;
        servers[0].eligible
            && servers[1]
                .reason
                .as_deref()
                .is_some_and(|reason| reason.starts_with("connection: "))
    });
    let mut client = Client::connect(&farm.balancer.address);
    client.put(1, None, b"x");
    client.expect("delivered", 1);
}
