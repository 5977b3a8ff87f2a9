//! Certificates as others read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::transport::tls::{
    Certificate, Credentials, Files, Identity, Role, read_authorities, read_chain,
};

fn authority(dir: &Path) -> Authority {
    Authority::create(Directory::new(dir), "main", 3650).unwrap()
}

fn order(role: Role, name: &str) -> Order {
    Order {
        identity: Identity {
            cluster: "main".to_owned(),
            role,
            name: name.to_owned(),
        },
        hosts: Order::local_hosts(),
        days: 90,
    }
}

fn read(path: &Path) -> Certificate {
    Certificate::read(&read_chain(path).unwrap()[0]).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn certificates_say_what_was_ordered_and_keys_are_secret() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("new");
    let authority = authority(&at);
    assert_eq!((mode(&at), mode(&at.join("ca.key"))), (0o700, 0o600));
    read_authorities(&at.join("ca.pem")).unwrap();
    for (role, purposes) in [
        (Role::Balancer, &["to be connected to", "to connect"][..]),
        (Role::Server, &["to be connected to"]),
        (Role::Client, &["to connect"]),
    ] {
        let issued = authority.issue(&order(role, "one")).unwrap();
        assert_eq!(mode(&issued.key), 0o600);
        let files = Files {
            cert: issued.cert,
            key: issued.key,
        };
        Credentials::read(&files).unwrap();
        let made = read(&files.cert);
        let identity = format!("bilico://main/{role}/one");
        assert_eq!(made.identity.unwrap().to_string(), identity);
        assert_eq!(made.purposes, purposes);
        assert_eq!(made.hosts, ["localhost", "127.0.0.1", "::1"]);
        assert!(!made.is_authority);
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let before = fs::read(dir.path().join("ca.key")).unwrap();
    let again = Authority::create(Directory::new(dir.path()), "main", 1);
    assert!(matches!(again.err().unwrap(), CertsError::There(_)));
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), before);

    let issued = authority.issue(&order(Role::Server, "s")).unwrap();
    let key = fs::read(&issued.key).unwrap();
    for gone in [None, Some(&issued.cert)] {
        gone.map(fs::remove_file).transpose().unwrap();
        let again = authority.issue(&order(Role::Server, "s"));
        assert!(matches!(again.err().unwrap(), CertsError::There(_)));
        assert_eq!(fs::read(&issued.key).unwrap(), key);
    }
}

#[test]
fn a_renewed_certificate_says_the_same_for_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let server = authority.issue(&order(Role::Server, "a-b")).unwrap();
    authority.issue(&order(Role::Balancer, "other")).unwrap();
    let (before, key) = (read(&server.cert), fs::read(&server.key).unwrap());
    fs::write(server.cert.with_extension("pem.part"), "left").unwrap();

    let opened = Authority::open(Directory::new(dir.path())).unwrap();
    assert_eq!(
        opened.renew(Some("a-b"), Some(200)).unwrap(),
        std::slice::from_ref(&server)
    );
    let after = read(&server.cert);
    assert_eq!(after.identity, before.identity);
    assert_eq!(after.hosts, before.hosts);
    assert_eq!(after.purposes, before.purposes);
    assert_eq!(after.days(), 200);
    assert_ne!(after.fingerprint, before.fingerprint);
    assert_eq!(fs::read(&server.key).unwrap(), key);
    let files = Files {
        cert: server.cert,
        key: server.key,
    };
    Credentials::read(&files).unwrap();
    assert_eq!(opened.renew(None, None).unwrap().len(), 2);
    assert_eq!(read(&files.cert).days(), 200, "as many as before");
    let unknown = opened.renew(Some("nobody"), None).err().unwrap();
    assert!(matches!(unknown, CertsError::Unknown { .. }));
}

#[test]
fn an_authority_that_is_not_there_or_not_secret_signs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Authority::open(Directory::new(dir.path())).err();
    assert!(matches!(open().unwrap(), CertsError::NoAuthority { .. }));
    authority(dir.path());
    assert!(open().is_none());
    let key = dir.path().join("ca.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open().unwrap().to_string().contains("chmod 600"));
}
