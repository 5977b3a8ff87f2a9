//! What the closes of an old-style server say.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use super::{SENT, World, old_style_file};
use crate::balancer::dispatch::LinkEvent;
use crate::protocol::json::DISCOVERY_REQUEST;
use crate::queue::FileBody;

impl World {
    fn send_to_old(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.send(number, FileBody::Memory(Bytes::from_static(SENT), None));
        }
    }

    /// The connections of the next files, sorted by the files' numbers.
    async fn with_the_server(&mut self, files: usize) -> Vec<DuplexStream> {
        let mut streams = Vec::new();
        while streams.len() < files {
            let (number, _, stream) = old_style_file(self).await;
            streams.push((number, stream));
        }
        streams.sort_by_key(|(number, _)| *number);
        streams.into_iter().map(|(_, stream)| stream).collect()
    }

    /// The link asks whether the server is there.
    async fn question(&mut self) -> DuplexStream {
        let mut stream = self.connections.recv().await.unwrap();
        let mut asked = vec![0; DISCOVERY_REQUEST.len()];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, DISCOVERY_REQUEST);
        stream
    }

    async fn answer(&mut self, answer: &[u8]) {
        let mut stream = self.question().await;
        stream.write_all(answer).await.unwrap();
    }

    /// Nothing is told for so long.
    async fn is_quiet(&mut self, time: Duration) {
        sleep(time).await;
        assert!(self.hub.is_empty(), "{:?}", self.hub.try_recv());
    }

    async fn lost(&mut self) -> (u64, String) {
        match self.event().await {
            LinkEvent::Lost { number, reason } => (number, reason),
            other => panic!("{other:?}"),
        }
    }

    async fn stored_by_old(&mut self) -> Vec<u64> {
        match self.event().await {
            LinkEvent::Stored {
                numbers,
                confirmed: false,
            } => numbers,
            other => panic!("{other:?}"),
        }
    }
}

/// It was delivered as soon as it was sent, and lost when the server was killed over its work.
#[tokio::test(start_paused = true)]
async fn a_file_is_stored_once_its_server_has_closed_and_was_there_after_that() {
    let mut world = World::old_style().await;
    world.send_to_old([1]);
    let stream = world.with_the_server(1).await;
    world.is_quiet(Duration::from_secs(50)).await;
    drop(stream);
    let mut question = world.question().await;
    world.is_quiet(Duration::from_secs(5)).await;
    question.write_all(&[1]).await.unwrap();
    assert_eq!(
        world.stored_by_old().await,
        [1],
        "also an overloaded one has saved it"
    );
}

/// One question answers for all files that were closed before it, and for none that were closed
/// after it.
#[tokio::test(start_paused = true)]
async fn one_question_answers_for_all_files_closed_before_it() {
    let mut world = World::old_style().await;
    world.send_to_old(1..=3);
    let mut streams = world.with_the_server(3).await;
    drop(streams.pop());
    let mut question = world.question().await;
    drop(streams);
    world.is_quiet(Duration::from_millis(100)).await;
    question.write_all(&[0]).await.unwrap();
    assert_eq!(world.stored_by_old().await, [3]);
    world.answer(&[0]).await;
    let mut stored = world.stored_by_old().await;
    stored.sort_unstable();
    assert_eq!(stored, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_closed_that_is_gone_after_that_is_in_doubt() {
    // It closes again without an answer, or somebody else is there.
    for answer in [&b""[..], b"\xb1", b"H"] {
        let mut world = World::old_style().await;
        world.send_to_old([1]);
        drop(world.with_the_server(1).await);
        world.answer(answer).await;
        let (number, reason) = world.lost().await;
        assert_eq!(number, 1);
        assert!(reason.contains("was not there after that"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_late_is_asked_again_until_its_patience_is_over() {
    let mut world = World::old_style().await;
    world.send_to_old([1, 2]);
    let mut streams = world.with_the_server(2).await;
    drop(streams.pop());
    let late = world.question().await;
    world.answer(&[0]).await;
    assert_eq!(world.stored_by_old().await, [2]);
    drop((late, streams));
    let started = Instant::now();
    let mut questions = Vec::new();
    let (number, reason) = loop {
        tokio::select! {
            question = world.question() => questions.push(question),
            () = sleep(Duration::from_secs(61)) => break world.lost().await,
        }
    };
    assert_eq!(number, 1);
    assert!(reason.contains("no answer within 60s"), "{reason}");
    assert!(questions.len() >= 5 && started.elapsed() >= Duration::from_mins(1));
}

/// It answers whatever is no file to it.
#[tokio::test(start_paused = true)]
async fn an_answer_to_a_file_leaves_the_file_in_doubt() {
    let mut world = World::old_style().await;
    world.send_to_old([1]);
    let mut streams = world.with_the_server(1).await;
    streams[0].write_all(&[0]).await.unwrap();
    let (number, reason) = world.lost().await;
    assert!(number == 1 && reason.contains("answered"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_closed_in_time_is_in_doubt_and_others_go_on() {
    let mut world = World::old_style().await;
    world.send_to_old([1, 2]);
    let mut streams = world.with_the_server(2).await;
    sleep(Duration::from_secs(30)).await;
    drop(streams.pop());
    world.answer(&[0]).await;
    assert_eq!(world.stored_by_old().await, [2]);
    let (number, reason) = world.lost().await;
    assert!(number == 1 && reason.contains("within 60s"), "{reason}");
    world.send_to_old([3]);
    drop(world.with_the_server(1).await);
    world.answer(&[0]).await;
    assert_eq!(world.stored_by_old().await, [3]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_nothing_is_silent() {
    let mut world = World::old_style().await;
    world.send_to_old([1, 2]);
    let streams = world.with_the_server(2).await;
    match world.event().await {
        LinkEvent::Silent(reason) => assert!(reason.contains("within 60s"), "{reason}"),
        other => panic!("{other:?}"),
    }
    drop(streams);
    assert!(world.hub.recv().await.is_none(), "the link has ended");
}

/// Its backlog is short, and it starts a thread for each. Without descriptors to borrow there is
/// room for three files beside the question.
#[tokio::test(start_paused = true)]
async fn files_wait_for_a_connection_and_when_there_is_none_all_come_back() {
    let mut world = World::old_style().await;
    world.send_to_old(1..=10);
    let mut streams = world.with_the_server(3).await;
    world.is_quiet(Duration::from_secs(1)).await;
    assert!(world.connections.is_empty());
    drop(streams.pop());
    let (number, _, fourth) = old_style_file(&mut world).await;
    assert_eq!(number, 4);
    world.answer(&[0]).await;
    assert_eq!(world.stored_by_old().await, [3]);

    // Nobody listens any more.
    world.connections.close();
    drop(fourth);
    let mut lost: Vec<u64> = Vec::new();
    while lost.len() < 7 {
        lost.push(world.lost().await.0);
    }
    lost.sort_unstable();
    assert_eq!(lost, [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(streams.len(), 2, "two are with the server");
}
