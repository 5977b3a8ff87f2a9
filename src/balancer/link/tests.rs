//! Links over pipes instead of sockets, with pretended servers at their other ends.

mod ahead;
mod lane;
mod old_style;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::send::{CONFIRM_WITHIN, MOST_HELD};
use super::{Target, run};
use crate::balancer::dispatch::{LinkEvent, LinkId, Ticket};
use crate::balancer::messages::{Parcel, ToHub, ToServer};
use crate::balancer::sharing::Borrowed;
use crate::protocol::json::{NotOldStyle, Request, parse};
use crate::protocol::lists::decode_confirmed;
use crate::protocol::status::Dialect;
use crate::protocol::{Hello, Message, Role, frame};
use crate::queue::RealDisk;
use crate::queue::disk::Disk;
use crate::queue::record::Meta;
use crate::queue::{FileBody, Handle, Location, RecordPosition};
use crate::schedule::Scheduler;
use crate::transport::{BoxStream, Connect, Connecting, Deadlines, Reader};

const SENT: &[u8] = b"what the client sent";
const DAMAGED: &[u8] = b"what the client lent";

/// Connects to whoever holds the other end of the channel.
struct Pipes(Mutex<mpsc::UnboundedSender<DuplexStream>>);

impl Connect for Pipes {
    fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
        let (ours, theirs) = duplex(1024 * 1024);
        let connected = match self.0.lock().unwrap().send(theirs) {
            Ok(()) => Ok(Box::new(ours) as BoxStream),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        Box::pin(std::future::ready(connected))
    }
}

/// A link that runs, and all that is around it.
struct World {
    to_link: mpsc::UnboundedSender<ToServer>,
    hub: mpsc::UnboundedReceiver<ToHub>,
    connections: mpsc::UnboundedReceiver<DuplexStream>,
    disk: Arc<RealDisk>,
    /// Segments that have been made.
    segments: u64,
    _dir: tempfile::TempDir,
}

/// The server's end of a native link.
struct NativeServer {
    reader: Reader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
}

impl World {
    fn new(dialect: Dialect) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
        let (to_pipes, connections) = mpsc::unbounded_channel();
        let (to_hub, hub) = mpsc::unbounded_channel();
        let (to_link, from_hub) = mpsc::unbounded_channel();
        let target = Target {
            link: LinkId {
                slot: Scheduler::new().add(1),
                epoch: 1,
            },
            server: "server".into(),
            address: "server".into(),
            connector: Arc::new(Pipes(Mutex::new(to_pipes))),
            hub: to_hub,
            disk: disk.clone(),
            journal: "00".repeat(16).into(),
            connect_timeout: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            extra: Borrowed::default(),
            old_style: Duration::from_mins(1),
        };
        tokio::spawn(run(target, dialect, from_hub));
        Self {
            to_link,
            hub,
            connections,
            disk,
            segments: 0,
            _dir: dir,
        }
    }

    /// A native link, open, and its server.
    async fn native() -> (Self, NativeServer) {
        let mut world = Self::new(Dialect::Native);
        let stream = world.connections.recv().await.unwrap();
        let (read, mut write) = split(stream);
        let mut reader = Reader::new(read, Deadlines::default());
        reader.preface().await.unwrap();
        reader.frame().await.unwrap().unwrap();
        let mut out = Vec::new();
        frame::encode_preface(&mut out);
        let hello = Message::from(Hello {
            overloaded: Some(false),
            ..Hello::of(Role::Server)
        });
        frame::encode(&hello, 0, &mut out);
        write.write_all(&out).await.unwrap();
        assert!(matches!(world.event().await, LinkEvent::Opened { .. }));
        (world, NativeServer { reader, write })
    }

    /// A link to an old-style server.
    async fn old_style() -> Self {
        let mut world = Self::new(Dialect::OldStyle);
        assert!(matches!(world.event().await, LinkEvent::Opened { .. }));
        world
    }

    async fn event(&mut self) -> LinkEvent {
        match self.hub.recv().await.unwrap() {
            ToHub::Link { event, .. } => event,
            other => panic!("{other:?}"),
        }
    }

    /// Content in the journal.
    fn in_journal(&mut self, content: &[u8]) -> Location {
        self.segments += 1;
        let name = format!("segment-{}", self.segments);
        let file = self.disk.create(&name).unwrap();
        file.write_at(content, 0).unwrap();
        let len = u32::try_from(content.len()).unwrap();
        let spot = RecordPosition {
            end: len,
            ..RecordPosition::default()
        };
        let segment = self.segments;
        Location::new(Handle { segment, file }, spot, len.into())
    }

    /// Has a file sent whose client sent [`SENT`].
    fn send(&self, number: u64, content: FileBody) {
        self.send_content(number, content, SENT);
    }

    /// Has a file sent whose client sent these bytes.
    fn send_content(&self, number: u64, content: FileBody, sent: &[u8]) {
        self.send_parcel(number, content, sent, None);
    }

    /// The same with a head start.
    fn send_parcel(&self, number: u64, content: FileBody, sent: &[u8], ahead: Option<Ticket>) {
        let meta = Arc::new(Meta {
            title: "t".into(),
            key: None,
            from: "f".into(),
            size: sent.len() as u64,
            crc32c: crc32c::crc32c(sent),
            accepted_ms: 0,
        });
        let parcel = Parcel {
            number,
            meta,
            content,
            ahead,
        };
        self.to_link.send(ToServer::Parcel(parcel)).unwrap();
    }

    /// Has files sent that are damaged in memory and in the journal, and one behind them that is
    /// sound. Gives the number of that.
    fn send_damaged_ones(&mut self) -> u64 {
        let damaged = Bytes::from_static(DAMAGED);
        let in_journal = self.in_journal(DAMAGED);
        self.send(
            1,
            FileBody::Memory(damaged.clone(), Some(in_journal.clone())),
        );
        self.send(2, FileBody::Memory(damaged, None));
        self.send(3, FileBody::Journal(in_journal));
        self.send(4, FileBody::Memory(Bytes::from_static(SENT), None));
        4
    }

    /// The next three events say which files are damaged.
    async fn damaged_ones(&mut self) -> Vec<(u64, String)> {
        let mut told = Vec::new();
        while told.len() < 3 {
            match self.event().await {
                LinkEvent::Unreadable { number, reason } => told.push((number, reason)),
                LinkEvent::Stored { numbers, .. } => assert_eq!(numbers, [4]),
                other => panic!("{other:?}"),
            }
        }
        told.sort();
        told
    }
}

impl NativeServer {
    /// The next file, whose checksum is right.
    async fn file(&mut self) -> (u64, Bytes) {
        let frame = self.reader.frame().await.unwrap().unwrap();
        let Message::Store { number, .. } = frame.message else {
            panic!("{frame:?}");
        };
        let content = self.reader.content(frame.content_len).await.unwrap();
        (number, content)
    }
}

/// The next file that an old-style server gets, and its connection.
async fn old_style_file(world: &mut World) -> (u64, Bytes, DuplexStream) {
    let mut document = Vec::new();
    let mut stream = world.connections.recv().await.unwrap();
    stream.read_to_end(&mut document).await.unwrap();
    match parse(&document.into()).unwrap() {
        Request::File {
            number, content, ..
        } => (number.unwrap(), content, stream),
        other => panic!("{other:?}"),
    }
}

/// The checksum was computed anew from what the link had in memory: what was damaged there was
/// certified as what the client had sent.
#[tokio::test]
async fn content_damaged_in_memory_is_read_again_from_the_journal() {
    let (mut world, mut server) = World::native().await;
    let location = world.in_journal(SENT);
    let damaged = FileBody::Memory(Bytes::from_static(DAMAGED), Some(location));
    world.send(1, damaged.clone());
    assert_eq!(server.file().await, (1, SENT.into()));

    let mut world = World::old_style().await;
    world.send(1, damaged);
    let (number, content, _) = old_style_file(&mut world).await;
    assert_eq!((number, content), (1, SENT.into()));
}

#[tokio::test]
async fn content_damaged_in_memory_and_in_the_journal_reaches_no_server_and_is_told() {
    let (mut world, mut server) = World::native().await;
    let sound = world.send_damaged_ones();
    assert_eq!(server.file().await, (sound, SENT.into()));
    check_told(&world.damaged_ones().await);

    let mut world = World::old_style().await;
    let sound = world.send_damaged_ones();
    let (number, content, _open) = old_style_file(&mut world).await;
    assert_eq!((number, content), (sound, SENT.into()));
    check_told(&world.damaged_ones().await);
}

fn check_told(told: &[(u64, String)]) {
    let [one, two, three] = told else {
        panic!("{told:?}");
    };
    assert!(
        one.0 == 1 && one.1.contains("damaged in the journal"),
        "{one:?}"
    );
    assert!(two.0 == 2 && two.1.contains("damaged in memory"), "{two:?}");
    assert!(
        three.0 == 3 && three.1.contains("damaged in the journal"),
        "{three:?}"
    );
}

/// Whether such a server can read a file is asked nowhere else.
#[tokio::test]
async fn what_is_no_document_for_an_old_style_server_is_unfit_and_nothing_is_sent() {
    let mut world = World::old_style().await;
    let large = Bytes::from(vec![b'"'; 3000]);
    let own = vec![0; 100_000];
    let contents = [
        (
            FileBody::Memory(large.clone(), None),
            &large[..],
            NotOldStyle::TooLarge,
        ),
        (
            FileBody::Memory(Bytes::from_static(b"\xff"), None),
            b"\xff",
            NotOldStyle::NotText,
        ),
        (FileBody::Own(1), &own[..], NotOldStyle::TooLarge),
    ];
    for (content, bytes, expected) in contents {
        world.send_content(1, content, bytes);
        match world.event().await {
            LinkEvent::Unfit { number: 1, why } => assert_eq!(why, expected),
            other => panic!("{other:?}"),
        }
    }
    world.send(2, FileBody::Memory(Bytes::from_static(SENT), None));
    let (number, content, _) = old_style_file(&mut world).await;
    assert_eq!((number, content), (2, SENT.into()));
}

/// The numbers of the next message, which must be a list of confirmed files.
async fn confirmed(server: &mut NativeServer) -> Vec<u64> {
    let frame = server.reader.frame().await.unwrap().unwrap();
    assert!(matches!(frame.message, Message::Confirmed), "{frame:?}");
    let list = server.reader.content(frame.content_len).await.unwrap();
    decode_confirmed(&list).unwrap()
}

#[tokio::test(start_paused = true)]
async fn confirmed_numbers_wait_for_a_file_to_go_with_and_not_for_long() {
    let (world, mut server) = World::native().await;
    let confirm = |numbers: &[u64]| {
        let message = ToServer::Confirm(numbers.to_vec());
        world.to_link.send(message).unwrap();
    };
    let began = Instant::now();
    confirm(&[1, 2]);
    tokio::time::sleep(CONFIRM_WITHIN / 2).await;
    confirm(&[3]);
    assert_eq!(confirmed(&mut server).await, [1, 2, 3]);
    assert_eq!(began.elapsed().as_millis(), CONFIRM_WITHIN.as_millis());

    let began = Instant::now();
    confirm(&[4]);
    tokio::time::sleep(CONFIRM_WITHIN / 2).await;
    world.send(5, FileBody::Memory(Bytes::from_static(SENT), None));
    confirm(&[6]);
    assert_eq!(confirmed(&mut server).await, [4]);
    assert_eq!(server.file().await, (5, SENT.into()));
    assert!(began.elapsed() < CONFIRM_WITHIN);
    // The balancer has nothing more to say.
    drop(world.to_link);
    assert_eq!(confirmed(&mut server).await, [6]);
    assert!(began.elapsed() < CONFIRM_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn many_confirmed_numbers_do_not_wait() {
    let (world, mut server) = World::native().await;
    let began = Instant::now();
    let numbers: Vec<u64> = (1..=MOST_HELD as u64).collect();
    world
        .to_link
        .send(ToServer::Confirm(numbers.clone()))
        .unwrap();
    assert_eq!(confirmed(&mut server).await, numbers);
    assert!(began.elapsed() < CONFIRM_WITHIN);
}
