//! Over real sockets, with the bytes of agents.

use std::net::Ipv4Addr;

use super::*;
use crate::access::users::{NewToken, Token, UserOrder, Users};
use crate::access::{Accounts, DatagramKey, UserRole, hash_password};
use crate::doors::tests::{DATAGRAM, Doorway, counts, until};
use crate::fleet_core::Facts;
use crate::secret::Secret;

async fn open(lock: Lock, from: &[&str]) -> (Doorway, SocketAddr) {
    let from = from.iter().map(|network| network.parse().unwrap());
    let (udp, at) = bind("127.0.0.1:0", from.collect()).await.unwrap();
    let doorway = Doorway::open(|fleet, stop| udp.run(lock, fleet, stop));
    (doorway, at)
}

fn from(address: impl std::net::ToSocketAddrs) -> std::net::UdpSocket {
    std::net::UdpSocket::bind(address).unwrap()
}

#[tokio::test]
async fn an_agents_datagram_is_a_claim_of_its_address() {
    let (doorway, at) = open(Lock::off_at_balancer(), &["127.0.0.0/8"]).await;
    let agent = from("127.0.0.1:0");
    agent.send_to(DATAGRAM, at).unwrap();
    until(|| doorway.fleet.members().len() == 1).await;
    let member = doorway.fleet.find("source:127.0.0.1").unwrap();
    assert_eq!(member.trust, Trust::Claimed);
    assert_eq!(member.source, Source::Datagram);
    assert_eq!(member.facts.cpu, Some(0.709));
    assert_eq!(member.facts.disk_total, Some(270_550_727_393));
    assert!(!member.capabilities.files);
    // Nothing is ever answered.
    agent.set_nonblocking(true).unwrap();
    assert!(agent.recv(&mut [0; 9]).is_err());
    assert_eq!(counts(&doorway.fleet, DoorName::Udp).taken, 1);
    doorway.close().await;
}

#[tokio::test]
async fn what_is_none_is_counted_by_reason_and_the_next_one_is_taken() {
    let (doorway, at) = open(Lock::off_at_balancer(), &["127.0.0.0/8"]).await;
    let padded = |length: usize| {
        let spaces = " ".repeat(length - DATAGRAM.len());
        [DATAGRAM, spaces.as_bytes()].concat()
    };
    let deep = "[".repeat(1000);
    let cases: [(&[u8], &str); 12] = [
        (b"", "no JSON object"),
        (b"hello", "no JSON object"),
        (b"{}", "no figures"),
        (b"[]", "no JSON object"),
        (b"1", "no JSON object"),
        (b"\xff\xfe\x00", "no JSON object"),
        (deep.as_bytes(), "nested too deeply"),
        (br#"{"cpu": {"media": NaN}}"#, "no JSON object"),
        (br#"{"cpu": {"media": "x"}}"#, "a field of the wrong type"),
        (br#"{"disco": {"usado_GB": -1}}"#, "an impossible figure"),
        (&padded(8193), "too long"),
        (&padded(60_000), "too long"),
    ];
    let mut expected = BTreeMap::new();
    for (place, (bytes, reason)) in cases.into_iter().enumerate() {
        // Each from an address of its own: none may come too often.
        let agent = from((Ipv4Addr::new(127, 0, 1, u8::try_from(place).unwrap()), 0));
        agent.send_to(bytes, at).unwrap();
        *expected.entry(reason).or_default() += 1;
    }
    from("127.0.0.1:0").send_to(&padded(8192), at).unwrap();
    until(|| doorway.fleet.members().len() == 1).await;
    let counts = counts(&doorway.fleet, DoorName::Udp);
    assert_eq!((counts.taken, counts.refused), (1, expected));
    doorway.close().await;
}

#[tokio::test]
async fn only_named_networks_may_claim() {
    let (doorway, at) = open(Lock::off_at_balancer(), &["127.1.0.0/16"]).await;
    from("127.0.0.1:0").send_to(DATAGRAM, at).unwrap();
    from("127.1.2.3:0").send_to(DATAGRAM, at).unwrap();
    until(|| counts(&doorway.fleet, DoorName::Udp).taken == 1).await;
    let members = doorway.fleet.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].id, "source:127.1.2.3");
    let refused = counts(&doorway.fleet, DoorName::Udp).refused;
    assert_eq!(refused["from a network that is not allowed"], 1);
    doorway.close().await;
}

/// 100,000 addresses: no more than the most are kept, and whoever was known stays and is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_forged_sources_move_nobody_out() {
    let (doorway, at) = open(Lock::off_at_balancer(), &["127.0.0.0/8"]).await;
    let known = from("127.0.0.9:0");
    known.send_to(DATAGRAM, at).unwrap();
    until(|| doorway.fleet.members().len() == 1).await;
    let fleet = doorway.fleet.clone();
    let flood = tokio::task::spawn_blocking(move || {
        for number in 0..100_000_u32 {
            let [_, a, b, c] = number.to_be_bytes();
            let forged = from((Ipv4Addr::new(127, 100 + a, b, c), 0));
            forged.send_to(DATAGRAM, at).unwrap();
            // No more than the kernel can hold.
            let seen = || {
                let counts = counts(&fleet, DoorName::Udp);
                counts.taken + counts.refused.values().sum::<u64>()
            };
            if number % 100 == 0 {
                while seen() + 300 < u64::from(number) {
                    std::thread::yield_now();
                }
            }
        }
    });
    flood.await.unwrap();
    until(|| {
        let counts = counts(&doorway.fleet, DoorName::Udp);
        counts.taken + counts.refused.values().sum::<u64>() >= 100_001
    })
    .await;
    let count = counts(&doorway.fleet, DoorName::Udp);
    assert_eq!(count.taken, MAX_SOURCES as u64);
    assert_eq!(doorway.fleet.members().len(), MAX_SOURCES);
    let heard = doorway.fleet.doors().counts()[&DoorName::Udp].taken;
    known.send_to(DATAGRAM, at).unwrap();
    until(|| counts(&doorway.fleet, DoorName::Udp).taken == heard + 1).await;
    doorway.fleet.find("source:127.0.0.9").unwrap();
    doorway.close().await;
}

#[tokio::test]
async fn one_address_may_speak_ten_times_at_once() {
    let (doorway, at) = open(Lock::off_at_balancer(), &["127.0.0.0/8"]).await;
    let agent = from("127.0.0.1:0");
    for _ in 0..50 {
        agent.send_to(DATAGRAM, at).unwrap();
    }
    until(|| {
        let counts = counts(&doorway.fleet, DoorName::Udp);
        counts.taken + counts.refused.get("too often").copied().unwrap_or_default() == 50
    })
    .await;
    let taken = counts(&doorway.fleet, DoorName::Udp).taken;
    assert!((10..15).contains(&taken), "{taken}");
    doorway.close().await;
}

#[tokio::test]
async fn two_agents_behind_one_address_are_noted() {
    let (doorway, at) = open(Lock::off_at_balancer(), &["127.0.0.0/8"]).await;
    let (one, other) = (from("127.0.0.1:0"), from("127.0.0.1:0"));
    for agent in [&one, &other, &one] {
        agent.send_to(DATAGRAM, at).unwrap();
    }
    until(|| {
        let member = doorway.fleet.find("source:127.0.0.1");
        member.is_ok_and(|member| member.notes == [TWO_AT_ADDRESS])
    })
    .await;
    doorway.close().await;
}

/// A lock with one agent, `host-a`, and a user who may not report, and a token of each.
fn locked() -> (tempfile::TempDir, Lock, Secret, Secret) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.json");
    let users = Users::open_or_begin(&path).unwrap();
    let token = |name: &str, role: UserRole| {
        let name = name.parse().unwrap();
        let NewToken { id, text, hash } = NewToken::make();
        users
            .order(UserOrder::Add {
                name: Clone::clone(&name),
                role,
                password: hash_password(&Secret::from("s3cret pass&word")).unwrap(),
            })
            .unwrap();
        let token = Token {
            user: name,
            name: String::new(),
            hash,
            rights: role.rights(),
            created: 0,
            expires: None,
            from: Vec::new(),
        };
        users.change(|book| book.issue(id, token, 1)).unwrap();
        text
    };
    let agent = token("host-a", UserRole::Agent);
    let sender = token("anna", UserRole::Sender);
    let accounts = Accounts::open(&path, Vec::new()).unwrap();
    let lock = Lock::with_users(Arc::new(accounts));
    (dir, lock, agent, sender)
}

fn sealed(token: &Secret, boot: &str, seq: u64, change: impl FnOnce(&mut Datagram)) -> Vec<u8> {
    let (id, key) = DatagramKey::of_token(token).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut datagram = Datagram {
        v: 1,
        token: id,
        boot: boot.to_owned(),
        seq,
        time: now.unwrap().as_secs_f64(),
        every_s: 5.0,
        facts: Facts {
            cpu: Some(0.25),
            ..Facts::default()
        },
    };
    change(&mut datagram);
    datagram.seal(&key).unwrap()
}

#[tokio::test]
async fn a_signed_datagram_is_its_users_wherever_it_comes_from() {
    let (_dir, lock, agent, sender) = locked();
    // Plain ones are taken from nowhere near.
    let (doorway, at) = open(lock, &["10.0.0.0/8"]).await;
    let (here, there) = (from("127.0.0.1:0"), from("127.0.0.2:0"));
    let first = sealed(&agent, "x", 1, |_| {});
    here.send_to(&first, at).unwrap();
    until(|| doorway.fleet.members().len() == 1).await;
    let member = doorway.fleet.find("agent:host-a").unwrap();
    assert_eq!(
        (member.trust, member.source),
        (Trust::Proved, Source::Token)
    );
    assert_eq!(member.facts.cpu, Some(0.25));
    there.send_to(&sealed(&agent, "x", 2, |_| {}), at).unwrap();
    let mut changed = sealed(&agent, "x", 3, |_| {});
    let place = changed.windows(4).position(|part| part == b"0.25").unwrap();
    changed[place + 2] = b'9';
    let stranger = sealed(&NewToken::make().text, "x", 4, |_| {});
    let bad: [(Vec<u8>, &str); 8] = [
        (first, "an old one again"),
        (changed, "not signed with a token that is good here"),
        (stranger, "not signed with a token that is good here"),
        (sealed(&sender, "x", 1, |_| {}), "the token may not report"),
        (
            sealed(&agent, "x", 9, |datagram| datagram.time -= 130.0),
            "its time differs by more than 2 minutes",
        ),
        (
            sealed(&agent, "x", 10, |datagram| datagram.facts.cpu = Some(1.5)),
            "an impossible figure",
        ),
        (
            sealed(&agent, "x", 11, |datagram| datagram.v = 2),
            "not in the form of signed datagrams",
        ),
        (
            sealed(&agent, "x", 12, |datagram| {
                datagram.facts = Facts::default();
            }),
            "no figures",
        ),
    ];
    let mut expected = BTreeMap::new();
    for (bytes, reason) in bad {
        here.send_to(&bytes, at).unwrap();
        *expected.entry(reason).or_default() += 1;
    }
    until(|| {
        let counts = counts(&doorway.fleet, DoorName::Udp);
        counts.refused.values().sum::<u64>() == 8
    })
    .await;
    let count = counts(&doorway.fleet, DoorName::Udp);
    assert_eq!((count.taken, count.refused), (2, expected));
    let member = doorway.fleet.find("agent:host-a").unwrap();
    assert_eq!(member.host.as_deref(), Some("127.0.0.2"));
    assert_eq!(doorway.fleet.members().len(), 1);
    doorway.close().await;
}

/// The one whose clock is behind is refused each time, and was never noted.
#[tokio::test]
async fn two_hosts_with_one_token_are_noted_though_their_clocks_differ() {
    let (_dir, lock, agent, _) = locked();
    let (doorway, at) = open(lock, &[]).await;
    let socket = from("127.0.0.1:0");
    for (boot, seq, behind) in [("x", 1, 0.0), ("y", 1, 30.0), ("x", 2, 0.0)] {
        let bytes = sealed(&agent, boot, seq, |datagram| datagram.time -= behind);
        socket.send_to(&bytes, at).unwrap();
    }
    until(|| {
        let member = doorway.fleet.find("agent:host-a");
        member.is_ok_and(|member| member.notes == [TWO_WITH_TOKEN])
    })
    .await;
    let count = counts(&doorway.fleet, DoorName::Udp);
    assert_eq!((count.taken, count.refused[OLDER_RUN.0]), (2, 1));
    doorway.close().await;
}

#[tokio::test]
async fn a_revoked_token_signs_nothing_any_more() {
    let (dir, lock, agent, _) = locked();
    let (doorway, at) = open(lock.clone(), &[]).await;
    let socket = from("127.0.0.1:0");
    socket.send_to(&sealed(&agent, "x", 1, |_| {}), at).unwrap();
    until(|| counts(&doorway.fleet, DoorName::Udp).taken == 1).await;
    let following = CancellationToken::new();
    let accounts = lock.accounts().unwrap().clone();
    tokio::spawn(accounts.follow(following.clone()));
    let (id, _) = DatagramKey::of_token(&agent).unwrap();
    let users = Users::open(&dir.path().join("users.json")).unwrap();
    users.change(|book| book.revoke(&id, None)).unwrap();
    let mut seq = 1;
    until(|| {
        seq += 1;
        socket
            .send_to(&sealed(&agent, "x", seq, |_| {}), at)
            .unwrap();
        let refused = counts(&doorway.fleet, DoorName::Udp).refused;
        refused.contains_key("not signed with a token that is good here")
    })
    .await;
    following.cancel();
    doorway.close().await;
}
