//! Whoever takes the address of a server that is down gets no byte of a file.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bilico_testkit::{Role, status, wait_until};

use super::place::Place;

const CONTENT: &str = "what nobody but the right server may see";

/// Why the balancer's only server gets nothing.
fn reason(balancer: &Role) -> String {
    let server = status(&balancer.address).servers.remove(0);
    server.reason.unwrap_or_default()
}

/// A server that was there and is down, and a balancer that holds a file for it.
fn waiting(place: &Place) -> (Role, Role, String) {
    let mut server = place.server(1, "s1", &[]);
    let balancer = place.balancer(&[format!("s1@{}", server.address)], &[]);
    wait_until("the server to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    server.kill();
    wait_until("the server to be down", || {
        !status(&balancer.address).servers[0].eligible
    });
    place.write("a.txt", CONTENT);
    let args = [
        "send",
        "a.txt",
        "--wait",
        "accepted",
        "--balancer",
        &balancer.address,
    ];
    assert_eq!(place.run(&args).code, Some(0));
    let address = server.address.clone();
    (balancer, server, address)
}

#[test]
fn a_plain_listener_sees_the_beginning_of_a_handshake_and_nothing_else() {
    let place = Place::new();
    let (balancer, mut server, address) = waiting(&place);
    let seen = Arc::new(Mutex::new(Vec::new()));
    {
        let listener = TcpListener::bind(&address).unwrap();
        let seen = seen.clone();
        let read = move |mut stream: TcpStream| {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap_or(0);
            seen.lock().unwrap().push(bytes[..read].to_vec());
            // The byte by which an old-style server says that it can take files.
            let _ = std::io::Write::write_all(&mut stream, b"\0");
        };
        let (stream, _) = listener.accept().unwrap();
        read(stream);
        let (stream, _) = listener.accept().unwrap();
        read(stream);
    }
    for bytes in seen.lock().unwrap().iter() {
        assert_eq!(bytes.first(), Some(&0x16), "only TLS");
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("what nobody"), "{text}");
    }
    assert!(!status(&balancer.address).servers[0].eligible);
    server.restart();
    wait_until("the file to be delivered", || place.stored(1).len() == 1);
    assert_eq!(place.stored(1), [CONTENT.as_bytes()]);
}

#[test]
fn servers_with_other_certificates_or_none_get_nothing() {
    let place = Place::new();
    let other = Place::new();
    other.certs(&["issue", "server", "s1"]);
    place.certs(&["issue", "server", "s2"]);
    for file in ["server-s1.pem", "server-s1.key"] {
        let to = place.path().join("tls").join(file.replace("s1", "foreign"));
        std::fs::copy(other.path().join("tls").join(file), to).unwrap();
    }
    let (balancer, mut server, address) = waiting(&place);
    let at = ["--listen", &*address];
    for (n, stem, why) in [
        (2, "server-s2", "that of bilico://main/server/s2"),
        (3, "server-foreign", "not signed by the authority"),
    ] {
        let (cert, key) = (format!("tls/{stem}.pem"), format!("tls/{stem}.key"));
        let json_files = format!("json_files_{n}");
        let args = [
            "server",
            at[0],
            at[1],
            "--dir",
            &json_files,
            "--cluster-ca",
            "tls/ca.pem",
            "--cluster-cert",
            &cert,
            "--cluster-key",
            &key,
        ];
        let _impostor = Role::start(place.path(), &args);
        wait_until("the reason", || reason(&balancer).contains(why));
        place.wait_for_log(&["WARN", "has not proved to be this server", why]);
        assert!(place.stored(n).is_empty());
    }
    {
        let args = ["server", at[0], at[1], "--dir", "json_files_4"];
        let plain = Role::start(place.path(), &args);
        wait_until("the reason", || {
            reason(&balancer).contains("is TLS off there?")
        });
        place.wait_for_log_of(&plain, &["TLS came, and tls is off"]);
        assert!(place.stored(4).is_empty());
    }
    server.restart();
    wait_until("the file to be delivered", || place.stored(1).len() == 1);
}
