//! `bilico certs` as people use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::place::{Place, REQUIRED};

#[test]
fn certificates_are_made_shown_and_renewed() {
    let place = Place::new();
    let shown = place.certs(&["show", "tls/balancer-b1.pem"]);
    for part in [
        "identity      bilico://main/balancer/b1",
        "role          balancer",
        "hosts         localhost, 127.0.0.1, ::1",
        "days left     90",
        "SHA-256       ",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let made = place.certs(&["issue", "server", "s1", "--san", "store.example,192.0.2.7"]);
    assert!(made.contains("bilico://main/server/s1"), "{made}");
    let shown = place.certs(&["show", "tls/server-s1.pem"]);
    assert!(shown.contains("store.example, 192.0.2.7"), "{shown}");
    place.certs(&["renew", "--all", "--days", "30"]);
    let shown = place.certs(&["show", "tls/server-s1.pem"]);
    assert!(shown.contains("days left     30") && shown.contains("store.example"));
    let authority = place.certs(&["show", "tls/ca.pem"]);
    assert!(authority.contains("role          authority"), "{authority}");
}

#[test]
fn nothing_is_overwritten_and_mistakes_are_named() {
    let place = Place::new();
    let failed = |args: &[&str], part: &str| {
        let ended = place.run(&[&["certs"], args].concat());
        assert_eq!(ended.code.map(|code| code != 0), Some(true), "{ended:?}");
        assert!(ended.stderr.contains(part), "{ended:?}");
    };
    failed(&["init"], "is there already, and is not overwritten");
    failed(&["issue", "balancer", "b1"], "bilico certs renew");
    failed(&["issue", "server", "../x"], "invalid name");
    failed(
        &["issue", "admin", "x"],
        "expected balancer, server or client",
    );
    failed(
        &["issue", "server", "x", "--dir", "none"],
        "bilico certs init",
    );
    failed(&["renew", "nobody"], "no certificate of \"nobody\"");
    failed(&["show", "tls/ca.key"], "no certificate in tls/ca.key");
}

#[test]
fn a_role_does_not_start_with_what_cannot_be_used() {
    let place = Place::new();
    let key = place.path().join("tls/balancer-b1.key");
    let start = || {
        let args = [
            "balancer",
            "--server",
            "127.0.0.1:1",
            "--listen",
            "127.0.0.1:0",
        ];
        place.run(&[&args[..], &REQUIRED].concat())
    };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = start();
    assert!(
        ended.stderr.contains("chmod 600 tls/balancer-b1.key"),
        "{ended:?}"
    );
    fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink(place.path().join("tls/ca.key"), &key).unwrap();
    assert!(start().stderr.contains("not a regular file"));
    let without = place.run(&["balancer", "--server", "127.0.0.1:1", "--tls", "required"]);
    assert!(without.stderr.contains("tls-cert"), "{without:?}");
    assert_eq!(without.code, Some(2));
    let half = place.run(&["server", "--cluster-ca", "tls/ca.pem"]);
    assert!(half.stderr.contains("cluster-cert"), "{half:?}");
    let role = [
        "server",
        "--cluster-ca",
        "tls/ca.pem",
        "--cluster-cert",
        "tls/balancer-b1.pem",
        "--cluster-key",
        "tls/balancer-b1.key",
    ];
    fs::remove_file(&key).unwrap();
    fs::remove_file(place.path().join("tls/balancer-b1.pem")).unwrap();
    place.certs(&["issue", "balancer", "b1"]);
    let ended = place.run(&role);
    assert!(
        ended.stderr.contains("one of the role server was expected"),
        "{ended:?}"
    );
}
