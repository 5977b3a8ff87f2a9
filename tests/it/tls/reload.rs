//! Certificates that are renewed while files pass.

use bilico_testkit::{start_balancer, wait_until};

use super::place::{IN_CLUSTER, Place, REQUIRED};

/// How many small files pass, beside a large one.
const FILES: u64 = 1500;

#[test]
fn certificates_renewed_under_load_lose_nothing_and_close_nothing() {
    let place = Place::new();
    let servers = [place.server(1, "s1", &[]), place.server(2, "s2", &[])];
    let names = [
        format!("s1@{}", servers[0].address),
        format!("s2@{}", servers[1].address),
    ];
    let flags = [&IN_CLUSTER[..], &REQUIRED].concat();
    let balancer = start_balancer(place.path(), &names, &flags);
    std::fs::create_dir(place.path().join("out")).unwrap();
    for file in 0..FILES {
        place.write(&format!("out/{file}"), bilico_testkit::noise(file, 20_000));
    }
    let large = bilico_testkit::noise(FILES, 60 << 20);
    place.write("out/large", &large);
    let args = ["send", "-r", "out", "--wait", "delivered", "--ca"];
    let at = ["tls/ca.pem", "--balancer", &*balancer.address];
    let sending = std::thread::scope(|scope| {
        let sending = scope.spawn(|| place.run(&[&args[..], &at].concat()));
        let mut renewed = 0;
        while !sending.is_finished() {
            place.certs(&["renew", "--all"]);
            for role in [&balancer, &servers[0], &servers[1]] {
                role.signal("HUP");
            }
            renewed += 1;
            wait_until("the certificates to be read again", || {
                let log = place.log();
                log.matches("configuration applied").count() >= renewed
            });
        }
        assert!(renewed > 2, "{renewed} times while files passed");
        sending.join().unwrap()
    });
    assert_eq!(sending.code, Some(0), "{sending:?}");
    let mut stored = [place.stored(1), place.stored(2)].concat();
    assert_eq!(stored.len() as u64, FILES + 1);
    stored.sort();
    stored.dedup();
    assert_eq!(stored.len() as u64, FILES + 1);
    assert!(stored.contains(&large));
    let log = place.log();
    for word in ["connection closed", "link lost", "server ineligible"] {
        assert!(!log.contains(word), "{log}");
    }
}
