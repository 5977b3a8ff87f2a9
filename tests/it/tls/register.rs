//! Servers that register over TLS, and in a cluster.

use bilico_testkit::{start_balancer, start_server, status, wait_until};

use super::place::{IN_CLUSTER, Place, REQUIRED};

fn is_up(balancer: &str, server: &str) -> bool {
    let servers = status(balancer).servers;
    servers
        .iter()
        .any(|seen| seen.name.ends_with(server) && seen.eligible)
}

/// Who has the certificate of a server of the cluster gets files, under the name in it if it says
/// one; who has none may register, and gets none.
#[test]
fn a_certificate_lets_servers_of_the_cluster_in() {
    let place = Place::new();
    let flags = [&IN_CLUSTER[..], &["--join", "certificate"]].concat();
    let balancer = start_balancer(place.path(), &[], &flags);
    let register = ["--register", &balancer.address];
    let good = place.server(1, "s1", &register);
    wait_until("it to get files", || {
        is_up(&balancer.address, &good.address)
    });
    let plain = start_server(place.path(), 2, &register);
    place.wait_for_log_of(&plain, &["registered as"]);
    place.wait_for_log_of(&plain, &["gets no files"]);
    assert!(!is_up(&balancer.address, &plain.address));
}

#[test]
fn a_server_registers_over_tls() {
    let place = Place::new();
    let secret = place.write("secret", "correct horse\n");
    bilico_testkit::run(
        std::process::Command::new("chmod").arg("600").arg(&secret),
        "",
    );
    let flags = [
        &REQUIRED[..],
        &["--join", "secret", "--join-secret-file", "secret"],
    ]
    .concat();
    let balancer = start_balancer(place.path(), &[], &flags);
    let register = [
        "--register",
        &balancer.address,
        "--register-secret-file",
        "secret",
    ];
    let in_plain_text = start_server(place.path(), 1, &register);
    place.wait_for_log_of(&in_plain_text, &["not registered", "TLS"]);
    let secure = [&register[..], &["--ca", "tls/ca.pem"]].concat();
    let server = start_server(place.path(), 2, &secure);
    place.wait_for_log_of(&server, &["gets files"]);
}
