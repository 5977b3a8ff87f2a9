//! Content over real sockets, fast and slow, to and from disks that may fail.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{STEP, TURN};
use crate::bulk::{Fill, Next, ReadAhead, Sink, SyncJob, WriteBehind};
use crate::tls::tests::over_sockets;
use crate::{BoxStream, Deadlines, ReadError, Reader, Socket};

/// A peer, and our end of the connection to it.
type Ends = (BoxStream, BoxStream);

/// Connections in plain text and inside TLS.
async fn connections() -> [Ends; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    let plain = |stream: TcpStream| -> BoxStream { Box::new(Socket::from(stream)) };
    [
        (plain(near.unwrap()), plain(far.unwrap().0)),
        over_sockets().await,
    ]
}

/// Writes all of this, in the background.
fn write(mut peer: BoxStream, bytes: Vec<u8>) -> JoinHandle<io::Result<BoxStream>> {
    tokio::spawn(async move {
        peer.write_all(&bytes).await?;
        peer.flush().await?;
        Ok(peer)
    })
}

fn content(size: usize) -> Vec<u8> {
    let byte = |place: usize| u8::try_from(place % 251).unwrap();
    (0..size).map(byte).collect()
}

fn turn() -> usize {
    usize::try_from(TURN).unwrap()
}

/// Content behind a frame: with its checksum, and the beginning of what follows.
fn framed(content: &[u8]) -> Vec<u8> {
    let sum = bilico_core::protocol::frame::checksum(crc32c::crc32c(content));
    [content, &sum, b"next"].concat()
}

/// Keeps what is written, and fails once there is more than `most`.
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    most: usize,
    /// How long each write takes.
    pause: Duration,
}

impl Sink for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        std::thread::sleep(self.pause);
        let mut kept = self.bytes.lock().unwrap();
        if kept.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<Option<SyncJob>> {
        Ok(None)
    }
}

/// What came of reading content of this size: how often it was asked for, what the disk said, and
/// what it has.
struct Came {
    passes: usize,
    ended: io::Result<()>,
    kept: Vec<u8>,
    /// What came behind it.
    behind: Vec<u8>,
}

async fn receive(socket: BoxStream, size: u64, most: usize) -> Result<Came, ReadError> {
    receive_at(Duration::ZERO, Deadlines::default(), socket, size, most).await
}

/// The same with a disk that takes so long for each write.
async fn receive_at(
    pause: Duration,
    deadlines: Deadlines,
    socket: BoxStream,
    size: u64,
    most: usize,
) -> Result<Came, ReadError> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let mut writer = WriteBehind::new(Kept {
        bytes: bytes.clone(),
        most,
        pause,
    });
    let direct = socket.direct();
    let (read, _write) = split(socket);
    let mut reader = Reader::over(read, direct, deadlines);
    let (mut left, mut sum, mut passes) = (size, 0, 0);
    while left > 0 {
        let came = reader.pass(left, left, sum, &mut writer).await?;
        left -= came.bytes;
        sum = came.crc32c;
        passes += 1;
    }
    reader.verify(sum).await?;
    let ended = writer.end(|_| Ok(())).await;
    let (mut read, buffered) = reader.into_parts();
    let mut behind = buffered.to_vec();
    read.read_to_end(&mut behind).await.unwrap();
    let kept = std::mem::take(&mut *bytes.lock().unwrap());
    Ok(Came {
        passes,
        ended,
        kept,
        behind,
    })
}

#[tokio::test]
async fn all_of_the_content_comes_and_nothing_behind_it_is_taken() {
    for size in [1, STEP - 1, STEP, 3 * STEP + 5, turn() + STEP + 1] {
        for (peer, socket) in connections().await {
            let sent = content(size);
            let writing = write(peer, framed(&sent));
            let came = receive(socket, size as u64, usize::MAX);
            let (came, written) = tokio::join!(came, ended(writing));
            let came = came.unwrap();
            written.unwrap();
            assert!(came.kept == sent, "{size} bytes");
            assert_eq!(came.behind, b"next");
            assert!(came.ended.is_ok());
        }
    }
}

/// Waits until all is written, and closes.
async fn ended(writing: JoinHandle<io::Result<BoxStream>>) -> io::Result<()> {
    writing.await.unwrap().map(drop)
}

/// The first read of the task is small; what follows it is left to few jobs.
#[tokio::test]
async fn content_that_comes_fast_is_moved_by_few_jobs() {
    let size = turn() / 2;
    for (peer, socket) in connections().await {
        let writing = write(peer, framed(&content(size)));
        let came = receive(socket, size as u64, usize::MAX);
        let (came, written) = tokio::join!(came, ended(writing));
        written.unwrap();
        let (passes, steps) = (came.unwrap().passes, size / STEP);
        assert!(passes < steps, "{passes} for {steps} steps");
    }
}

#[tokio::test]
async fn content_that_trickles_comes_whole() {
    let size = 2 * STEP;
    for (mut peer, socket) in connections().await {
        let sent = content(size);
        let frame = framed(&sent);
        let writing = tokio::spawn(async move {
            for piece in frame.chunks(20_000) {
                peer.write_all(piece).await.unwrap();
                peer.flush().await.unwrap();
                sleep(Duration::from_millis(3)).await;
            }
        });
        let came = receive(socket, size as u64, usize::MAX).await.unwrap();
        writing.await.unwrap();
        assert!(came.kept == sent);
        assert_eq!(came.behind, b"next");
    }
}

/// The time in which the disk keeps a job waiting is not the peer's.
#[tokio::test]
async fn a_slow_disk_takes_no_time_from_the_peer() {
    for (mut peer, socket) in connections().await {
        let sent = content(2000);
        let frame = framed(&sent);
        let (first, rest) = (frame[..1000].to_vec(), frame[1000..].to_vec());
        let writing = tokio::spawn(async move {
            for (piece, pause) in [(first, 1700), (rest, 0)] {
                peer.write_all(&piece).await.unwrap();
                peer.flush().await.unwrap();
                sleep(Duration::from_millis(pause)).await;
            }
        });
        let (disk, stall) = (Duration::from_millis(1500), Duration::from_secs(1));
        let deadlines = Deadlines { stall, idle: stall };
        let came = receive_at(disk, deadlines, socket, 2000, usize::MAX).await;
        writing.await.unwrap();
        assert!(came.unwrap().kept == sent);
    }
}

/// The next frame must be found behind content that the disk did not take.
#[tokio::test]
async fn what_the_disk_does_not_take_is_read_past() {
    for most in [0, STEP, 5 * STEP] {
        let size = 8 * STEP;
        for (peer, socket) in connections().await {
            let writing = write(peer, framed(&content(size)));
            let came = receive(socket, size as u64, most);
            let (came, written) = tokio::join!(came, ended(writing));
            let came = came.unwrap();
            written.unwrap();
            assert_eq!(came.ended.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(came.kept.len() <= most);
            assert_eq!(came.behind, b"next");
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_is_told() {
    for (peer, socket) in connections().await {
        let size = 4 * STEP;
        let writing = write(peer, content(size - 1));
        let came = receive(socket, size as u64, usize::MAX);
        let (came, written) = tokio::join!(came, ended(writing));
        written.unwrap();
        let missing = came.err().unwrap().to_string();
        assert!(missing.contains('1'), "{missing}");
    }
}

/// Records that were changed on the way end the connection; what came before them is kept.
#[tokio::test]
async fn damaged_records_are_told_behind_what_came_before_them() {
    let [_, (mut peer, socket)] = connections().await;
    let size = 4 * STEP;
    let below = peer.direct().unwrap();
    let writing = tokio::spawn(async move {
        peer.write_all(&content(size - 1)).await.unwrap();
        peer.flush().await.unwrap();
        // A record of application data that nobody has encrypted.
        let forged = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
        below.socket().clone().write_all(&forged).await.unwrap();
        peer
    });
    let came = receive(socket, size as u64, usize::MAX).await;
    let error = came.err().unwrap().to_string();
    assert!(error.contains("decrypt"), "{error}");
    drop(writing.await.unwrap());
}

/// Content whose last piece has to be looked at.
struct Made {
    content: Vec<u8>,
    offset: usize,
}

impl Fill for Made {
    type Piece = (Vec<u8>, bool);
    type Error = io::Error;

    fn fill(&mut self, piece: &mut Self::Piece) -> io::Result<bool> {
        let rest = &self.content[self.offset..];
        let step = &rest[..rest.len().min(STEP)];
        *piece = (step.to_vec(), step.len() == rest.len());
        self.offset += step.len();
        Ok(!step.is_empty())
    }

    fn ready((bytes, is_last): &Self::Piece) -> Option<&[u8]> {
        (!is_last).then_some(bytes)
    }
}

/// Sends content, and gives how many pieces this task had to send a part of.
async fn send(mut socket: BoxStream, content: Vec<u8>) -> usize {
    let mut reading = ReadAhead::new(Made { content, offset: 0 });
    let (mut own, mut is_first) = (0, true);
    while let Some(next) = reading.next().await {
        let Next { piece, sent } = next.unwrap();
        assert!(!piece.1 || sent == 0, "the last piece is not sent unseen");
        if is_first {
            assert_eq!(sent, 0, "the socket is not known yet");
            reading.send_over(socket.direct());
            is_first = false;
        }
        let rest = &piece.0[sent..];
        own += usize::from(!rest.is_empty());
        socket.write_all(rest).await.unwrap();
        socket.flush().await.unwrap();
        reading.reuse(piece);
    }
    own
}

#[tokio::test]
async fn content_goes_out_whole_and_in_order_to_fast_and_slow_peers() {
    for (steps, pause) in [(0, 0), (1, 0), (9, 0), (100, 0), (9, 5)] {
        for (mut peer, socket) in connections().await {
            let sent = content(steps * STEP + 7);
            let reading = tokio::spawn(async move {
                let mut all = Vec::new();
                let mut piece = vec![0; 100_000];
                loop {
                    let read = peer.read(&mut piece).await.unwrap();
                    if read == 0 {
                        return all;
                    }
                    all.extend_from_slice(&piece[..read]);
                    sleep(Duration::from_millis(pause)).await;
                }
            });
            send(socket, sent.clone()).await;
            assert!(reading.await.unwrap() == sent, "{steps} steps");
        }
    }
}

/// A peer that reads nothing holds no thread: the task waits for it.
#[tokio::test]
async fn no_job_waits_for_a_peer_that_reads_nothing() {
    for (peer, socket) in connections().await {
        let sending = send(socket, content(200 * STEP));
        let ended = timeout(Duration::from_millis(300), sending).await;
        assert!(ended.is_err(), "more than the sockets hold cannot be sent");
        // The runtime ends once its jobs have: a job that waits would hold this test for ever.
        drop(peer);
    }
}
