//! Handshakes that succeed, and all the ways in which they must not.

mod made;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use self::made::{Authority, Made};
use super::*;
use crate::{BoxStream, Connect, Socket, Tcp};

const SOON: Duration = Duration::from_secs(2);

fn door(mode: Mode, shows: &Made) -> Door {
    let config = for_native(&shows.credentials().unwrap()).unwrap();
    Door::new(mode, config, Gauge::new("clients"))
}

/// Both ends of a connection over real sockets, the client's first.
pub(crate) async fn over_sockets() -> (BoxStream, BoxStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let authority = Authority::new();
    let made = authority.issue("bilico://main/balancer/a", &["127.0.0.1"]);
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    let door = door(Mode::Required, &made);
    let near = Tcp.connect(&address);
    let (near, far) = tokio::join!(near, listener.accept());
    let far: BoxStream = Box::new(Socket::from(far.unwrap().0));
    let near = connector.secure(&address, near.unwrap());
    let (near, far) = tokio::join!(near, door.admit(far, SOON));
    let (mut near, mut far) = (near.unwrap().0, inside(far).0);
    // With it the client reads the tickets of the session: whoever closes a socket with unread bytes
    // resets the connection.
    far.write_all(b"!").await.unwrap();
    far.flush().await.unwrap();
    near.read_exact(&mut [0]).await.unwrap();
    (near, far)
}

/// What becomes of both ends of a connection.
type Ends = (
    Result<(BoxStream, Secured), HandshakeError>,
    Result<Arrived, HandshakeError>,
);

async fn meet(connector: &Secure, peer: &str, door: &Door) -> Ends {
    let (here, there) = duplex(64 * 1024);
    let there: BoxStream = Box::new(there);
    tokio::join!(
        connector.secure(peer, Box::new(here)),
        door.admit(there, SOON)
    )
}

fn inside(arrived: Result<Arrived, HandshakeError>) -> (BoxStream, Secured) {
    match arrived {
        Ok(Arrived::Secure(stream, secured)) => (stream, *secured),
        Ok(_) => panic!("not secure"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn clients_get_in_by_tls_and_see_who_the_balancer_is() {
    let authority = Authority::new();
    let made = authority.issue("bilico://main/balancer/a", &["127.0.0.1"]);
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    let (client, balancer) =
        meet(&connector, "127.0.0.1:60002", &door(Mode::Required, &made)).await;
    let (mut here, seen) = client.unwrap();
    let (mut there, found) = inside(balancer);
    assert_eq!(seen.version, "TLS 1.3");
    assert_eq!(seen.group, "X25519MLKEM768");
    assert_eq!(found.protocol.as_deref(), Some("bilico/1"));
    assert_eq!(
        seen.identity().unwrap().to_string(),
        "bilico://main/balancer/a"
    );
    assert!(
        found.peer.is_none() && there.direct().is_none(),
        "there is no socket"
    );
    here.write_all(b"hello").await.unwrap();
    here.flush().await.unwrap();
    let mut read = [0; 5];
    there.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    // Cut off without a word of TLS.
    drop(here);
    assert_eq!(there.read(&mut read).await.unwrap(), 0);
}

#[tokio::test]
async fn plain_text_is_given_on_whole_and_garbage_is_refused() {
    let made = Authority::new().issue("bilico://main/balancer/a", &["localhost"]);
    let door = door(Mode::Optional, &made);
    let (mut here, there) = duplex(1024);
    here.write_all(b"{plain}").await.unwrap();
    let Ok(Arrived::Plain(mut there)) = door.admit(Box::new(there), SOON).await else {
        panic!("plain text is plain");
    };
    let mut read = [0; 7];
    there.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"{plain}");

    let (here, there) = duplex(1024);
    drop(here);
    assert!(matches!(
        door.admit(Box::new(there), SOON).await,
        Ok(Arrived::Gone)
    ));

    let (mut here, there) = duplex(1024);
    here.write_all(&[FIRST_BYTE; 64]).await.unwrap();
    let refused = door.admit(Box::new(there), SOON).await.err().unwrap();
    assert!(matches!(refused, HandshakeError::Refused(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_deadline() {
    let made = Authority::new().issue("bilico://main/balancer/a", &["localhost"]);
    let counts = Gauge::new("clients");
    let config = for_native(&made.credentials().unwrap()).unwrap();
    let door = Door::new(Mode::Optional, config, counts.clone());
    let (mut here, there) = duplex(1024);
    here.write_all(&[FIRST_BYTE]).await.unwrap();
    let refused = door.admit(Box::new(there), SOON).await.err().unwrap();
    assert!(matches!(refused, HandshakeError::Timeout(_)), "{refused}");
    let (_here, there) = duplex(1024);
    let refused = door.admit(Box::new(there), SOON).await.err().unwrap();
    assert!(matches!(refused, HandshakeError::Silent(_)), "{refused}");
    assert_eq!(counts.counts(), [0, 1, 0]);
}

/// Peers that stall anywhere in a handshake, more of them than there may be work at once.
#[tokio::test]
async fn peers_that_stall_in_a_handshake_hold_nobody_up() {
    let authority = Authority::new();
    let made = authority.issue("bilico://main/balancer/a", &["127.0.0.1"]);
    let door = std::sync::Arc::new(door(Mode::Required, &made));
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    // All that a client says before it has to read.
    let (here, mut there) = duplex(64 * 1024);
    let shaking = connector.clone();
    let client = tokio::spawn(async move { shaking.secure("127.0.0.1:1", Box::new(here)).await });
    let mut hello = vec![0; 16 * 1024];
    let len = there.read(&mut hello).await.unwrap();
    hello.truncate(len);
    client.abort();
    let mut stalled = Vec::new();
    for n in 0..200 {
        let (mut here, there) = duplex(64 * 1024);
        let cut = if n % 2 == 0 { len } else { 1 + n * len / 200 };
        here.write_all(&hello[..cut]).await.unwrap();
        let door = door.clone();
        tokio::spawn(async move { door.admit(Box::new(there), SOON).await.map(|_| ()) });
        stalled.push(here);
    }
    let begun = tokio::time::Instant::now();
    let (client, balancer) = meet(&connector, "127.0.0.1:60002", &door).await;
    client.unwrap();
    inside(balancer);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// Much content in both directions, with small messages in between: each byte comes once, in order.
#[tokio::test]
async fn large_content_comes_whole_in_both_directions() {
    let authority = Authority::new();
    let made = authority.issue("bilico://main/balancer/a", &["127.0.0.1"]);
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    let (client, balancer) =
        meet(&connector, "127.0.0.1:60002", &door(Mode::Required, &made)).await;
    let (here, there) = (client.unwrap().0, inside(balancer).0);
    let sizes = [1, 300_000, 5, 16 * 1024, 70_000, 1, 2_000_000];
    let content: Vec<u8> = (0..sizes.iter().sum())
        .map(|n: usize| u8::try_from(n % 251).unwrap())
        .collect();
    let pass = |mut from: BoxStream, mut to: BoxStream, content: Vec<u8>| async move {
        let sent = content.clone();
        let writing = tokio::spawn(async move {
            let mut rest = &sent[..];
            for size in sizes {
                let (now, later) = rest.split_at(size);
                from.write_all(now).await.unwrap();
                from.flush().await.unwrap();
                rest = later;
            }
            from
        });
        let mut came = vec![0; content.len()];
        to.read_exact(&mut came).await.unwrap();
        assert!(came == content);
        (writing.await.unwrap(), to)
    };
    let (here, there) = pass(here, there, content.clone()).await;
    let (there, mut here) = pass(there, here, content).await;
    drop(there);
    assert_eq!(here.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_refuses_a_balancer_that_is_not_the_right_one() {
    let (authority, other) = (Authority::new(), Authority::new());
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    let uri = "bilico://main/balancer/a";
    let (right, foreign) = (&["127.0.0.1"][..], &["192.0.2.1"][..]);
    for (made, why) in [
        (other.issue(uri, right), "not signed by the authority"),
        (authority.issue(uri, foreign), "is not for 127.0.0.1"),
        (Made::self_signed(uri, right), "not signed by the authority"),
        (authority.issue_to_connect(uri, right), "for another role"),
    ] {
        let (client, balancer) =
            meet(&connector, "127.0.0.1:60002", &door(Mode::Required, &made)).await;
        let refused = client.err().unwrap().to_string();
        assert!(refused.contains(why), "{refused}");
        assert!(balancer.is_err(), "{why}: the refusal is told");
    }
}

#[tokio::test]
async fn certificates_and_keys_that_cannot_be_used_are_told_apart() {
    let authority = Authority::new();
    let made = authority.issue("bilico://main/server/a", &["localhost"]);
    let other = authority.issue("bilico://main/server/b", &["localhost"]);
    let refused = |files: &Files| Credentials::read(files).err().unwrap().to_string();
    let with_key = |key: &std::path::Path| {
        refused(&Files {
            cert: made.files().cert,
            key: key.to_owned(),
        })
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let permit = |path: &std::path::Path, bits| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
    };

    assert!(with_key(&at("missing")).contains("cannot read"));
    assert!(with_key(&other.files().key).contains("does not belong to the certificate"));
    assert!(with_key(dir.path()).contains("not a regular file"));
    std::os::unix::fs::symlink(made.files().key, at("link")).unwrap();
    assert!(with_key(&at("link")).contains("not a regular file"));
    std::fs::write(at("empty"), "").unwrap();
    let shared = with_key(&at("empty"));
    assert!(
        shared.contains("chmod 600") && shared.contains("empty"),
        "{shared}"
    );
    permit(&at("empty"), 0o600);
    assert!(with_key(&at("empty")).contains("no private key"));
    let no_cert = Files {
        cert: at("empty"),
        key: made.files().key,
    };
    assert!(refused(&no_cert).contains("no certificate"));
    assert!(read_chain(&at("none")).is_err() && read_authorities(&at("empty")).is_err());

    let uri = "bilico://main/server/a";
    let past = authority.issue_for_days(uri, -20, -10);
    assert!(refused(&past.files()).contains("has expired on"));
    let future = authority.issue_for_days(uri, 10, 20);
    assert!(refused(&future.files()).contains("not valid before"));
}

/// All that a server's port must refuse, whatever the certificate says beside its signature.
#[tokio::test]
async fn a_server_admits_only_holders_of_a_certificate_of_its_cluster() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.issue("bilico://main/server/s1", &["127.0.0.1"]);
    let config = cluster_server(&server.credentials().unwrap(), authority.roots()).unwrap();
    let door = Door::new(Mode::Required, config, Gauge::new("clients"));
    let connector = |made: &Made| {
        let config = cluster_client(&made.credentials().unwrap(), authority.roots()).unwrap();
        Secure::to_servers(config, "main")
    };
    let balancer = authority.issue("bilico://main/balancer/b", &["localhost"]);
    let (ours, theirs) = meet(&connector(&balancer), "s1@127.0.0.1:5001", &door).await;
    let (_, found) = inside(theirs);
    assert_eq!(ours.unwrap().1.suite, "TLS13_AES_256_GCM_SHA384");
    assert_eq!(
        found.identity().unwrap().to_string(),
        "bilico://main/balancer/b"
    );

    let foreign = other.issue("bilico://main/balancer/b", &["localhost"]);
    let (_, theirs) = meet(&connector(&foreign), "127.0.0.1:5001", &door).await;
    let refused = theirs.err().unwrap().to_string();
    assert!(refused.contains("not signed by the authority"), "{refused}");
    let nobody = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    let (_, theirs) = meet(&nobody, "127.0.0.1:5001", &door).await;
    let refused = theirs.err().unwrap().to_string();
    assert!(refused.contains("shows no certificate"), "{refused}");
}

#[tokio::test]
async fn a_balancer_sends_nothing_to_a_server_that_is_another_one() {
    let authority = Authority::new();
    let balancer = authority.issue("bilico://main/balancer/b", &["127.0.0.1"]);
    let connect = |cluster| {
        let made = balancer.credentials().unwrap();
        Secure::to_servers(cluster_client(&made, authority.roots()).unwrap(), cluster)
    };
    for (peer, cluster, uri) in [
        ("s1@127.0.0.1:5001", "main", "bilico://main/server/s2"),
        ("127.0.0.1:5001", "main", "bilico://main/balancer/b"),
        ("127.0.0.1:5001", "main", "bilico://other/server/s1"),
        ("127.0.0.1:5001", "main", "https://example.com"),
    ] {
        let made = authority.issue(uri, &["127.0.0.1"]);
        let config = cluster_server(&made.credentials().unwrap(), authority.roots()).unwrap();
        let door = Door::new(Mode::Required, config, Gauge::new("clients"));
        let (ours, _) = meet(&connect(cluster), peer, &door).await;
        let refused = ours.err().unwrap();
        assert!(
            matches!(refused, HandshakeError::Identity(_)),
            "{uri}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_renewed_door_shows_the_new_certificate() {
    let authority = Authority::new();
    let old = authority.issue("bilico://main/balancer/old", &["127.0.0.1"]);
    let new = authority.issue("bilico://main/balancer/new", &["127.0.0.1"]);
    let door = door(Mode::Required, &old);
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    for (made, name) in [(&old, "old"), (&new, "new")] {
        door.renew(for_native(&made.credentials().unwrap()).unwrap());
        let (client, _) = meet(&connector, "127.0.0.1:60002", &door).await;
        assert_eq!(client.unwrap().1.identity().unwrap().name, name);
    }
}

/// A certificate can expire while its owner runs, and while a session of it is remembered.
#[tokio::test]
async fn an_expired_certificate_is_refused_in_the_handshake_and_in_a_resumed_one() {
    let authority = Authority::new();
    let past = authority.issue_for_days("bilico://main/balancer/a", -20, -10);
    let chain = read_chain(&past.files().cert).unwrap();
    let known = Certificate::read(&chain[0]).unwrap();
    assert!(matches!(
        known.identity_now(),
        Err(IdentityError::NotNow { .. })
    ));
    assert!(known.days_left() < 0);
    let key = PrivateKeyDer::from_pem_slice(&read_secret(&past.files().key).unwrap());
    let config = rustls::ServerConfig::builder_with_provider(for_clients())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.unwrap())
        .unwrap();
    let door = Door::new(Mode::Required, config, Gauge::new("clients"));
    let connector = Secure::to_balancers(client_of_balancer(authority.roots()).unwrap());
    let (client, balancer) = meet(&connector, "127.0.0.1:60002", &door).await;
    let refused = client.err().unwrap().to_string();
    assert!(refused.contains("has expired"), "{refused}");
    let told = balancer.err().unwrap().to_string();
    assert!(told.contains("for expired"), "{told}");
}

#[test]
fn hosts_are_read_from_addresses() {
    for (address, host) in [
        ("localhost:1", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
    ] {
        assert_eq!(host_of(address).unwrap().to_str(), host);
    }
    assert!(host_of("a b:1").is_err());
}
