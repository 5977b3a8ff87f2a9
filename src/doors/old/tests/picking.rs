use tokio::time::Instant;

use super::*;

/// A client that has picked this server.
async fn picked(doorways: &Doorways, choice: &str) -> TcpStream {
    let mut client = connect(doorways.pick).await;
    read(&mut client).await;
    client.write_all(choice.as_bytes()).await.unwrap();
    assert_eq!(read(&mut client).await, b"Porta OK");
    client
}

fn facts() -> Facts {
    Facts {
        cpu: Some(0.589),
        memory_used: Some(35),
        memory_total: Some(1000),
        disk_used: Some(298),
        disk_free: Some(702),
        network_up: Some(true),
        uptime_s: Some(3024),
        ..Facts::default()
    }
}

#[tokio::test]
async fn a_client_speaks_with_us_as_with_the_original() {
    let doorways = Doorways::open().await;
    let mut client = connect(doorways.pick).await;
    assert_eq!(read(&mut client).await.len(), 211, "an empty list");
    doorways.tell("127.0.0.1:5001", facts());
    doorways.tell("127.0.0.1:5002", Facts::default());
    let mut client = connect(doorways.pick).await;
    let hyphens = "-".repeat(76);
    assert_eq!(
        read_text(&mut client).await,
        format!(
            "{hyphens}\nServidores Disponiveis:\n127.0.0.1:5001\n{hyphens}\nSelecione o número de \
             uma porta:"
        ),
        "a member that tells nothing cannot be picked"
    );
    client.write_all(b" 5001 ").await.unwrap();
    assert_eq!(read(&mut client).await, b"Porta OK");
    for _ in 0..3 {
        client.write_all(b"status").await.unwrap();
        assert_eq!(read_text(&mut client).await, LINE);
    }
    let counts = doorways.fleet.doors().counts();
    assert_eq!(counts[&DoorName::Pick].taken, 1);
    assert!(counts[&DoorName::Pick].refused.is_empty());
}

#[tokio::test]
async fn a_picked_server_tells_its_status_through_us() {
    let doorways = Doorways::open().await;
    let server = OldServer::pushing(LINE, Duration::from_millis(100)).await;
    doorways.announce(server.address.to_string()).await;
    let mut client = picked(&doorways, &server.address.port().to_string()).await;
    for _ in 0..3 {
        client.write_all(b"status").await.unwrap();
        assert_eq!(read_text(&mut client).await, LINE);
    }
    let member = doorways.member(server.address).unwrap();
    assert_eq!(
        (member.facts.cpu, member.trust),
        (Some(0.589), Trust::Claimed)
    );
}

/// Two lines in one read end the original's client, which does not save its history then.
#[tokio::test]
async fn never_two_lines_at_once_however_one_asks() {
    let doorways = Doorways::open().await;
    // It pushes far more than anybody asks for.
    let server = OldServer::pushing(LINE, Duration::from_millis(5)).await;
    doorways.announce(server.address.to_string()).await;
    doorways.tell("127.0.0.1:5001", facts());
    for choice in [&*server.address.to_string(), "5001"] {
        let mut client = picked(&doorways, choice).await;
        let began = Instant::now();
        for request in ["statusstatus", "sta", "tus"] {
            client.write_all(request.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..3 {
            assert_eq!(read_text(&mut client).await, LINE, "{choice}");
        }
        assert!(
            began.elapsed() >= 2 * doorways.limits.pace,
            "{choice}: too fast"
        );
        // Whoever does not ask gets none.
        let silent = timeout(3 * doorways.limits.pace, client.read_u8()).await;
        assert!(silent.is_err(), "{choice}: a line that nobody asked for");
    }
}

#[tokio::test]
async fn a_choice_and_the_first_request_may_come_together() {
    let doorways = Doorways::open().await;
    doorways.tell("127.0.0.1:5001", facts());
    let mut client = connect(doorways.pick).await;
    read(&mut client).await;
    for piece in ["50", "01", "sta", "tus"] {
        client.write_all(piece.as_bytes()).await.unwrap();
    }
    let mut came = Vec::new();
    while came.len() < 8 + LINE.len() {
        came.extend(read(&mut client).await);
    }
    assert_eq!(String::from_utf8(came).unwrap(), format!("Porta OK{LINE}"));
}

#[tokio::test]
async fn only_what_is_in_the_list_can_be_picked() {
    let doorways = Doorways::open().await;
    doorways.tell("127.0.0.1:5001", facts());
    doorways.tell("127.0.0.2:5001", facts());
    let elsewhere = OldServer::pushing(LINE, Duration::from_millis(100)).await;
    let mut client = connect(doorways.pick).await;
    read(&mut client).await;
    let mut answers = Vec::new();
    for choice in [
        &*elsewhere.address.port().to_string(),
        "x",
        "\u{e9}",
        "5001",
    ] {
        client.write_all(choice.as_bytes()).await.unwrap();
        answers.push(read_text(&mut client).await);
    }
    let wrong = "Porta inválida";
    assert_eq!(
        answers,
        [wrong, wrong, wrong, "Porta repetida: escolha HOST:PORTA"]
    );
    client.write_all(b"127.0.0.2:5001").await.unwrap();
    assert_eq!(read(&mut client).await, b"Porta OK");
    // Nobody can go on for ever.
    let mut client = connect(doorways.pick).await;
    read(&mut client).await;
    for _ in 0..8 {
        client.write_all(b"status").await.unwrap();
        assert_eq!(read_text(&mut client).await, wrong);
    }
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(
        doorways.refused(DoorName::Pick, "too many wrong choices"),
        1
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_cannot_be_picked_and_one_that_goes_ends_the_session() {
    let doorways = Doorways::with(
        OldLimits {
            look: Duration::from_mins(1),
            ..limits()
        },
        &[],
    )
    .await;
    let server = OldServer::pushing(LINE, Duration::from_millis(100)).await;
    doorways.announce(server.address.to_string()).await;
    let mut client = picked(&doorways, &server.address.to_string()).await;
    client.write_all(b"status").await.unwrap();
    assert_eq!(read_text(&mut client).await, LINE);
    let gone = server.address.to_string();
    drop(server);
    client.write_all(b"status").await.unwrap();
    let rest = rest(&mut client).await;
    // The line that was under way may come.
    assert!(rest.is_empty() || rest == LINE.as_bytes());
    let mut client = connect(doorways.pick).await;
    assert!(read_text(&mut client).await.contains(&gone));
    client.write_all(gone.as_bytes()).await.unwrap();
    assert_eq!(read_text(&mut client).await, "Servidor indisponível");
}

#[tokio::test]
async fn a_list_of_a_hundred_is_one_read() {
    let doorways = Doorways::open().await;
    for n in 0..100 {
        doorways.tell(&format!("127.0.0.1:{}", 5001 + n), facts());
    }
    let mut client = connect(doorways.pick).await;
    let list = read_text(&mut client).await;
    assert!(list.len() <= 1024, "{} bytes", list.len());
    assert!(list.contains("\n(+ 47)\n---"), "{list}");
    // One that is not shown can be picked all the same.
    client.write_all(b"5100").await.unwrap();
    assert_eq!(read(&mut client).await, b"Porta OK");
}

#[tokio::test]
async fn what_is_no_request_ends_the_session() {
    let doorways = Doorways::open().await;
    doorways.tell("127.0.0.1:5001", facts());
    for (bytes, reason) in [
        (b"STATUS".to_vec(), "something else than `status`"),
        (b"status".repeat(40), "it asks for more than it takes"),
    ] {
        let mut client = picked(&doorways, "5001").await;
        client.write_all(&bytes).await.unwrap();
        rest(&mut client).await;
        assert_eq!(doorways.refused(DoorName::Pick, reason), 1, "{reason}");
    }
    let mut client = connect(doorways.pick).await;
    read(&mut client).await;
    client.write_all(&[b'1'; 300]).await.unwrap();
    rest(&mut client).await;
    assert_eq!(
        doorways.refused(DoorName::Pick, "a choice of more than 256 bytes"),
        1
    );
}

#[tokio::test]
async fn silent_clients_are_closed() {
    let doorways = Doorways::with(
        OldLimits {
            idle: Duration::from_millis(300),
            ..limits()
        },
        &[],
    )
    .await;
    doorways.tell("127.0.0.1:5001", facts());
    let mut undecided = connect(doorways.pick).await;
    let mut silent = picked(&doorways, "5001").await;
    assert_eq!(rest(&mut undecided).await.len(), 211 + 15, "the list only");
    assert_eq!(rest(&mut silent).await, b"");
    assert_eq!(doorways.refused(DoorName::Pick, "silent"), 2);
}

/// Sixty-four that never pick anything do not lock others out.
#[tokio::test]
async fn clients_that_pick_nothing_make_way() {
    let doorways = Doorways::open().await;
    doorways.tell("127.0.0.1:5001", facts());
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut client = connect(doorways.pick).await;
        read(&mut client).await;
        idle.push(client);
    }
    let mut client = picked(&doorways, "5001").await;
    client.write_all(b"status").await.unwrap();
    assert_eq!(read_text(&mut client).await, LINE);
    drop(idle);
}
