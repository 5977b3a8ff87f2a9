//! Content that goes to its server while it still comes in.

use super::lane::{Greeting, greeted};
use super::*;
use crate::balancer::dispatch::Ticket;
use crate::balancer::head_start::HeadStart;
use crate::queue::content;
use crate::queue::disk::DiskFile;

/// More than a pipe holds.
const SIZE: usize = 1024 * 1024;

/// How much of it comes at once.
const STEP: usize = SIZE / 4;

/// A file that comes in, and its head start.
struct Upload {
    number: u64,
    bytes: Vec<u8>,
    file: Arc<dyn DiskFile>,
    head_start: HeadStart,
}

impl Upload {
    /// One whose first part is there; the link is told to send it ahead.
    fn begin(world: &World, number: u64) -> Self {
        let bytes: Vec<u8> = (0..SIZE)
            .map(|byte| u8::try_from(byte % 251).unwrap())
            .collect();
        let file = world.disk.create(&content::name(number)).unwrap();
        let (head_start, ahead) = HeadStart::new(file.clone(), SIZE as u64, 0);
        world.to_link.send(ToServer::Ahead(ahead)).unwrap();
        let mut upload = Self {
            number,
            bytes,
            file,
            head_start,
        };
        upload.comes_to(STEP);
        upload
    }

    fn comes_to(&mut self, end: usize) {
        let bytes = &self.bytes[..end];
        self.file.write_at(bytes, 0).unwrap();
        self.head_start.tell(end as u64);
    }

    /// The file is accepted, and the hub sends it over this link.
    fn is_sent(&self, world: &World) {
        let content = FileBody::Own(self.number);
        let ticket = Some(self.head_start.ticket());
        world.send_parcel(self.number, content, &self.bytes, ticket);
    }
}

impl NativeServer {
    /// Reads what comes ahead, up to its checksum.
    async fn ahead(&mut self, bytes: usize) -> Vec<u8> {
        let frame = self.reader.frame().await.unwrap().unwrap();
        assert_eq!(frame.message, Message::Ahead);
        assert_eq!(frame.content_len, SIZE as u64);
        self.more(bytes, SIZE).await
    }

    /// Reads this much of the content of which so much is left.
    async fn more(&mut self, bytes: usize, left: usize) -> Vec<u8> {
        let mut content = Vec::new();
        while content.len() < bytes {
            let piece = self.reader.piece((left - content.len()) as u64).await;
            content.extend_from_slice(&piece.unwrap());
        }
        content
    }

    /// Reads the end of it, and which file it is.
    async fn keep(&mut self, upload: &Upload) {
        let sum = crc32c::crc32c(&upload.bytes);
        self.reader.verify(sum).await.unwrap();
        let frame = self.reader.frame().await.unwrap().unwrap();
        let title = "t".into();
        let number = upload.number;
        assert_eq!(frame.message, Message::Keep { number, title });
    }
}

impl World {
    /// An open link to a server that takes files ahead.
    async fn taking_ahead() -> (Self, NativeServer) {
        let mut world = Self::new(Dialect::Native);
        let (mut server, is_lane) = greeted(&mut world, Greeting::with_ahead("a")).await;
        assert!(!is_lane);
        server.enter().await;
        assert!(matches!(world.event().await, LinkEvent::Opened { .. }));
        assert!(matches!(world.event().await, LinkEvent::TakesAhead));
        (world, server)
    }

    /// The next connection, of a lane or a head start.
    async fn entered(&mut self) -> NativeServer {
        let (mut server, is_lane) = greeted(self, Greeting::with_ahead("a")).await;
        assert!(is_lane);
        server.enter().await;
        server
    }

    /// An upload that has come whole, and gone ahead whole.
    async fn all_ahead(&mut self) -> (Upload, NativeServer) {
        let mut upload = Upload::begin(self, 7);
        let mut ahead = self.entered().await;
        let mut content = ahead.ahead(STEP).await;
        upload.comes_to(SIZE);
        content.extend(ahead.more(SIZE - STEP, SIZE - STEP).await);
        assert!(content == upload.bytes);
        (upload, ahead)
    }

    /// The head start is over.
    async fn over(&mut self) -> Ticket {
        match self.event().await {
            LinkEvent::HeadStartOver(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    async fn stored(&mut self) -> Vec<u64> {
        match self.event().await {
            LinkEvent::Stored { numbers, .. } => numbers,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn content_goes_as_it_comes_and_its_number_follows() {
    let (mut world, _server) = World::taking_ahead().await;
    let mut upload = Upload::begin(&world, 7);
    let mut ahead = world.entered().await;
    let mut content = ahead.ahead(STEP).await;
    assert_eq!(content.len(), STEP, "no more has come");
    for end in [2 * STEP, SIZE] {
        upload.comes_to(end);
        let more = end - content.len();
        content.extend(ahead.more(more, SIZE - content.len()).await);
    }
    assert!(content == upload.bytes);
    // Before it is accepted, nothing says that the content is whole.
    let early = tokio::time::timeout(Duration::from_millis(100), ahead.reader.peek());
    assert!(early.await.is_err());
    upload.is_sent(&world);
    ahead.keep(&upload).await;
    ahead.say(&Message::Stored { number: 7 }).await;
    assert_eq!(world.stored().await, [7]);
    assert_eq!(world.over().await, upload.head_start.ticket());
    assert!(matches!(ahead.reader.peek().await, Ok(None)), "it is done");
}

#[tokio::test]
async fn a_file_that_is_sent_before_all_of_it_went_ahead_is_kept_when_it_has() {
    let (mut world, _server) = World::taking_ahead().await;
    let mut upload = Upload::begin(&world, 7);
    upload.comes_to(SIZE);
    upload.is_sent(&world);
    let mut ahead = world.entered().await;
    assert!(ahead.ahead(SIZE).await == upload.bytes);
    ahead.keep(&upload).await;
}

/// The upload breaks off, or its file goes elsewhere.
#[tokio::test]
async fn a_head_start_without_a_file_is_over_and_the_server_hears_no_number() {
    let (mut world, mut server) = World::taking_ahead().await;
    let (upload, mut ahead) = world.all_ahead().await;
    let ticket = upload.head_start.ticket();
    drop(upload);
    assert_eq!(world.over().await, ticket);
    assert!(matches!(ahead.reader.peek().await, Ok(None)));
    // The link goes on.
    world.send(8, FileBody::Memory(Bytes::from_static(SENT), None));
    assert_eq!(server.file().await.0, 8);
}

#[tokio::test]
async fn a_server_that_breaks_a_head_start_off_gets_the_file_over_the_lane() {
    for is_sent_before in [false, true] {
        let (mut world, _server) = World::taking_ahead().await;
        let mut upload = Upload::begin(&world, 7);
        let mut ahead = world.entered().await;
        ahead.ahead(STEP).await;
        upload.comes_to(SIZE);
        if is_sent_before {
            upload.is_sent(&world);
        }
        let refusal = crate::protocol::Refusal::new(crate::protocol::RefusalCode::Storage, "full");
        ahead.say(&Message::Bye(refusal)).await;
        assert_eq!(world.over().await, upload.head_start.ticket());
        if !is_sent_before {
            upload.is_sent(&world);
        }
        let mut lane = world.entered().await;
        assert!(lane.file().await == (7, upload.bytes.into()));
    }
}

#[tokio::test]
async fn a_head_start_that_cannot_be_made_sends_the_file_over_the_lane() {
    let (mut world, _server) = World::taking_ahead().await;
    let mut upload = Upload::begin(&world, 7);
    drop(world.connections.recv().await.unwrap());
    assert_eq!(world.over().await, upload.head_start.ticket());
    upload.comes_to(SIZE);
    upload.is_sent(&world);
    let mut lane = world.entered().await;
    assert!(lane.file().await == (7, upload.bytes.into()));
}

/// It may have the file: its next list tells.
#[tokio::test]
async fn a_connection_that_breaks_once_the_number_was_sent_ends_the_link() {
    let (mut world, _server) = World::taking_ahead().await;
    let mut upload = Upload::begin(&world, 7);
    upload.comes_to(SIZE);
    upload.is_sent(&world);
    let mut ahead = world.entered().await;
    ahead.ahead(SIZE).await;
    ahead.keep(&upload).await;
    drop(ahead);
    assert!(matches!(world.over().await, Ticket(_)));
    match world.event().await {
        LinkEvent::Closed(reason) => assert!(reason.contains("closed"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_another_server_was_to_have_goes_over_the_lane() {
    let (mut world, _server) = World::taking_ahead().await;
    let bytes = vec![7; SIZE];
    let file = world.disk.create(&content::name(9)).unwrap();
    file.write_at(&bytes, 0).unwrap();
    world.send_parcel(9, FileBody::Own(9), &bytes, Some(Ticket(u64::MAX)));
    let mut lane = world.entered().await;
    assert!(lane.file().await == (9, bytes.into()));
}

#[tokio::test]
async fn a_file_that_is_not_what_went_ahead_goes_over_the_lane() {
    let (mut world, _server) = World::taking_ahead().await;
    let (upload, _ahead) = world.all_ahead().await;
    let other = vec![7; STEP];
    let file = world.disk.create(&content::name(9)).unwrap();
    file.write_at(&other, 0).unwrap();
    let ticket = upload.head_start.ticket();
    world.send_parcel(9, FileBody::Own(9), &other, Some(ticket));
    assert_eq!(world.over().await, ticket);
    let mut lane = world.entered().await;
    assert!(lane.file().await == (9, other.into()));
}

/// Its file is accepted and has to wait: the server need not hold it for ever.
#[tokio::test(start_paused = true)]
async fn a_head_start_whose_file_does_not_come_is_over_after_a_while() {
    let (mut world, _server) = World::taking_ahead().await;
    let (upload, _ahead) = world.all_ahead().await;
    let began = Instant::now();
    assert_eq!(world.over().await, upload.head_start.ticket());
    assert!(began.elapsed() >= Duration::from_secs(30));
    upload.is_sent(&world);
    let mut lane = world.entered().await;
    assert!(lane.file().await == (7, upload.bytes.into()));
}

/// The server would find that it stalls, and log it.
#[tokio::test(start_paused = true)]
async fn a_head_start_whose_upload_stands_still_is_over() {
    let (mut world, _server) = World::taking_ahead().await;
    let upload = Upload::begin(&world, 7);
    let mut ahead = world.entered().await;
    ahead.ahead(STEP).await;
    assert_eq!(world.over().await, upload.head_start.ticket());
    assert!(matches!(ahead.reader.peek().await, Ok(None)));
}
