//! A balancer in this process.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::protocol::{Hello, Message, Prefix, Refusal, RefusalCode, Role, frame};
use crate::transport::{Connect, Connecting, Deadlines, Reader};

/// How many bytes a pipe buffers: few, so that a cut in the middle of a large file is one.
pub(super) const PIPE: usize = 64 * 1024;

/// How one connection goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// The connection cannot be made.
    pub(super) refused: bool,
    /// It is cut behind so many messages of the client.
    pub(super) cut_behind: Option<usize>,
    /// It is cut when so many bytes of one content have come.
    pub(super) cut_inside: Option<usize>,
    /// The receipts of the last message before the cut are not sent.
    pub(super) receipts_lost: bool,
    /// It says so before it is cut.
    pub(super) farewell: Option<RefusalCode>,
    /// `accepted` is all that is said.
    pub(super) only_accepted: bool,
}

/// A file that the balancer knows.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) number: u64,
    pub(super) title: String,
    pub(super) content: Bytes,
}

/// What the balancer has and has heard.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) scripts: VecDeque<Script>,
    pub(super) known: BTreeMap<String, Known>,
    pub(super) beginnings: BTreeMap<String, Vec<u8>>,
    /// How often a file under a key was taken.
    pub(super) taken: BTreeMap<String, usize>,
    pub(super) heard: Vec<Message>,
    pub(super) connections: usize,
    pub(super) attempts: Vec<Instant>,
    pub(super) dead: bool,
    /// Hears which file begins to come.
    pub(super) begun: Option<mpsc::UnboundedSender<u64>>,
}

/// A balancer in this process.
#[derive(Clone, Default)]
pub(super) struct Pretended(Arc<Mutex<World>>);

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

pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Pretended {
    pub(super) fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        let balancer = Self::default();
        balancer.world().scripts.extend(scripts);
        balancer
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(super) async fn serve(&self, stream: DuplexStream, script: Script) -> Result<(), Failed> {
        let (read, mut write) = tokio::io::split(stream);
        let mut reader = Reader::new(read, Deadlines::default());
        let mut hello = Vec::new();
        frame::encode_preface(&mut hello);
        frame::encode(&Message::from(Hello::of(Role::Balancer)), 0, &mut hello);
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
    pub(super) async fn answer(
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

    pub(super) fn offered(
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

    pub(super) fn keep_beginning(&self, key: &str, resumed: Option<Prefix>, content: &[u8]) {
        let mut world = self.world();
        let beginning = world.beginnings.entry(key.to_owned()).or_default();
        beginning.truncate(resumed.map_or(0, |prefix| usize::try_from(prefix.offset).unwrap()));
        beginning.extend_from_slice(content);
    }

    pub(super) fn put(
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
    pub(super) fn receipts(&self, id: u64, number: u64, script: &Script) -> Vec<Message> {
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

    pub(super) fn offers(&self) -> Vec<u64> {
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
    pub(super) fn puts(&self) -> Vec<(u64, String, u64)> {
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

pub(super) async fn say(write: &mut WriteHalf<DuplexStream>, message: &Message) -> io::Result<()> {
    let mut out = Vec::new();
    frame::encode(message, 0, &mut out);
    write.write_all(&out).await
}

/// A connection that is cut behind so many messages of the client.
pub(super) fn cut_behind(messages: usize) -> Script {
    Script {
        cut_behind: Some(messages),
        ..Script::default()
    }
}
