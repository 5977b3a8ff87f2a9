//! Transfers against a pretended balancer, whose connections are cut wherever a test says.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::*;
use crate::protocol::{Message, Prefix, Refusal, RefusalCode, Role, frame};
use crate::transport::{Connect, Connecting, Deadlines, Reader};

/// How much of a pipe is buffered: little, so that a cut in the middle of a large file is one.
const PIPE: usize = 64 * 1024;

/// The size of a large file.
const LARGE: usize = 3 * 1024 * 1024;

/// The size of a file that takes a while.
const HUGE: usize = 4 * LARGE;

/// How one connection goes.
#[derive(Debug, Clone, Default)]
struct Script {
    /// The connection cannot be made.
    refused: bool,
    /// It is cut behind so many messages of the client.
    cut_behind: Option<usize>,
    /// It is cut when so many bytes of one content have come.
    cut_inside: Option<usize>,
    /// The receipts of the last message before the cut are not sent.
    receipts_lost: bool,
    /// It says so before it is cut.
    farewell: Option<RefusalCode>,
    /// `accepted` is all that is said.
    only_accepted: bool,
}

/// A file that the balancer knows.
#[derive(Debug, Clone)]
struct Known {
    number: u64,
    title: String,
    content: Bytes,
}

/// What the balancer has and has heard.
#[derive(Debug, Default)]
struct World {
    scripts: VecDeque<Script>,
    known: BTreeMap<String, Known>,
    beginnings: BTreeMap<String, Vec<u8>>,
    /// How often a file under a key was taken.
    taken: BTreeMap<String, usize>,
    heard: Vec<Message>,
    connections: usize,
    attempts: Vec<Instant>,
    dead: bool,
    /// Hears which file begins to come.
    begun: Option<mpsc::UnboundedSender<u64>>,
}

/// A balancer in this process.
#[derive(Clone, Default)]
struct Pretended(Arc<Mutex<World>>);

impl Connect for Pretended {
    fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
        let script = {
            let mut world = self.world();
            world.attempts.push(Instant::now());
            world.scripts.pop_front().unwrap_or_default()
        };
        if script.refused {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let balancer = self.clone();
        tokio::spawn(async move {
            balancer.world().connections += 1;
            // A client that has what it wants goes away in the middle of anything.
            let _ = balancer.serve(theirs, script).await;
        });
        Box::pin(async { Ok(Box::new(ours) as crate::transport::BoxStream) })
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Pretended {
    fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        let balancer = Self::default();
        balancer.world().scripts.extend(scripts);
        balancer
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    async fn serve(&self, stream: DuplexStream, script: Script) -> Result<(), Failed> {
        let (read, mut write) = tokio::io::split(stream);
        let mut reader = Reader::new(read, Deadlines::default());
        let mut hello = Vec::new();
        frame::encode_preface(&mut hello);
        frame::encode(
            &Message::Hello {
                role: Role::Balancer,
                overloaded: None,
                identity: None,
                memory: None,
                instance: None,
                epoch: None,
            },
            0,
            &mut hello,
        );
        write.write_all(&hello).await?;
        reader.preface().await?;
        reader.frame().await?;
        let mut messages = 0;
        while script.cut_behind.is_none_or(|limit| messages < limit) {
            let Some(frame) = reader.frame().await? else {
                return Ok(());
            };
            messages += 1;
            self.world().heard.push(frame.message.clone());
            let Some(answers) = self.answer(frame, &mut reader, &script).await? else {
                return Ok(());
            };
            let is_lost = script.receipts_lost && script.cut_behind == Some(messages);
            for answer in answers.into_iter().filter(|_| !is_lost) {
                say(&mut write, &answer).await?;
            }
        }
        if let Some(code) = script.farewell {
            say(&mut write, &Message::Bye(Refusal::new(code, "so it goes"))).await?;
        }
        Ok(())
    }

    /// The answers to a message; none when the connection is cut in its content.
    async fn answer(
        &self,
        frame: crate::protocol::Frame,
        reader: &mut Reader<ReadHalf<DuplexStream>>,
        script: &Script,
    ) -> Result<Option<Vec<Message>>, Failed> {
        match frame.message {
            Message::Offer {
                id,
                key,
                size,
                crc32c,
            } => Ok(Some(self.offered(id, &key, (size, crc32c), script))),
            Message::Put {
                id,
                title,
                key,
                resumed,
            } => {
                self.world().begun.as_ref().map(|begun| begun.send(id));
                let key = key.expect("every file has a key").to_string();
                let mut content = Vec::new();
                let mut left = frame.content_len;
                while left > 0 {
                    let piece = reader.piece(left).await?;
                    left -= piece.len() as u64;
                    content.extend_from_slice(&piece);
                    if script
                        .cut_inside
                        .is_some_and(|limit| content.len() >= limit)
                    {
                        self.keep_beginning(&key, resumed, &content);
                        return Ok(None);
                    }
                }
                if frame.content_len > 0 {
                    reader.verify(crc32c::crc32c(&content)).await?;
                }
                Ok(Some(self.put(id, title, key, resumed, &content, script)))
            }
            other => panic!("a client does not say {other:?}"),
        }
    }

    fn offered(
        &self,
        id: u64,
        key: &str,
        (size, crc32c): (u64, Option<u32>),
        script: &Script,
    ) -> Vec<Message> {
        let world = self.world();
        if let Some(known) = world.known.get(key) {
            if (
                known.content.len() as u64,
                Some(crc32c::crc32c(&known.content)),
            ) != (size, crc32c)
            {
                return vec![Message::Refused {
                    id,
                    refusal: Refusal::new(RefusalCode::Conflict, "another conflict"),
                }];
            }
            return world.receipts(id, known.number, script);
        }
        let offset = world.beginnings.get(key).map_or(0, Vec::len) as u64;
        vec![Message::Wanted { id, offset }]
    }

    fn keep_beginning(&self, key: &str, resumed: Option<Prefix>, content: &[u8]) {
        let mut world = self.world();
        let beginning = world.beginnings.entry(key.to_owned()).or_default();
        beginning.truncate(resumed.map_or(0, |prefix| usize::try_from(prefix.offset).unwrap()));
        beginning.extend_from_slice(content);
    }

    fn put(
        &self,
        id: u64,
        title: String,
        key: String,
        resumed: Option<Prefix>,
        content: &[u8],
        script: &Script,
    ) -> Vec<Message> {
        let mut world = self.world();
        let refused = |code| {
            vec![Message::Refused {
                id,
                refusal: Refusal::new(code, format!("it has another {code}")),
            }]
        };
        let mut whole = Vec::new();
        if let Some(Prefix { offset, crc32c }) = resumed {
            whole = world.beginnings.remove(&key).unwrap_or_default();
            if whole.len() as u64 != offset || crc32c::crc32c(&whole) != crc32c {
                return refused(RefusalCode::Checksum);
            }
        }
        whole.extend_from_slice(content);
        if let Some(known) = world.known.get(&key) {
            if known.content != whole {
                return refused(RefusalCode::Conflict);
            }
            return world.receipts(id, known.number, script);
        }
        let number = world.known.len() as u64 + 1;
        *world.taken.entry(key.clone()).or_default() += 1;
        world.known.insert(
            key,
            Known {
                number,
                title,
                content: whole.into(),
            },
        );
        world.receipts(id, number, script)
    }
}

impl World {
    fn receipts(&self, id: u64, number: u64, script: &Script) -> Vec<Message> {
        let accepted = Message::Accepted { id, number };
        match self.dead {
            _ if script.only_accepted => vec![accepted],
            true => vec![
                accepted,
                Message::Dead {
                    id,
                    number,
                    reason: "too large".to_owned(),
                },
            ],
            false => vec![
                accepted,
                Message::Delivered {
                    id,
                    number,
                    server: "s".into(),
                    confirmed: true,
                },
            ],
        }
    }

    fn offers(&self) -> Vec<u64> {
        let offers = self.heard.iter();
        offers
            .filter_map(|message| {
                if let Message::Offer { id, .. } = message {
                    Some(*id)
                } else {
                    None
                }
            })
            .collect()
    }

    /// For each `put` its file, its key and its offset.
    fn puts(&self) -> Vec<(u64, String, u64)> {
        let puts = self.heard.iter().filter_map(|message| match message {
            Message::Put {
                id, key, resumed, ..
            } => Some((
                *id,
                key.as_deref()?.to_owned(),
                resumed.map_or(0, |prefix| prefix.offset),
            )),
            _ => None,
        });
        puts.collect()
    }
}

async fn say(write: &mut WriteHalf<DuplexStream>, message: &Message) -> io::Result<()> {
    let mut out = Vec::new();
    frame::encode(message, 0, &mut out);
    write.write_all(&out).await
}

/// Files to send, and what became of them.
struct Sending {
    dir: TempDir,
    sources: Vec<Source>,
    options: Options,
    tally: watch::Sender<Tally>,
}

impl Sending {
    /// Files of these sizes, called by their places.
    fn new(sizes: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = (0..sizes.len())
            .map(|file| Source::named(&dir.path().join(file.to_string()), Form::Raw));
        let options = Options {
            wait: Wait::Delivered,
            keys: Keys::default(),
            retry: Duration::from_mins(1),
            changed: Changed::Retry,
        };
        let sending = Self {
            sources: sources.collect(),
            dir,
            options,
            tally: watch::Sender::new(Tally::new(0)),
        };
        for (file, size) in sizes.iter().enumerate() {
            sending.write(file, &noise(file, *size));
        }
        sending
    }

    fn write(&self, file: usize, content: &[u8]) {
        std::fs::write(self.path(file), content).unwrap();
    }

    fn path(&self, file: usize) -> &Path {
        assert!(self.sources[file].path.starts_with(self.dir.path()));
        &self.sources[file].path
    }

    async fn run(&self, balancer: &Pretended) -> Result<(), ClientError> {
        let sent = transfer(
            balancer,
            "pretended",
            &self.sources,
            &self.options,
            &self.tally,
        );
        tokio::time::timeout(Duration::from_hours(1), sent)
            .await
            .expect("it ends")
    }

    fn fates(&self) -> Vec<Fate> {
        self.tally.borrow().fates.clone()
    }

    /// Checks that every file is there once, whole, and counted once.
    fn check(&self, balancer: &Pretended) {
        let (world, tally) = (balancer.world(), self.tally.borrow());
        assert_eq!(
            (tally.delivered, tally.accepted),
            (self.sources.len(), self.sources.len()),
            "{tally:?}"
        );
        assert_eq!(
            (tally.failed(), tally.undecided(), tally.unaccepted()),
            (0, 0, 0)
        );
        assert_eq!(tally.settled.len(), self.sources.len());
        assert!(
            world.taken.values().all(|times| *times == 1),
            "{:?}",
            world.taken
        );
        assert_eq!(world.known.len(), self.sources.len());
        for (file, source) in self.sources.iter().enumerate() {
            let content = std::fs::read(&source.path).unwrap();
            let known = &world.known[&*self.options.keys.of(file, source)];
            assert!(
                known.content == content && known.title == source.title,
                "file {file}"
            );
            assert_eq!(tally.sent[file].size, Some(content.len() as u64));
            assert_eq!(
                tally.sent[file].hash,
                Some(blake3::hash(&content)),
                "file {file}"
            );
            assert!(
                matches!(tally.fates[file], Fate::Delivered { number, .. } if number == known.number)
            );
        }
    }
}

/// Bytes that differ from file to file.
fn noise(file: usize, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new()
        .update(&file.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn cut_behind(messages: usize) -> Script {
    Script {
        cut_behind: Some(messages),
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_anywhere_loses_nothing_and_doubles_nothing() {
    for receipts_lost in [false, true] {
        for first in 0..12 {
            for second in [0, 1, 5] {
                let cut = |behind| Script {
                    receipts_lost,
                    ..cut_behind(behind)
                };
                let balancer = Pretended::new([cut(first), cut(second)]);
                let sending = Sending::new(&[1, 0, 100, 7, 20_000, 3, 70_000, 1, 2, 3]);
                sending.run(&balancer).await.unwrap();
                sending.check(&balancer);
                let keys: BTreeMap<u64, Vec<String>> = balancer.world().puts().into_iter().fold(
                    BTreeMap::new(),
                    |mut keys, (id, key, _)| {
                        keys.entry(id).or_insert_with(Vec::new).push(key);
                        keys
                    },
                );
                assert!(
                    keys.values()
                        .all(|keys| keys.iter().all(|key| *key == keys[0])),
                    "{keys:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_offered_where_nothing_was_lost() {
    let balancer = Pretended::default();
    let sending = Sending::new(&[5, LARGE, 5]);
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);
    let world = balancer.world();
    assert_eq!((world.offers().len(), world.connections), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_file_is_asked_about_and_not_sent_again() {
    let balancer = Pretended::new([Script {
        only_accepted: true,
        ..cut_behind(3)
    }]);
    let sending = Sending::new(&[1, 2, 3]);
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);
    let world = balancer.world();
    assert_eq!((world.offers(), world.puts().len()), (vec![0, 1, 2], 3));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_file_is_not_asked_about_when_accepted_is_enough() {
    let balancer = Pretended::new([Script {
        only_accepted: true,
        ..cut_behind(2)
    }]);
    let mut sending = Sending::new(&[1, 2, 3]);
    sending.options.wait = Wait::Accepted;
    sending.run(&balancer).await.unwrap();
    assert_eq!(sending.tally.borrow().accepted, 3);
    assert!(balancer.world().offers().is_empty());
    assert_eq!(balancer.world().puts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_large_file_goes_on_where_it_was_cut() {
    for cut in [1, PIPE, LARGE / 2, LARGE] {
        let balancer = Pretended::new([Script {
            cut_inside: Some(cut),
            ..Script::default()
        }]);
        let sending = Sending::new(&[LARGE, 5]);
        sending.run(&balancer).await.unwrap();
        sending.check(&balancer);
        let world = balancer.world();
        assert_eq!(world.offers(), [0]);
        let [(0, _, 0), .., (0, _, offset)] = &world
            .puts()
            .into_iter()
            .filter(|put| put.0 == 0)
            .collect::<Vec<_>>()[..]
        else {
            panic!("{:?}", world.puts())
        };
        assert!(*offset >= cut as u64, "{offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_payload_in_memory_goes_on_where_it_was_cut() {
    let balancer = Pretended::new([Script {
        cut_inside: Some(LARGE / 2),
        ..Script::default()
    }]);
    let mut sending = Sending::new(&[0]);
    let payload = serde_json::json!({"title": "inner", "content": "x".repeat(LARGE)});
    sending.write(0, payload.to_string().as_bytes());
    sending.sources[0].form = Form::Payload;
    sending.run(&balancer).await.unwrap();
    let world = balancer.world();
    let known = world.known.values().next().unwrap();
    assert_eq!(
        (
            known.title.as_str(),
            known.content.len(),
            world.puts().len()
        ),
        ("inner", LARGE, 2)
    );
    let tally = sending.tally.borrow();
    assert_eq!(tally.sent[0].title.as_deref(), Some("inner"));
    assert_eq!(
        tally.sent[0].hash,
        Some(blake3::hash("x".repeat(LARGE).as_bytes()))
    );
}

#[tokio::test(start_paused = true)]
async fn another_beginning_makes_a_file_start_over_once() {
    let balancer = Pretended::new([Script {
        cut_inside: Some(LARGE / 2),
        ..Script::default()
    }]);
    let sending = Sending::new(&[LARGE]);
    let changed = noise(99, LARGE);
    let run = async {
        // The file changes while the connection is lost.
        let mut tally = sending.tally.subscribe();
        tally.wait_for(|tally| tally.reconnecting).await.unwrap();
        sending.write(0, &changed);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = sending.run(&balancer) => result.unwrap(),
        () = run => {}
    }
    sending.check(&balancer);
    let offsets: Vec<bool> = balancer
        .world()
        .puts()
        .iter()
        .map(|(_, _, offset)| *offset > 0)
        .collect();
    assert_eq!(offsets, [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_key_prefix_lets_another_run_go_on() {
    let balancer = Pretended::new([Script {
        cut_inside: Some(LARGE / 2),
        ..Script::default()
    }]);
    let mut sending = Sending::new(&[5, LARGE]);
    sending.options.keys = Keys::titled("p/").unwrap();
    sending.options.retry = Duration::ZERO;
    sending.run(&balancer).await.unwrap_err();
    assert_eq!(
        balancer.world().offers(),
        [1],
        "large files are offered first"
    );
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);
    assert!(
        balancer
            .world()
            .puts()
            .iter()
            .any(|(id, _, offset)| *id == 1 && *offset >= LARGE as u64 / 2)
    );
    sending.run(&balancer).await.unwrap();
    assert_eq!(sending.tally.borrow().delivered, 2);
    let hash = sending.tally.borrow().sent[1].hash;
    assert_eq!(
        hash,
        Some(blake3::hash(&noise(1, LARGE))),
        "what was only offered has a hash, too"
    );
    assert_eq!(
        balancer
            .world()
            .puts()
            .iter()
            .filter(|put| put.0 == 1)
            .count(),
        2,
        "the third run sends nothing large"
    );
    assert!(balancer.world().taken.values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_file_that_the_balancer_no_longer_knows_is_forgotten_and_not_sent_again() {
    let balancer = Pretended::new([Script {
        only_accepted: true,
        ..cut_behind(2)
    }]);
    let sending = Sending::new(&[1, LARGE, 3]);
    let forget = async {
        sending
            .tally
            .subscribe()
            .wait_for(|tally| tally.reconnecting)
            .await
            .unwrap();
        balancer.world().known.clear();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = sending.run(&balancer) => result.unwrap(),
        () = forget => {}
    }
    let fates = sending.fates();
    assert_eq!(
        fates[..2],
        [Fate::Forgotten { number: 1 }, Fate::Forgotten { number: 2 }]
    );
    assert!(matches!(fates[2], Fate::Delivered { .. }));
    assert_eq!(
        (
            sending.tally.borrow().forgotten,
            balancer.world().puts().len()
        ),
        (2, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn dead_letters_end_the_waiting() {
    let balancer = Pretended::default();
    balancer.world().dead = true;
    let sending = Sending::new(&[1]);
    sending.run(&balancer).await.unwrap();
    assert_eq!(
        sending.fates(),
        [Fate::Dead {
            number: 1,
            reason: "too large".to_owned()
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn other_content_under_a_known_key_is_told() {
    let balancer = Pretended::default();
    let mut sending = Sending::new(&[5]);
    sending.options.keys = Keys::titled("p/").unwrap();
    sending.run(&balancer).await.unwrap();
    sending.write(0, b"other");
    sending.run(&balancer).await.unwrap();
    assert!(matches!(&sending.fates()[0], Fate::Refused { reason } if reason.contains("conflict")));
}

/// A large file that is only offered was once taken for the same when its size was: what had
/// changed was reported as delivered, and never sent.
#[tokio::test(start_paused = true)]
async fn other_content_of_the_same_size_under_a_known_key_is_told() {
    let balancer = Pretended::default();
    let mut sending = Sending::new(&[LARGE]);
    sending.options.keys = Keys::titled("p/").unwrap();
    sending.run(&balancer).await.unwrap();
    sending.write(0, &noise(7, LARGE));
    sending.run(&balancer).await.unwrap();
    assert!(
        matches!(&sending.fates()[0], Fate::Refused { reason } if reason.contains("conflict")),
        "{:?}",
        sending.fates()
    );
    assert_eq!(balancer.world().puts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_stays_away_ends_it_when_the_time_is_up() {
    let away = || {
        (0..1000).map(|_| Script {
            refused: true,
            ..Script::default()
        })
    };
    let balancer = Pretended::new(std::iter::once(cut_behind(1)).chain(away()));
    let mut sending = Sending::new(&[1, 2]);
    let started = Instant::now();
    let error = sending.run(&balancer).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error}");
    assert!(
        (60..62).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
    let attempts = balancer.world().attempts.len();
    assert!((30..80).contains(&attempts), "{attempts}");
    assert_eq!(sending.tally.borrow().unaccepted(), 1);

    // Without a retry it is told at once, as is a first connection that cannot be made.
    let balancer = Pretended::new([cut_behind(1)]);
    sending.options.retry = Duration::ZERO;
    assert!(matches!(
        sending.run(&balancer).await,
        Err(ClientError::Lost(_))
    ));
    assert_eq!(balancer.world().attempts.len(), 1);
    sending.options.retry = Duration::from_mins(1);
    let balancer = Pretended::new(away());
    assert!(matches!(
        sending.run(&balancer).await,
        Err(ClientError::Connect { .. })
    ));
    assert_eq!(balancer.world().attempts.len(), 1);
}

/// Connections that are made and lost before anything is said are no end of the time without one.
#[tokio::test(start_paused = true)]
async fn a_balancer_that_only_ever_hangs_up_is_not_tried_for_ever() {
    let balancer = Pretended::new((0..1000).map(|_| cut_behind(0)));
    let sending = Sending::new(&[1]);
    let started = Instant::now();
    sending.run(&balancer).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(70),
        "{:?}",
        started.elapsed()
    );
    assert!(balancer.world().attempts.len() < 80);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_balancer_is_waited_for_and_one_that_complains_is_not() {
    let stopping = Script {
        farewell: Some(RefusalCode::Stopping),
        ..cut_behind(1)
    };
    let balancer = Pretended::new([
        stopping.clone(),
        Script {
            refused: true,
            ..Script::default()
        },
    ]);
    let mut sending = Sending::new(&[1, 2, 3]);
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);

    sending.options.retry = Duration::ZERO;
    let balancer = Pretended::new([stopping]);
    assert!(
        matches!(sending.run(&balancer).await, Err(ClientError::Stopped(reason)) if reason == "so it goes")
    );

    sending.options.retry = Duration::from_mins(1);
    let balancer = Pretended::new([Script {
        farewell: Some(RefusalCode::Malformed),
        ..cut_behind(1)
    }]);
    assert!(matches!(
        sending.run(&balancer).await,
        Err(ClientError::Closed(_))
    ));
    assert_eq!(balancer.world().attempts.len(), 1);
}

/// How somebody else writes to a file that is being sent.
#[derive(Debug, Clone, Copy)]
enum Meddling {
    Cut,
    Append,
    Overwrite,
    Replace,
}

impl Sending {
    /// Changes the content of a file, and keeps its size where that makes sense.
    fn meddle(&self, file: usize, how: Meddling, round: usize) {
        let open = || {
            std::fs::File::options()
                .write(true)
                .open(self.path(file))
                .unwrap()
        };
        match how {
            Meddling::Cut => open().set_len(1000).unwrap(),
            Meddling::Append => {
                let len = open().metadata().unwrap().len();
                std::os::unix::fs::FileExt::write_all_at(&open(), b"more", len).unwrap();
            }
            Meddling::Overwrite => {
                std::os::unix::fs::FileExt::write_all_at(&open(), &round.to_le_bytes(), 0).unwrap();
            }
            Meddling::Replace => {
                let other = self.dir.path().join("other");
                std::fs::write(&other, noise(round + 50, HUGE)).unwrap();
                std::fs::rename(&other, self.path(file)).unwrap();
            }
        }
    }

    /// Sends, and has a file meddled with each time that its content begins to be sent, up to so
    /// often.
    async fn run_meddled(&self, balancer: &Pretended, how: Meddling, times: usize) {
        let (begun, mut begins) = mpsc::unbounded_channel();
        balancer.world().begun = Some(begun);
        let meddle = async {
            for round in 0..times {
                while begins.recv().await != Some(1) {}
                self.meddle(1, how, round);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = meddle => {}
            result = self.run(balancer) => result.unwrap(),
        }
    }
}

/// What came of a file that changed while it was sent was once delivered as if it were the file.
#[tokio::test(start_paused = true)]
async fn a_large_file_that_changes_while_it_is_sent_is_sent_anew() {
    for how in [
        Meddling::Cut,
        Meddling::Append,
        Meddling::Overwrite,
        Meddling::Replace,
    ] {
        let balancer = Pretended::default();
        let sending = Sending::new(&[1, HUGE, 3]);
        sending.run_meddled(&balancer, how, 1).await;
        sending.check(&balancer);
        assert_eq!(balancer.world().connections, 2, "{how:?}");
        assert_eq!(sending.tally.borrow().sent[1].change, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_never_stands_still_is_not_sent_and_the_others_go_on() {
    for (changed, tries) in [(Changed::Retry, 6), (Changed::Fail, 1)] {
        let balancer = Pretended::default();
        let mut sending = Sending::new(&[1, HUGE, 3]);
        sending.options.changed = changed;
        sending
            .run_meddled(&balancer, Meddling::Overwrite, 100)
            .await;
        let fates = sending.fates();
        assert!(
            matches!(&fates[1], Fate::Changed { reason } if reason.contains("written to")),
            "{fates:?}"
        );
        assert!(
            matches!(
                (&fates[0], &fates[2]),
                (Fate::Delivered { .. }, Fate::Delivered { .. })
            ),
            "{fates:?}"
        );
        assert_eq!(sending.tally.borrow().failed(), 1);
        let world = balancer.world();
        assert_eq!(
            (
                world.known.len(),
                world.puts().iter().filter(|put| put.0 == 1).count()
            ),
            (2, tries)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_is_sent_all_the_same_when_that_is_wanted_and_it_is_told() {
    let balancer = Pretended::default();
    let mut sending = Sending::new(&[1, HUGE, 3]);
    sending.options.changed = Changed::Send;
    sending.run_meddled(&balancer, Meddling::Append, 1).await;
    let tally = sending.tally.borrow();
    assert_eq!((tally.delivered, tally.failed()), (3, 0));
    assert!(
        tally.sent[1]
            .change
            .as_deref()
            .is_some_and(|change| change.contains("bytes before")),
        "{:?}",
        tally.sent
    );
    assert_eq!(tally.sent[1].hash, Some(blake3::hash(&noise(1, HUGE))));
    assert_eq!(balancer.world().connections, 1);
}

/// What was sent whole may have been accepted: it is asked about before the file, which is another
/// one by now, is sent.
#[tokio::test(start_paused = true)]
async fn a_file_that_changes_between_two_attempts_is_what_the_balancer_has_of_it() {
    for known in [true, false] {
        for size in [5, LARGE] {
            let balancer = Pretended::new([Script {
                receipts_lost: true,
                ..cut_behind(1)
            }]);
            let sending = Sending::new(&[size]);
            let change = async {
                sending
                    .tally
                    .subscribe()
                    .wait_for(|tally| tally.reconnecting)
                    .await
                    .unwrap();
                sending.write(0, &noise(9, size));
                if !known {
                    balancer.world().known.clear();
                    balancer.world().taken.clear();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                result = sending.run(&balancer) => result.unwrap(),
                () = change => {}
            }
            let expected = noise(if known { 0 } else { 9 }, size);
            let world = balancer.world();
            assert!(
                world.known.values().all(|known| known.content == expected),
                "{known} {size}"
            );
            assert!(
                matches!(sending.fates()[0], Fate::Delivered { .. }),
                "{:?}",
                sending.fates()
            );
            assert_eq!(
                sending.tally.borrow().sent[0].hash,
                Some(blake3::hash(&expected)),
                "{known} {size}"
            );
        }
    }
}

/// A file that was sent may be with the balancer, though it cannot be read again: it is asked for
/// first.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_when_it_is_to_be_sent_again_is_asked_about() {
    for known in [true, false] {
        let cut = Script {
            receipts_lost: true,
            ..cut_behind(1)
        };
        let balancer = Pretended::new([cut]);
        let sending = Sending::new(&[5]);
        let remove = async {
            sending
                .tally
                .subscribe()
                .wait_for(|tally| tally.reconnecting)
                .await
                .unwrap();
            std::fs::remove_file(sending.path(0)).unwrap();
            if !known {
                balancer.world().known.clear();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = sending.run(&balancer) => result.unwrap(),
            () = remove => {}
        }
        let fate = sending.fates().remove(0);
        assert_eq!(matches!(fate, Fate::Delivered { .. }), known, "{fate:?}");
        assert_eq!(matches!(fate, Fate::Unreadable { .. }), !known, "{fate:?}");
    }
}

/// A balancer may say anything; nothing is counted twice and nothing panics.
#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_an_error_and_not_tried_again() {
    struct Babbling;
    impl Connect for Babbling {
        fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
            let (ours, mut theirs) = tokio::io::duplex(PIPE);
            tokio::spawn(async move {
                let mut out = Vec::new();
                frame::encode_preface(&mut out);
                let hello = Message::Hello {
                    role: Role::Balancer,
                    overloaded: None,
                    identity: None,
                    memory: None,
                    instance: None,
                    epoch: None,
                };
                frame::encode(&hello, 0, &mut out);
                out.extend_from_slice(&[0; 64]);
                theirs.write_all(&out).await.unwrap();
                let mut rest = Vec::new();
                let _ = theirs.read_to_end(&mut rest).await;
            });
            Box::pin(async { Ok(Box::new(ours) as crate::transport::BoxStream) })
        }
    }
    let sending = Sending::new(&[5]);
    let result = transfer(
        &Babbling,
        "x",
        &sending.sources,
        &sending.options,
        &sending.tally,
    )
    .await;
    assert!(
        matches!(result, Err(ClientError::Nonsense(_))),
        "{result:?}"
    );
}
