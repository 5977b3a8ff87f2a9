use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::Deadlines;
use super::*;

const DEADLINES: Deadlines = Deadlines {
    stall: Duration::from_secs(30),
    idle: Duration::from_mins(10),
};

fn pair() -> (DuplexStream, Reader<DuplexStream>) {
    let (peer, ours) = duplex(1 << 20);
    (peer, Reader::new(ours, DEADLINES))
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_no_progress() {
    let (mut peer, mut reader) = pair();
    let trickle = tokio::spawn(async move {
        while peer.write_all(b"{").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    let started = Instant::now();
    assert!(matches!(
        ObjectReader::new(&mut reader)
            .object(1 << 20, 1 << 20)
            .await,
        Err(ReadError::Stalled(_))
    ));
    assert_eq!(started.elapsed().as_secs(), 30);
    drop(reader);
    trickle.await.unwrap();
}

#[tokio::test]
async fn objects_are_found_announced_when_large_and_bounded() {
    let (mut peer, mut reader) = pair();
    let mut reader = ObjectReader::new(&mut reader);
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(50_000));
    peer.write_all(format!(" {{}} {large}\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(
        reader.object(10_000, 60_000).await.unwrap(),
        Some(Object::Whole("{}".into()))
    );
    let mut found = reader.object(10_000, 60_000).await.unwrap();
    if let Some(Object::Large(came)) = found {
        assert!(came > 10_000, "{came}");
        found = reader.object(60_000, 60_000).await.unwrap();
    }
    assert_eq!(found, Some(Object::Whole(large.clone().into())));
    peer.write_all(large.as_bytes()).await.unwrap();
    drop(peer);
    let mut ended = reader.object(10_000, 40_000).await;
    if matches!(ended, Ok(Some(Object::Large(_)))) {
        ended = reader.object(40_000, 40_000).await;
    }
    assert!(
        matches!(ended, Err(ReadError::Json(JsonError::TooLarge(40_000)))),
        "{ended:?}"
    );
}
