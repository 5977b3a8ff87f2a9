use super::*;

const ORIGINAL: &[u8] = b"127.0.0.1:5050";

#[tokio::test]
async fn a_server_that_announces_itself_is_a_claim() {
    let doorways = Doorways::open().await;
    assert_eq!(ORIGINAL.len(), 14);
    doorways.announce(ORIGINAL).await;
    let member = doorways.member("127.0.0.1:5050").unwrap();
    assert_eq!(member.id, "address:127.0.0.1:5050");
    assert_eq!(member.name, "127.0.0.1:5050");
    assert_eq!(
        (member.source, member.trust),
        (Source::Announced, Trust::Claimed)
    );
    assert!(!member.capabilities.files, "a claim gets no files");
    assert_eq!(
        doorways.fleet.doors().counts()[&DoorName::Announce].taken,
        1
    );
}

/// In the original the port was closed for a minute after each announcement.
#[tokio::test]
async fn many_announce_themselves_at_once_and_one_after_another() {
    let doorways = Doorways::open().await;
    for port in 5050..5060 {
        doorways.announce(format!("127.0.0.1:{port}")).await;
    }
    let at_once = (6000..6030).map(|port| {
        let doorways = &doorways;
        async move { doorways.announce(format!("127.0.0.1:{port}")).await }
    });
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(connect(doorways.announce).await);
    }
    for (stream, announcing) in streams.iter_mut().zip(at_once) {
        announcing.await;
        stream.write_all(ORIGINAL).await.unwrap();
    }
    assert_eq!(doorways.fleet.members().len(), 40);
}

#[tokio::test]
async fn an_announcement_may_come_in_pieces_and_need_not_end() {
    let doorways = Doorways::open().await;
    let mut stream = connect(doorways.announce).await;
    for byte in ORIGINAL {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    // It stays open, and is taken at its word once its time is over.
    assert_eq!(rest(&mut stream).await, b"");
    assert!(doorways.member("127.0.0.1:5050").is_some());
    let mut stream = connect(doorways.announce).await;
    stream.write_all(b"127.0.0.1:5051\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"");
    assert!(doorways.member("127.0.0.1:5051").is_some());
}

#[tokio::test]
async fn what_is_no_announcement_is_refused_by_its_reason() {
    let doorways = Doorways::open().await;
    let no_address = "no HOST:PORT with an IP address";
    for (bytes, reason) in [
        (&[b'1'; 257][..], "longer than 256 bytes"),
        (&[b'1'; 256], no_address),
        (b"{}", no_address),
        (b"\x80\x04\x8f\x94.", no_address),
        (b"127.0.0.1:0", no_address),
        (b"127.0.0.1:5050127.0.0.1:5051", no_address),
    ] {
        let before = doorways.refused(DoorName::Announce, reason);
        let mut stream = connect(doorways.announce).await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
        let after = doorways.refused(DoorName::Announce, reason);
        assert_eq!(after, before + 1, "{bytes:?}");
    }
    // Somebody has looked whether the port is open.
    doorways.announce("").await;
    let mut silent = connect(doorways.announce).await;
    assert_eq!(rest(&mut silent).await, b"");
    assert_eq!(doorways.refused(DoorName::Announce, "silent"), 1);
    assert!(doorways.fleet.members().is_empty());
}

/// Else anybody could make the balancer connect to any host.
#[tokio::test]
async fn a_server_announces_itself_only_or_what_everybody_may() {
    let foreign = "neither the peer's own address nor among old-announce-hosts";
    let doorways = Doorways::with(limits(), &["10.1.0.0/16"]).await;
    for host in ["10.2.0.1:5050", "192.168.0.1:22", "[2001:db8::1]:5050"] {
        doorways.announce(host).await;
        assert!(doorways.member(host).is_none());
    }
    assert_eq!(doorways.refused(DoorName::Announce, foreign), 3);
    doorways.announce("10.1.2.3:5050").await;
    assert!(doorways.member("10.1.2.3:5050").is_some());
    // All of loopback is this machine.
    doorways.announce("127.0.0.2:5050").await;
    assert!(doorways.member("127.0.0.2:5050").is_some());
}

#[tokio::test]
async fn more_servers_than_are_kept_are_refused() {
    let doorways = Doorways::open().await;
    let full = "there are 256 announced servers, the most that are kept";
    for port in 10_000..10_256 {
        doorways.announce(format!("127.0.0.1:{port}")).await;
    }
    assert_eq!(doorways.refused(DoorName::Announce, full), 0);
    doorways.announce("127.0.0.1:9999").await;
    assert_eq!(doorways.refused(DoorName::Announce, full), 1);
    assert!(doorways.member("127.0.0.1:9999").is_none());
    doorways.announce("127.0.0.1:10000").await;
    assert_eq!(doorways.refused(DoorName::Announce, full), 1, "a known one");
}

/// Nobody needs to pick it: the balancer looks by itself.
#[tokio::test]
async fn an_announced_server_is_looked_at() {
    let doorways = Doorways::open().await;
    let server = OldServer::pushing(LINE, Duration::from_millis(100)).await;
    doorways.announce(server.address.to_string()).await;
    let cpu = || doorways.member(server.address).unwrap().facts.cpu;
    until(|| cpu().is_some()).await;
    let member = doorways.member(server.address).unwrap();
    assert_eq!(member.facts.cpu, Some(0.589));
    assert_eq!(member.facts.memory_part(), Some(0.035));
    assert_eq!(member.facts.disk_part(), Some(0.298));
    assert_eq!(member.facts.network_up, Some(true));
    assert_eq!(member.facts.uptime_s, Some(3024));
    assert_eq!(member.facts.status_text.as_deref(), Some(LINE));
    assert_eq!(
        (member.source, member.trust),
        (Source::Announced, Trust::Claimed)
    );
}

/// Anybody can be called by its address; then it was forgotten.
#[tokio::test]
async fn a_claim_of_an_announced_address_as_its_name_moves_nobody_out() {
    let doorways = Doorways::open().await;
    let server = OldServer::pushing(LINE, Duration::from_millis(100)).await;
    let address = server.address.to_string();
    let claim = Told {
        who: Identity::Instance((&*address).into()),
        name: Some((&*address).into()),
        source: Source::Posted,
        trust: Trust::Claimed,
        peer: None,
        every: Duration::from_secs(5),
        facts: Facts::default(),
    };
    doorways.fleet.told(claim).unwrap();
    doorways.announce(&address).await;
    let id = format!("address:{address}");
    let cpu = || doorways.member(&*id).unwrap().facts.cpu;
    until(|| cpu().is_some()).await;
}

/// What is heard of a server does not stand for who announced it: a later run asks whether they may.
#[tokio::test]
async fn who_announced_a_server_stays_known() {
    let doorways = Doorways::open().await;
    let server = OldServer::pushing_at("127.0.0.2", LINE, Duration::from_millis(100)).await;
    doorways.announce(server.address.to_string()).await;
    let member = || doorways.member(server.address).unwrap();
    until(|| member().facts.cpu.is_some()).await;
    assert_eq!(member().host.as_deref(), Some("127.0.0.1"));
}

/// A port of something else, or figures that cannot be, tell nothing.
#[tokio::test]
async fn a_server_that_speaks_otherwise_tells_nothing() {
    let doorways = Doorways::open().await;
    let impossible = LINE.replace("58.9", "158.9");
    let mut servers = Vec::new();
    for line in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        &impossible,
        &"x".repeat(100_000),
    ] {
        servers.push(OldServer::pushing(line, Duration::from_millis(20)).await);
    }
    for server in &servers {
        doorways.announce(server.address.to_string()).await;
    }
    // Three looks have found nothing.
    let unlisted = async {
        loop {
            let mut client = connect(doorways.pick).await;
            if read(&mut client).await.len() == 211 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, unlisted).await.unwrap();
    for server in &servers {
        assert_eq!(
            doorways.member(server.address).unwrap().facts,
            Facts::default()
        );
    }
}

/// A balancer that starts again can listen at once, and its clients were closed by it first.
#[tokio::test]
async fn the_port_is_free_again_at_once() {
    let doorways = Doorways::open().await;
    doorways.announce(ORIGINAL).await;
    let at = doorways.announce;
    doorways.doorway.close().await;
    TcpListener::bind(at).await.unwrap();
}
