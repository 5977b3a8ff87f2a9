//! Peers that begin a handshake and go no further.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::place::{IN_CLUSTER, Place, REQUIRED};
use bilico_testkit::wait_until;

/// The head of a record that announces a `ClientHello` of 512 bytes, and half of it.
fn half_a_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    hello.resize(256, 7);
    hello
}

/// At the balancer's ports and at a server's: those who stall hold nobody up, and go within seconds.
#[test]
fn hundreds_that_stall_in_the_handshake_hold_nobody_up_and_are_closed() {
    let place = Place::new();
    let server = place.server(1, "s1", &[]);
    let name = [format!("s1@{}", server.address)];
    let flags = [&IN_CLUSTER[..], &REQUIRED].concat();
    let balancer = bilico_testkit::start_balancer(place.path(), &name, &flags);
    let admin = balancer.admin.as_deref().unwrap();
    place.write("a.txt", "content");
    let before = balancer.resident();
    let mut stalled = Vec::new();
    for address in [&*balancer.address, admin, &*server.address] {
        for n in 0..200 {
            let mut stream = TcpStream::connect(address).unwrap();
            let hello = half_a_hello();
            let cut = if n % 2 == 0 { hello.len() } else { 1 };
            stream.write_all(&hello[..cut]).unwrap();
            stalled.push(stream);
        }
    }
    let (began, ca) = (Instant::now(), ["--ca", "tls/ca.pem"]);
    let command = ["send", "a.txt", "--balancer", &*balancer.address];
    let sent = place.run(&[&command[..], &ca].concat());
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let asked = place.run(&[&["status", "--admin", admin][..], &ca].concat());
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let grown = balancer.resident().saturating_sub(before) >> 10;
    assert!(grown < 400 * 40, "{grown} KiB for 400 connections");
    for mut stream in stalled {
        stream
            .set_read_timeout(Some(Duration::from_secs(12)))
            .unwrap();
        // An alert may come first; then the end, or a reset.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "it is still open"
            );
        }
    }
    assert!(
        began.elapsed() < Duration::from_secs(14),
        "{:?}",
        began.elapsed()
    );
    place.wait_for_log(&["no TLS handshake in 5s"]);
    wait_until("the file to be stored", || place.stored(1).len() == 1);
}
