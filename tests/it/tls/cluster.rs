//! Balancers and servers of a cluster: what works, and who is kept out.

use std::io::Read;
use std::time::Duration;

use bilico_testkit::{PREFACE, Wire, frame, http, start_balancer, status, wait_until};

use super::place::Place;

#[test]
fn files_reach_the_servers_of_the_cluster() {
    let place = Place::new();
    let servers = [place.server(1, "s1", &[]), place.server(2, "s2", &[])];
    let names = [
        format!("s1@{}=1", servers[0].address),
        format!("{}=1", servers[1].address),
    ];
    let balancer = place.balancer(&names, &[]);
    wait_until("both servers to be up", || {
        let servers = status(&balancer.address).servers;
        servers.iter().all(|server| server.eligible)
    });
    for file in 0..20 {
        place.write(&format!("{file}.txt"), bilico_testkit::noise(file, 300_000));
    }
    let files: Vec<String> = (0..20).map(|file| format!("{file}.txt")).collect();
    let mut args = vec!["send", "--balancer", &balancer.address];
    args.extend(files.iter().map(String::as_str));
    let sent = place.run(&args);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(place.stored(1).len() + place.stored(2).len(), 20);
    assert!(place.stored(1).len() > 5 && place.stored(2).len() > 5);
    let shown = place.certs(&["show", &servers[0].address, "--ca", "tls/ca.pem"]);
    for part in [
        "TLS13_AES_256_GCM_SHA384",
        "X25519MLKEM768",
        "trusted       yes",
        "it wants a certificate of its cluster",
        "bilico://main/server/s1",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_server_of_a_cluster_is_deaf_to_all_but_its_balancers() {
    let place = Place::new();
    let server = place.server(1, "s1", &["--balancer", "b1,b2"]);
    let mut wire = Wire::connect(&server.address);
    wire.write(&PREFACE);
    wire.write(&frame(r#"{"request_type":"hello","role":"balancer"}"#, b""));
    let (bye, _) = wire.greeting();
    assert!(
        bye.contains(r#""code":"forbidden""#) && bye.contains("TLS"),
        "{bye}"
    );
    assert!(!bye.contains("identity"), "{bye}");
    place.wait_for_log_of(&server, &["plain text is refused", "peer="]);
    for request in [
        r#"{"tipo_richiesta":"discovery"}"#,
        r#"{"titolo":"a","contenuto":"b"}"#,
    ] {
        let mut wire = Wire::connect(&server.address);
        wire.write(request.as_bytes());
        let mut answer = Vec::new();
        let _ = wire.0.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{request}");
    }
    let plain = start_balancer(
        place.path(),
        std::slice::from_ref(&server.address),
        &["--journal", "plain"],
    );
    wait_until("the refusal", || {
        let reason = status(&plain.address).servers.remove(0).reason;
        reason.is_some_and(|reason| reason.contains("closed the connection without an answer"))
    });
    assert!(place.stored(1).is_empty());
}

/// Each line of the matrix: a certificate that does not open a server's port.
#[test]
fn the_certificates_of_others_open_nothing() {
    let place = Place::new();
    let other = Place::new();
    let server = place.server(1, "s1", &["--balancer", "b1"]);
    place.certs(&["issue", "balancer", "b2"]);
    place.certs(&["issue", "client", "c1"]);
    let foreign = |file: &str| other.path().join(file).display().to_string();
    let (cert, key) = (
        foreign("tls/balancer-b1.pem"),
        foreign("tls/balancer-b1.key"),
    );
    let own = ["--cluster-ca", "tls/ca.pem", "--cluster-cert"];
    for (n, (cert, key, why)) in [
        (&*cert, &*key, "not signed by the authority"),
        (
            "tls/balancer-b2.pem",
            "tls/balancer-b2.key",
            "one of the balancers b1 was expected",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let journal = format!("journal-{n}");
        let flags = [
            &own[..],
            &[cert, "--cluster-key", key, "--journal", &journal],
        ]
        .concat();
        let balancer = start_balancer(place.path(), std::slice::from_ref(&server.address), &flags);
        place.wait_for_log_of(&server, &[why, "peer="]);
        wait_until("the balancer to be told", || {
            let server = status(&balancer.address).servers.remove(0);
            !server.eligible && server.reason.is_some()
        });
    }
    assert!(place.stored(1).is_empty());
    for role in ["server-s1", "client-c1"] {
        let (cert, key) = (format!("tls/{role}.pem"), format!("tls/{role}.key"));
        let args = [
            "balancer",
            "--server",
            "127.0.0.1:1",
            "--cluster-ca",
            "tls/ca.pem",
            "--cluster-cert",
            &cert,
            "--cluster-key",
            &key,
        ];
        let ended = place.run(&args);
        assert!(
            ended
                .stderr
                .contains("one of the role balancer was expected"),
            "{ended:?}"
        );
    }
}

#[test]
fn renewed_certificates_of_a_server_are_taken_without_a_break() {
    let place = Place::new();
    let server = place.server(1, "s1", &[]);
    let balancer = place.balancer(&[format!("s1@{}", server.address)], &[]);
    place.write("a.txt", "content");
    let send = || {
        place
            .run(&["send", "a.txt", "--balancer", &balancer.address])
            .code
    };
    assert_eq!(send(), Some(0));
    place.certs(&["renew", "--all", "--days", "50"]);
    server.signal("HUP");
    balancer.signal("HUP");
    place.wait_for_log_of(&server, &["configuration applied", "server-s1.pem"]);
    place.wait_for_log(&["configuration applied", "balancer-b1.pem"]);
    assert_eq!(send(), Some(0));
    let shown = place.certs(&["show", &server.address, "--ca", "tls/ca.pem"]);
    assert!(shown.contains("days left     50"), "{shown}");
    assert_eq!(place.stored(1).len(), 2);
}

/// A probe a second of each of 10,000 servers would be 10,000 handshakes a second.
#[test]
fn probes_make_no_handshake_each() {
    let place = Place::new();
    let server = place.server(1, "s1", &["--admin", "127.0.0.1:0"]);
    let flags = ["--probe-interval", "50ms"];
    let balancer = place.balancer(std::slice::from_ref(&server.address), &flags);
    wait_until("the server to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    let handshakes = || {
        let metrics = http(&server, "GET", "/metrics", None);
        let count = metrics
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("bilico_tls_handshakes_total{result=\"done\"} "));
        count.unwrap().parse::<u32>().unwrap()
    };
    let before = handshakes();
    // Twenty probes.
    std::thread::sleep(Duration::from_secs(1));
    let made = handshakes() - before;
    assert!(made <= 2, "{made} handshakes");
    assert!(status(&balancer.address).servers[0].eligible);
}

/// Whoever steals a journal's identity from the balancer that has it could have its files removed,
/// also right after the server was started again.
#[test]
fn a_journal_stays_with_its_balancer_through_a_restart_of_the_server() {
    let place = Place::new();
    place.certs(&["issue", "balancer", "b2"]);
    let mut server = place.server(1, "s1", &[]);
    let servers = [server.address.clone()];
    let mut owner = place.balancer(&servers, &[]);
    wait_until("the server to be up", || {
        status(&owner.address).servers[0].eligible
    });
    owner.kill();
    server.kill();
    server.restart();
    let as_b2 = [
        "--cluster-ca",
        "tls/ca.pem",
        "--cluster-cert",
        "tls/balancer-b2.pem",
        "--cluster-key",
        "tls/balancer-b2.key",
    ];
    let mut thief = start_balancer(place.path(), &servers, &as_b2);
    let why = "this journal belongs to the balancer b1, and the certificate is that of b2";
    place.wait_for_log_of(&server, &[why, "--balancer"]);
    wait_until("the balancer to be told", || {
        let reason = status(&thief.address).servers.remove(0).reason;
        reason.is_some_and(|reason| reason.contains(why))
    });
    thief.kill();
    server.kill();
    // The balancer has a new name.
    let server = place.server(1, "s1", &["--balancer", "b2"]);
    let owner = start_balancer(place.path(), std::slice::from_ref(&server.address), &as_b2);
    wait_until("the server to be up", || {
        status(&owner.address).servers[0].eligible
    });
}
