//! Hands batches of files over, each over a connection of its own, for as long as it takes.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::checksum;
use crate::client::{
    self, Changed, ClientError, Fate, Keys, KnownFile, Options, Seen, Source, Tally, Wait, Way,
};

/// Longest time between a receipt and its effect.
const TICK: Duration = Duration::from_millis(25);

/// The longest wait between attempts to reach the balancer.
const LONGEST: Duration = Duration::from_secs(5);

/// Bytes of a file that are read at once to sum it.
const STEP: usize = 256 * 1024;

/// A file to hand over.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its entry.
    pub(super) n: u64,
    pub(super) source: Source,
    pub(super) known: KnownFile,
    /// When it was handed over first, in seconds since 1970.
    pub(super) at: u64,
    /// Whether an earlier attempt may have handed it over.
    pub(super) is_known: bool,
    /// The request number under which the balancer has it.
    pub(super) accepted: Option<u64>,
    /// The size and the CRC32C of its content, if they are known.
    pub(super) sums: Option<(u64, u32)>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The balancer has it.
    Accepted { number: u64 },
    /// A server has it.
    Delivered { number: u64, server: String },
    /// It is not at fault, and may be taken later.
    Later { reason: String },
    /// It cannot be handed over.
    Failed { reason: String },
    /// It could not be read.
    Unreadable { reason: String },
    /// It is not the file any more that was taken.
    Changed { reason: String },
}

/// News of a batch.
#[derive(Debug)]
pub(super) enum News {
    /// What became of files, by their entries.
    Fates(Vec<(u64, What)>),
    /// The balancer has all of the batch.
    Uploaded(u64),
    /// The balancer cannot be reached, or does not let us in.
    Away(ClientError),
    /// The batch has ended. These files it has not ended with.
    Ended(u64, Vec<Item>),
}

/// A batch of files, and where its news go.
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) items: Vec<Item>,
    pub(super) until: Wait,
    /// For how long the balancer surely remembers a key.
    pub(super) remembered: Duration,
    pub(super) tell: mpsc::Sender<News>,
    pub(super) cancel: CancellationToken,
}

impl Batch {
    /// Hands the files over, until each has its end or the batch is cancelled.
    pub(super) async fn carry(mut self, way: Way) {
        let (tally, watched) = watch::channel(Tally::new(self.items.len()));
        let sources: Vec<Source> = self.items.iter().map(|item| item.source.clone()).collect();
        let files: Arc<[KnownFile]> = self.items.iter().map(|item| item.known.clone()).collect();
        let may_be_there = self.items.iter().any(|item| item.is_known);
        let mut options = Options {
            wait: self.until,
            keys: Keys::Known {
                files,
                may_be_there,
            },
            // Short of what the balancer remembers: then it is asked before anything is sent again.
            retry: (self.remembered / 2).min(Duration::from_mins(10)),
            changed: Changed::Fail,
            hashed: false,
        };
        let mut told = vec![Told::Nothing; self.items.len()];
        let mut wait = Duration::from_millis(100);
        let cancel = self.cancel.clone();
        loop {
            if self.ask_about_old(&tally, &mut told).await {
                options.wait = Wait::Delivered;
            }
            let ended = tokio::select! {
                ended = client::resume(&way, &sources, &options, &tally) => ended,
                never = self.report(watched.clone(), &mut told) => match never {},
                () = cancel.cancelled() => break,
            };
            let news = self.news(&tally.borrow(), &mut told);
            let has_heard = self.tell_fates(news).await;
            let Err(error) = ended else {
                break;
            };
            if has_heard {
                wait = Duration::from_millis(100);
            }
            self.tell(News::Away(error)).await;
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = cancel.cancelled() => break,
            }
            wait = (wait * 2).min(LONGEST);
        }
        let (news, left) = {
            let tally = tally.borrow();
            let news = self.news(&tally, &mut told);
            (news, self.left(&tally, &told))
        };
        self.tell_fates(news).await;
        self.tell(News::Ended(self.id, left)).await;
    }

    /// Files that the balancer has, and files that it may have had for longer than it remembers, are
    /// only asked about. Says whether there are any.
    async fn ask_about_old(&mut self, tally: &watch::Sender<Tally>, told: &mut [Told]) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut asks = false;
        for (place, (item, told)) in self.items.iter_mut().zip(told).enumerate() {
            let (is_pending, sent) = {
                let tally = tally.borrow();
                let sent = tally
                    .sent
                    .get(place)
                    .and_then(|sent| sent.size.zip(sent.crc32c));
                (tally.fates.get(place) == Some(&Fate::Pending), sent)
            };
            let age = now.saturating_sub(Duration::from_secs(item.at));
            let is_old = (item.is_known || sent.is_some()) && age >= self.remembered;
            if !is_pending || (item.accepted.is_none() && !is_old) {
                continue;
            }
            if item.sums.is_none() {
                item.sums = sent;
            }
            if item.sums.is_none() {
                let (path, seen) = (item.source.path.clone(), item.known.seen);
                let summed = tokio::task::spawn_blocking(move || sum(&path, &seen)).await;
                match summed.map_err(io::Error::other).flatten() {
                    Ok(sums) => item.sums = sums,
                    Err(error) => {
                        tally.send_modify(|tally| tally.unreadable(place, error.to_string()));
                        continue;
                    }
                }
            }
            let Some(sums) = item.sums else {
                let reason = "it changed since it was handed over".to_owned();
                tally.send_modify(|tally| tally.changed(place, reason));
                continue;
            };
            asks = true;
            *told = Told::Accepted;
            tally.send_modify(|tally| tally.had_before(place, item.accepted.unwrap_or(0), sums));
        }
        asks
    }

    /// Tells news until it is dropped.
    async fn report(
        &self,
        mut tally: watch::Receiver<Tally>,
        told: &mut [Told],
    ) -> std::convert::Infallible {
        let (mut is_away, mut is_uploaded) = (false, false);
        loop {
            let (news, reconnecting, has_all) = {
                let tally = tally.borrow_and_update();
                let news = self.news(&tally, told);
                (news, tally.reconnecting, tally.unaccepted() == 0)
            };
            self.tell_fates(news).await;
            if reconnecting && !is_away {
                let lost = ClientError::Lost("it is being made again".to_owned());
                self.tell(News::Away(lost)).await;
            }
            is_away = reconnecting;
            if has_all && !is_uploaded {
                is_uploaded = true;
                self.tell(News::Uploaded(self.id)).await;
            }
            tokio::time::sleep(TICK).await;
            if tally.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A watcher that has ended needs no news.
    async fn tell(&self, news: News) {
        let _ = self.tell.send(news).await;
    }

    /// Says whether there was any.
    async fn tell_fates(&self, fates: Vec<(u64, What)>) -> bool {
        let is_any = !fates.is_empty();
        if is_any {
            self.tell(News::Fates(fates)).await;
        }
        is_any
    }

    /// What is new.
    fn news(&self, tally: &Tally, told: &mut [Told]) -> Vec<(u64, What)> {
        let mut news = Vec::new();
        let places = tally.fates.iter().zip(told).zip(&self.items).enumerate();
        for (place, ((fate, told), item)) in places {
            let now = match fate {
                Fate::Pending => Told::Nothing,
                Fate::Accepted { .. } => Told::Accepted,
                _ => Told::All,
            };
            if *told < now {
                *told = now;
                news.push((item.n, what(fate, tally.passing.contains(&place))));
            }
        }
        news
    }

    /// The files that have no end yet.
    fn left(&self, tally: &Tally, told: &[Told]) -> Vec<Item> {
        let places = self.items.iter().zip(told).enumerate();
        let left = places.filter(|(_, (_, told))| **told != Told::All);
        left.map(|(place, (item, _))| {
            let sent = tally.sent.get(place);
            let sums = sent.and_then(|sent| sent.size.zip(sent.crc32c));
            let accepted = match tally.fates.get(place) {
                Some(Fate::Accepted { number }) if *number > 0 => Some(*number),
                _ => item.accepted,
            };
            Item {
                is_known: item.is_known || sums.is_some(),
                accepted,
                sums: sums.or(item.sums),
                ..item.clone()
            }
        })
        .collect()
    }
}

/// What was told of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Told {
    Nothing,
    Accepted,
    All,
}

fn what(fate: &Fate, is_passing: bool) -> What {
    match fate {
        Fate::Accepted { number } => What::Accepted { number: *number },
        Fate::Delivered { number, server, .. } => What::Delivered {
            number: *number,
            server: server.clone(),
        },
        Fate::Refused { reason } if is_passing => What::Later {
            reason: reason.clone(),
        },
        Fate::Refused { reason } => What::Failed {
            reason: format!("refused: {reason}"),
        },
        Fate::Dead { number, reason } => What::Failed {
            reason: format!("a dead letter of the balancer, with the number {number}: {reason}"),
        },
        Fate::Forgotten { number: 0 } => What::Failed {
            reason: "it may have been handed over before, too long ago for the balancer to \
                     remember: look among the stored files, and put it back if it is missing"
                .to_owned(),
        },
        Fate::Forgotten { number } => What::Failed {
            reason: format!(
                "the balancer accepted it under the number {number} and no longer knows it: it was \
                 delivered and forgotten, or the balancer's journal was lost; look among the stored \
                 files, and put it back if it is missing"
            ),
        },
        Fate::Unreadable { reason } => What::Unreadable {
            reason: reason.clone(),
        },
        Fate::Changed { reason } => What::Changed {
            reason: reason.clone(),
        },
        Fate::Pending => What::Later {
            reason: String::new(),
        },
    }
}

/// The size and the CRC32C of a file; `None` if it is not the one that was seen.
fn sum(path: &Path, seen: &Seen) -> io::Result<Option<(u64, u32)>> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; STEP];
    let (mut size, mut crc32c) = (0, 0);
    loop {
        let read = match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        crc32c = checksum::combine(crc32c, checksum::crc32c(bytes), read as u64);
        size += read as u64;
    }
    let is_same = Seen::from(&file.metadata()?) == *seen && size == seen.size;
    Ok(is_same.then_some((size, crc32c)))
}
