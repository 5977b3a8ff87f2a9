//! Links to servers that take a second connection for large files.

use super::*;
use crate::queue::content;

const IDENTITY: &str = "0123456789abcdef0123456789abcdef";

/// More than a pipe holds.
const LARGE: usize = 4 * 1024 * 1024;

/// Who a server says that it is, and what it takes.
#[derive(Clone, Copy)]
pub(super) struct Greeting {
    /// A hex digit of its process.
    instance: &'static str,
    takes_ahead: bool,
}

impl From<&'static str> for Greeting {
    fn from(instance: &'static str) -> Self {
        Self {
            instance,
            takes_ahead: false,
        }
    }
}

impl Greeting {
    /// Of a server that takes files ahead.
    pub(super) fn with_ahead(instance: &'static str) -> Self {
        Self {
            takes_ahead: true,
            ..instance.into()
        }
    }
}

/// The next connection, on which the balancer has said its hello, and whether that is a lane's.
pub(super) async fn greeted(
    world: &mut World,
    greeting: impl Into<Greeting>,
) -> (NativeServer, bool) {
    let Greeting {
        instance,
        takes_ahead,
    } = greeting.into();
    let stream = world.connections.recv().await.unwrap();
    let (read, write) = split(stream);
    let mut reader = Reader::new(read, Deadlines::default());
    reader.preface().await.unwrap();
    let hello = reader.frame().await.unwrap().unwrap().message;
    let Message::Hello(hello) = hello else {
        panic!("{hello:?}");
    };
    let mut server = NativeServer { reader, write };
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    server.write.write_all(&out).await.unwrap();
    server
        .say(&Message::from(Hello {
            overloaded: Some(false),
            identity: Some(IDENTITY.into()),
            instance: Some(instance.repeat(32).into()),
            bulk: Some(true),
            ahead: takes_ahead.then_some(true),
            ..Hello::of(Role::Server)
        }))
        .await;
    (server, hello.bulk == Some(true))
}

impl NativeServer {
    pub(super) async fn say(&mut self, message: &Message) {
        let mut out = Vec::new();
        frame::encode(message, 0, &mut out);
        self.write.write_all(&out).await.unwrap();
    }

    /// Lists no files.
    pub(super) async fn enter(&mut self) {
        let nothing = Message::Holding {
            last: true,
            seen: None,
        };
        self.say(&nothing).await;
    }
}

impl World {
    /// An open link to a server that takes a lane.
    async fn with_lane() -> (Self, NativeServer) {
        let mut world = Self::new(Dialect::Native);
        let (mut server, is_lane) = greeted(&mut world, "a").await;
        assert!(!is_lane);
        server.enter().await;
        assert!(matches!(world.event().await, LinkEvent::Opened { .. }));
        (world, server)
    }

    /// Has a large file sent.
    fn send_large(&self, number: u64) -> Vec<u8> {
        let bytes = vec![u8::try_from(number).unwrap(); LARGE];
        let file = self.disk.create(&content::name(number)).unwrap();
        file.write_at(&bytes, 0).unwrap();
        self.send_content(number, FileBody::Own(number), &bytes);
        bytes
    }

    fn send_small(&self, number: u64) {
        self.send(number, FileBody::Memory(Bytes::from_static(SENT), None));
    }

    /// The link ends, for this reason.
    async fn closed(&mut self) -> String {
        match self.event().await {
            LinkEvent::Closed(reason) => reason,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn small_files_pass_a_large_one_that_the_server_does_not_read() {
    let (mut world, mut server) = World::with_lane().await;
    let large = world.send_large(1);
    let (mut lane, is_lane) = greeted(&mut world, "a").await;
    assert!(is_lane);
    lane.enter().await;
    for number in 2..100 {
        world.send_small(number);
        assert_eq!(server.file().await, (number, SENT.into()));
    }
    let (number, content) = lane.file().await;
    assert!(number == 1 && content == large);
    lane.say(&Message::Stored { number }).await;
    match world.event().await {
        LinkEvent::Stored { numbers, .. } => assert_eq!(numbers, [1]),
        other => panic!("{other:?}"),
    }
    // The lane stays open for the next one.
    let next = world.send_large(200);
    assert!(lane.file().await == (200, next.into()));
}

/// The list of the next link must tell of each file that came before it, and only a lane that the
/// server has entered is ended before that list.
#[tokio::test]
async fn nothing_goes_out_before_the_server_has_entered_the_lane() {
    let (mut world, mut server) = World::with_lane().await;
    world.send_large(1);
    let (mut lane, _) = greeted(&mut world, "a").await;
    world.send_small(2);
    assert_eq!(server.file().await.0, 2);
    let early = tokio::time::timeout(Duration::from_millis(100), lane.reader.peek());
    assert!(early.await.is_err());
    lane.enter().await;
    assert_eq!(lane.file().await.0, 1);
}

#[tokio::test]
async fn large_files_go_over_the_link_if_the_lane_is_refused() {
    let (mut world, mut server) = World::with_lane().await;
    let large = world.send_large(1);
    drop(world.connections.recv().await.unwrap());
    assert!(server.file().await == (1, large.into()));
    let next = world.send_large(2);
    assert!(server.file().await == (2, next.into()));
    world.send_small(3);
    assert_eq!(server.file().await.0, 3);
}

#[tokio::test]
async fn a_lane_that_leads_to_another_process_ends_the_link() {
    let (mut world, _server) = World::with_lane().await;
    world.send_large(1);
    let (mut lane, _) = greeted(&mut world, "b").await;
    lane.enter().await;
    let reason = world.closed().await;
    assert!(reason.contains("another server"), "{reason}");
}

#[tokio::test]
async fn link_and_lane_end_together() {
    let (mut world, _server) = World::with_lane().await;
    world.send_large(1);
    let (mut lane, _) = greeted(&mut world, "a").await;
    lane.enter().await;
    lane.file().await;
    drop(lane);
    world.closed().await;

    let (mut world, server) = World::with_lane().await;
    world.send_large(1);
    let (mut lane, _) = greeted(&mut world, "a").await;
    lane.enter().await;
    lane.file().await;
    drop(server);
    world.closed().await;
    assert!(matches!(lane.reader.peek().await, Ok(None)));
}
