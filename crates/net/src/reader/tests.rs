use super::*;
use bilico_core::protocol::ProtocolError;
use bilico_core::protocol::limits::PROGRESS_BYTES;
use bilico_core::protocol::{Message, frame};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

const DEADLINES: Deadlines = Deadlines {
    stall: Duration::from_secs(30),
    idle: Duration::from_mins(10),
};

fn pair() -> (DuplexStream, Reader<DuplexStream>) {
    let (peer, ours) = duplex(1 << 20);
    (peer, Reader::new(ours, DEADLINES))
}

fn put(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::encode(
        &Message::Put {
            id: 1,
            title: "t".into(),
            key: None,
            resumed: None,
        },
        content.len() as u64,
        &mut wire,
    );
    wire.extend_from_slice(content);
    wire.extend_from_slice(&frame::checksum(crc32c::crc32c(content)));
    wire
}

#[tokio::test]
async fn content_comes_whole_however_it_is_cut() {
    for size in [1, 100, RESTING - 20, RESTING, AHEAD, 100_000] {
        let content: Vec<u8> = (0..size)
            .map(|byte| u8::try_from(byte % 251).unwrap())
            .collect();
        let (mut peer, mut reader) = pair();
        let wire = [put(&content), put(&content)].concat();
        for piece in wire.chunks(997) {
            peer.write_all(piece).await.unwrap();
        }
        for _ in 0..2 {
            let frame = reader.frame().await.unwrap().unwrap();
            assert_eq!(reader.content(frame.content_len).await.unwrap(), content);
        }
        drop(peer);
        assert!(reader.frame().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn pieces_and_skipped_content_leave_the_next_frame_in_place() {
    let content = vec![7; 600_000];
    let (mut peer, mut reader) = pair();
    let wire = [put(&content), put(&content), put(b"x")].concat();
    let writing = tokio::spawn(async move { peer.write_all(&wire).await });
    let len = reader.frame().await.unwrap().unwrap().content_len;
    let (mut left, mut crc) = (len, 0);
    while left > 0 {
        let piece = reader.piece(left).await.unwrap();
        left -= piece.len() as u64;
        crc = crc32c::crc32c_append(crc, &piece);
    }
    reader.verify(crc).await.unwrap();
    let len = reader.frame().await.unwrap().unwrap().content_len;
    reader.skip_content(len).await.unwrap();
    assert_eq!(reader.frame().await.unwrap().unwrap().content_len, 1);
    assert_eq!(reader.content(1).await.unwrap(), b"x".as_slice());
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_in_the_middle_tells_how_much_is_missing() {
    let (mut peer, mut reader) = pair();
    let wire = put(&[1; 100]);
    peer.write_all(&wire[..wire.len() - 34]).await.unwrap();
    drop(peer);
    let frame = reader.frame().await.unwrap().unwrap();
    let error = reader.content(frame.content_len).await.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Protocol(ProtocolError::Truncated { missing: 34 })
        ),
        "30 of the content and 4 of the checksum: {error}"
    );
}

#[tokio::test]
async fn a_declared_size_beyond_all_memory_is_an_error() {
    let (_peer, mut reader) = pair();
    assert!(matches!(
        reader.content(u64::MAX).await,
        Err(ReadError::Memory(u64::MAX))
    ));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_after_idle_between_frames_and_after_stall_in_one() {
    let (mut peer, mut reader) = pair();
    let started = Instant::now();
    assert!(matches!(reader.frame().await, Err(ReadError::Idle(_))));
    assert_eq!(started.elapsed().as_secs(), 600);
    peer.write_all(&[0, 0]).await.unwrap();
    let started = Instant::now();
    assert!(matches!(reader.frame().await, Err(ReadError::Stalled(_))));
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_no_progress_for_content_in_pieces_either() {
    let (mut peer, mut reader) = pair();
    let trickle = tokio::spawn(async move {
        while peer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    let started = Instant::now();
    assert!(matches!(
        reader.skip_content(u64::MAX).await,
        Err(ReadError::Stalled(_))
    ));
    assert_eq!(started.elapsed().as_secs(), 30);
    drop(reader);
    trickle.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_line_is_progress() {
    let (mut peer, mut reader) = pair();
    let slow = tokio::spawn(async move {
        let wire = put(&vec![1; 20 * PROGRESS_BYTES]);
        for piece in wire.chunks(PROGRESS_BYTES) {
            tokio::time::sleep(Duration::from_secs(20)).await;
            peer.write_all(piece).await.unwrap();
        }
        peer
    });
    let len = reader.frame().await.unwrap().unwrap().content_len;
    assert_eq!(reader.content(len).await.unwrap().len() as u64, len);
    drop(slow.await.unwrap());
}
