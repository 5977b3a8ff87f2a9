//! The one task that owns the [`Dispatcher`] and all that is known of files: it feeds the
//! dispatcher what happened, with the time, carries out what it decides, and has every change
//! recorded. Everything else in the balancer talks to it over one channel, so that no lock is
//! shared on the way of a file, and what came in together is decided together.
//!
//! Invariant: nothing is told that is not lasting. A file goes to a server, and its client gets a
//! receipt, once the journal has committed it; a server is told that it need not remember a file,
//! or must remove its copy, once the delivery is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::cold::{Cold, ColdReport};
use super::directories::{Directories, Twice};
use super::dispatch::{Action, Delivery, Dispatcher, LinkEvent, LinkId as Over, Probed, Queued};
use super::events::{Events, Kind, Level};
use super::gate::Gate;
use super::link::{self, Target};
use super::messages::{
    Admission, Arrived, Declined, Offer, Parcel, Reply, Sum, ToClient, ToHub, ToServer,
};
use super::probe::ProbePace;
use super::queries::{self, Files};
use super::room::{DiskReservation, Room};
use super::sharing::Sharing;
use super::{BalancerConfig, BalancerError, probe};
use crate::protocol::query::{Answer, Query};
use crate::protocol::status::StatusReport;
use crate::protocol::{Expected, Message, Refusal, RefusalCode, lists};
use crate::queue::backlog_entry::{BacklogEntry, ReadBack, read_back};
use crate::queue::disk::Disk;
use crate::queue::journal::{Changes, Committed};
use crate::queue::record::{Accepted, Content, Death, End, Ended, History, Meta};
use crate::queue::recovery::Recovered;
use crate::queue::segment::JournalId;
use crate::queue::{DeadLetter, FileBody, Ledger, Location, Op, Progress, Writer, content};
use crate::schedule::{Slot, Slots};
use crate::shutdown::Shutdown;
use crate::transport::Connect;

/// How many events are decided at once.
const BATCH: usize = 1024;

/// How much content of waiting files is held in memory, in bytes; that of others is read from the
/// journal when its turn comes.
const MEMORY: u64 = 16 * 1024 * 1024;

/// How many files wait with all that is known of them in memory; of those behind them only the
/// place in the journal is.
const WARM: usize = if cfg!(test) { 8 } else { 8192 };

/// How many connections hear of one file at the most.
const MOST_REPLIES: usize = 16;

mod cancel;
mod operator;
mod thaw;
mod trust;

use operator::{Times, pace};
use thaw::Read;
pub(super) use thaw::stand_in;
use trust::Told;

/// What the hub keeps beside a queued file.
#[derive(Debug)]
struct Tag {
    content: FileBody,
    replies: Vec<Reply>,
    /// Held for as long as the file is in the queue; a file of an earlier run may have none.
    _room: Option<Room>,
}

/// A file that is being written to the journal.
struct Accepting {
    meta: Arc<Meta>,
    content: Arrived,
    replies: Vec<Reply>,
    room: Room,
    /// When it was read whole.
    read: std::time::Instant,
    _disk: DiskReservation,
}

/// What is to be done once an operation is lasting.
enum After {
    /// Give the receipt, and send the file.
    Accepted(u64),
    /// Tell its clients that the file is a dead letter.
    Dead(u64, Vec<Reply>, Box<str>),
    /// Tell the server that it need not remember the file.
    Confirm(Over, u64),
    /// Tell the server to remove the file, if it is this.
    Drop(Over, u64, Expected),
    /// Tell an operator that it is done.
    Answer(mpsc::UnboundedSender<ToClient>, Answer),
    Nothing,
}

/// An open link, as the hub holds it; dropping it closes the link.
struct LinkHandle {
    epoch: u64,
    to_server: mpsc::UnboundedSender<ToServer>,
    /// What the server's directory is called by itself.
    identity: Option<Arc<str>>,
    /// The highest number that was acknowledged over it, if the server keeps account of that.
    acknowledged: Option<u64>,
    _close: DropGuard,
}

/// What the hub keeps of a server.
struct ServerHandle {
    address: Arc<str>,
    /// Which server of all that ever had its slot.
    generation: u64,
    nudge: Arc<Notify>,
    link: Option<LinkHandle>,
    /// Why it gets no files, if another server speaks for its directory.
    twice: Option<Twice>,
    _probes: DropGuard,
}

/// What the hub works with.
pub(super) struct Deps {
    pub(super) config: BalancerConfig,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) writer: Writer,
    pub(super) journal: JournalId,
    pub(super) connector: Arc<dyn Connect>,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: Shutdown,
    pub(super) to_self: mpsc::UnboundedSender<ToHub>,
    pub(super) notices: Events,
    pub(super) gate: Arc<Gate>,
    /// What servers may open.
    pub(super) share: Sharing,
}

/// The driver of the [`Dispatcher`].
pub(super) struct Hub {
    dispatcher: Dispatcher<Tag>,
    /// The files that the dispatcher gets later.
    cold: Cold,
    /// Some of them are being read back.
    is_reading_back: bool,
    ledger: Ledger,
    accepting: BTreeMap<u64, Accepting>,
    next_number: u64,
    /// What the journal is called, for servers.
    journal_name: Arc<str>,
    /// One for each operation that is not lasting yet, in their order.
    afters: VecDeque<After>,
    /// Bytes of content of waiting files in memory.
    in_memory: u64,
    servers: Slots<ServerHandle>,
    /// What servers say of their directories.
    directories: Directories,
    /// What was told of bounds that are reached.
    told: Told,
    generations: u64,
    pace: watch::Sender<ProbePace>,
    /// How long files took from being read whole to their receipts, and from those to their
    /// servers' acknowledgements.
    times: Times,
    /// Why the journal cannot write, if that is so.
    trouble: Option<String>,
    /// What the dispatcher has decided, while it is carried out.
    actions: Vec<Action<Delivery<Tag>>>,
    started: Instant,
    /// The hub's clock when it started: the time since the beginning of 1970, UTC.
    began: Duration,
    next_sweep: Duration,
    events: mpsc::UnboundedReceiver<ToHub>,
    with: Deps,
}

impl Hub {
    /// A hub over what the journal holds, probing the configured servers.
    pub(super) fn new(
        mut recovered: Recovered,
        events: mpsc::UnboundedReceiver<ToHub>,
        with: Deps,
    ) -> Self {
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let Recovered {
            keys,
            next_number,
            ended,
            ..
        } = &mut recovered;
        let (keys, next_number, ended) =
            (std::mem::take(keys), *next_number, std::mem::take(ended));
        let mut hub = Self {
            dispatcher: Dispatcher::new(with.config.settings.dispatch),
            cold: Cold::new(with.gate.rooms().clone()),
            is_reading_back: false,
            ledger: Ledger::new(with.config.settings.retention, keys),
            accepting: BTreeMap::new(),
            next_number,
            journal_name: format!("{:032x}", u128::from_be_bytes(recovered.known_as)).into(),
            afters: VecDeque::new(),
            in_memory: 0,
            servers: Slots::default(),
            directories: Directories::default(),
            told: Told::default(),
            generations: 0,
            pace: watch::Sender::new(pace(&with.config.settings)),
            times: Times::default(),
            trouble: None,
            actions: Vec::new(),
            started: Instant::now(),
            began,
            next_sweep: began,
            events,
            with,
        };
        for server in hub.with.config.settings.servers.clone() {
            hub.add_server(&server.address, server.weight);
        }
        hub.dispatcher
            .earlier_runs_gave(next_number.saturating_sub(1));
        for ended in ended {
            hub.ledger.end(Arc::new(ended));
        }
        hub.recover(recovered);
        hub
    }

    fn add_server(&mut self, address: &str, weight: u32) {
        let slot = self.dispatcher.add_server(address, weight, self.now());
        self.generations += 1;
        let ended = self.with.shutdown.ended.child_token();
        let server = ServerHandle {
            address: address.into(),
            generation: self.generations,
            nudge: Arc::new(Notify::new()),
            link: None,
            twice: None,
            _probes: ended.clone().drop_guard(),
        };
        let prober = probe::Prober {
            slot,
            address: server.address.clone(),
            place: slot.index(),
            nudge: server.nudge.clone(),
            connector: self.with.connector.clone(),
            hub: self.with.to_self.clone(),
            pace: self.pace.subscribe(),
            generation: server.generation,
            route: probe::Route::default(),
        };
        self.with
            .tasks
            .spawn(ended.run_until_cancelled_owned(prober.run()));
        self.servers.insert(slot, server);
    }

    /// Takes over the files that an earlier run has left.
    fn recover(&mut self, mut recovered: Recovered) {
        self.recover_dead(&mut recovered);
        while let Some(page) = recovered.files.pop_page() {
            for (number, brief) in page {
                let Some(handle) = recovered.segments.get(&brief.spot.segment) else {
                    continue;
                };
                self.dispatcher.recovered(number);
                self.cold.insert(
                    number,
                    brief,
                    handle,
                    Vec::new(),
                    self.with.gate.try_room(brief.size()),
                );
            }
        }
        for (number, changes) in recovered.changes {
            self.cold.set_history(number, changes.history);
        }
    }

    /// Takes over dead letters.
    fn recover_dead(&mut self, recovered: &mut Recovered) {
        let dead = recovered
            .changes
            .extract_if(.., |_, changes| changes.death.is_some());
        let dead: BTreeMap<u64, Changes> = dead.collect();
        let places: Vec<_> = dead
            .keys()
            .filter_map(|number| Some((*number, recovered.location(*number)?)))
            .collect();
        for places in places.chunks(64) {
            for (number, back) in read_back(&self.with.journal, places.to_vec(), true) {
                let (
                    Some(location),
                    Some(brief),
                    Some(Changes {
                        history,
                        death: Some(death),
                    }),
                ) = (
                    recovered.location(number),
                    recovered.files.remove(number),
                    dead.get(&number).cloned(),
                )
                else {
                    continue;
                };
                let read = Read::of(back, &brief, location);
                let content = read.content.without_memory();
                self.ledger.bury(
                    number,
                    DeadLetter {
                        meta: read.meta,
                        content,
                        history,
                        death,
                    },
                );
            }
        }
    }

    /// Runs until the balancer is told to stop and everything is delivered or its time is up. Gives
    /// the number of files that still wait.
    pub(super) async fn run(mut self) -> Result<usize, BalancerError> {
        let draining = self.with.shutdown.draining.clone();
        let grace = self.with.config.grace;
        let mut ends = None;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let sweep = (self.ledger.remembers()).then_some(self.next_sweep);
            let due = self.dispatcher.next_due().into_iter().chain(sweep).min();
            let wake = due
                .map(|due| self.started + due.saturating_sub(self.began))
                .into_iter()
                .chain(ends)
                .min();
            tokio::select! {
                biased;
                () = draining.cancelled(), if ends.is_none() => ends = Some(Instant::now() + grace),
                _ = self.events.recv_many(&mut batch, BATCH) => {}
                () = until(wake) => {}
            }
            let now = self.now();
            for event in batch.drain(..) {
                self.handle(event, now)?;
            }
            self.read_on();
            self.dispatcher.advance(now);
            self.act(now);
            self.let_servers_go(now);
            self.sweep(now);
            let left = self.dispatcher.undelivered() + self.cold.len() + self.accepting.len();
            let done = left == 0 && self.events.is_empty() && self.afters.is_empty();
            if ends.is_some_and(|ends| done || Instant::now() >= ends) {
                return Ok(left);
            }
        }
    }

    fn handle(&mut self, event: ToHub, now: Duration) -> Result<(), BalancerError> {
        match event {
            ToHub::Admit(admission, read) => self.admit(*admission, read, now),
            ToHub::Offer(offer) => self.offer(&offer),
            ToHub::Refuse(declined) => self.refuse(declined),
            ToHub::Status(to) => {
                let _ = to.send(ToClient::Status(Box::new(self.status(now))));
            }
            ToHub::Query(query, to) => self.look(query, to),
            ToHub::Looked(query, to, looked) => {
                self.carry_out(&query, looked, to);
            }
            ToHub::ReadBack(files) => self.read_back(files, now),
            ToHub::Journal(progress) => self.progress(progress)?,
            ToHub::Probed {
                slot,
                generation,
                probed,
                took,
            } => {
                // What an older server's probe found says nothing of the one that has its slot now.
                if self
                    .server(slot)
                    .is_some_and(|server| server.generation == generation)
                {
                    if let Probed::Answered { who, .. } = &probed {
                        // Before a link is opened: it would end the one that the other name has.
                        _ = self.speaks_alone(slot, &who.speaker, now);
                    }
                    self.dispatcher.probed(slot, probed, took, now);
                    if !self.dispatcher.answers(slot) {
                        self.directories.release(slot);
                    }
                }
            }
            ToHub::Control(command) => self.command(command, now),
            ToHub::Link { link, event } => self.link(link, event, now)?,
        }
        Ok(())
    }

    fn link(&mut self, link: Over, event: LinkEvent, now: Duration) -> Result<(), BalancerError> {
        match event {
            LinkEvent::Opened { .. } => self.opened(link, event, now)?,
            LinkEvent::Stored { ref numbers, .. } => {
                self.note_acknowledged(link, numbers);
                self.dispatcher.link_event(link, event, now);
            }
            event => self.dispatcher.link_event(link, event, now),
        }
        // What is decided must be carried out before another link takes the place of this one, and
        // before anything is forgotten that it needs.
        self.act(now);
        Ok(())
    }

    /// A link opened: the server has said who it is and what it has.
    fn opened(&mut self, link: Over, event: LinkEvent, now: Duration) -> Result<(), BalancerError> {
        let LinkEvent::Opened {
            speaker,
            holding,
            seen,
        } = &event
        else {
            return Ok(());
        };
        let slot = link.slot;
        // What an older link said late must not name the server of this one: copies are removed by
        // that name.
        if self.over(slot) != Some(link) {
            return Ok(());
        }
        if let Err(reason) = self.speaks_alone(slot, speaker, now) {
            self.dispatcher
                .link_event(link, LinkEvent::Closed(reason), now);
            return Ok(());
        }
        self.check_journal(slot, *seen, holding.as_deref().unwrap_or_default())?;
        if let (Some(identity), Some(seen)) = (&speaker.identity, seen) {
            self.check_directory(slot, identity, *seen);
        }
        if let Some(handle) = self
            .server_mut(slot)
            .and_then(|server| server.link.as_mut())
        {
            handle.identity.clone_from(&speaker.identity);
            handle.acknowledged = seen.map(|_| 0);
        }
        self.dispatcher.link_event(link, event, now);
        Ok(())
    }

    /// The one function that every file passes: identity, number, journal. The receipt follows when
    /// it is lasting.
    fn admit(&mut self, admission: Admission, read: std::time::Instant, now: Duration) {
        let Admission {
            title,
            key,
            content,
            size,
            crc32c,
            room,
            disk,
            from,
            reply,
        } = admission;
        if let Some(number) = key.as_deref().and_then(|key| self.ledger.number_of(key)) {
            self.discard(&content);
            if let Some(reply) = reply {
                self.answer_known(number, size, crc32c, reply);
            }
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        if let Some(key) = key.as_deref() {
            self.ledger.name(key, number);
        }
        let key = key.as_deref().map(Box::from);
        let meta = Arc::new(Meta {
            title,
            key,
            from,
            size,
            crc32c,
            accepted_ms: millis(now),
        });
        let kept = match &content {
            Arrived::Memory(bytes) => Content::Inline(bytes.clone()),
            Arrived::Own(id) => Content::Own(*id),
        };
        let accepted = Accepted {
            number,
            meta: meta.clone(),
            history: History::default(),
            death: None,
            content: kept,
        };
        let replies = reply.into_iter().collect();
        let accepting = Accepting {
            meta,
            content,
            replies,
            room,
            read,
            _disk: disk,
        };
        self.accepting.insert(number, accepting);
        self.submit(Op::Accept(Box::new(accepted)), After::Accepted(number));
    }

    fn offer(&mut self, offer: &Offer) {
        match (self.ledger.number_of(&offer.key), offer.crc32c) {
            (Some(number), Some(crc32c)) => {
                self.answer_known(number, offer.size, crc32c, offer.reply.clone())
            }
            // Only its content can tell whether it is the same.
            (Some(_), None) => offer.reply.send(|id| Message::Wanted { id, offset: 0 }),
            (None, _) => offer.reply.send(|id| Message::Wanted {
                id,
                offset: offer.offset,
            }),
        }
    }

    /// A refusal says that the file is nowhere, so it must not be given for one that is here
    /// already.
    fn refuse(
        &mut self,
        Declined {
            key,
            size,
            sum,
            refusal,
            reply,
        }: Declined,
    ) {
        match (self.ledger.number_of(&key), sum) {
            (Some(number), Sum::Known(crc32c)) => self.answer_known(number, size, crc32c, reply),
            // A client that has gone meanwhile needs no answer.
            (Some(_), Sum::Unread(back)) => drop(back.send((refusal, reply))),
            (None, _) => reply.send(|id| Message::Refused { id, refusal }),
        }
    }

    /// Gives the receipts of a file that came before under the same key, if it is the same file.
    fn answer_known(&mut self, number: u64, size: u64, crc32c: u32, reply: Reply) {
        let is_same = |meta: &Meta| (meta.size, meta.crc32c) == (size, crc32c);
        if let Some(file) = self
            .accepting
            .get_mut(&number)
            .filter(|file| is_same(&file.meta))
        {
            return add_reply(&mut file.replies, reply);
        }
        if let Some(file) = self
            .dispatcher
            .file_mut(number)
            .filter(|file| is_same(&file.meta))
        {
            reply.send(|id| Message::Accepted { id, number });
            return add_reply(&mut file.tag.tag.replies, reply);
        }
        let is_same_brief = |brief: &BacklogEntry| (brief.size(), brief.crc32c) == (size, crc32c);
        if self.cold.get(number).is_some_and(is_same_brief) {
            reply.send(|id| Message::Accepted { id, number });
            return self.cold.add_reply(number, reply);
        }
        if let Some(letter) = self
            .ledger
            .dead()
            .get(&number)
            .filter(|letter| is_same(&letter.meta))
        {
            reply.send(|id| Message::Accepted { id, number });
            return reply.send(|id| Message::Dead {
                id,
                number,
                reason: letter.death.reason.to_string(),
            });
        }
        if let Some(ended) = self
            .ledger
            .ended(number)
            .filter(|ended| is_same(&ended.meta))
        {
            reply.send(|id| Message::Accepted { id, number });
            return reply.send(|id| last_receipt(id, ended));
        }
        let reason = format!(
            "the key names another file already, accepted as number {number}, and that one has other content; \
             give this one another key, or its old content back"
        );
        reply.send(|id| Message::Refused {
            id,
            refusal: Refusal::new(RefusalCode::Conflict, reason),
        });
    }

    /// Removes content that came a second time.
    fn discard(&self, content: &Arrived) {
        if let Arrived::Own(id) = content {
            let (disk, name) = (self.with.disk.clone(), content::name(*id));
            // What stays behind is removed by the next recovery.
            tokio::task::spawn_blocking(move || disk.remove(&name));
        }
    }

    fn progress(&mut self, progress: Progress) -> Result<(), BalancerError> {
        match progress {
            Progress::Committed(committed) => self.committed(committed),
            Progress::Full(error) => {
                tracing::error!(
                    error,
                    "the journal waits until it can write, and deliveries go on"
                );
                let text =
                    format!("the journal waits until it can write, and deliveries go on: {error}");
                self.with
                    .notices
                    .tell(Level::Error, Kind::Journal, None, None, &*text);
                self.trouble = Some(text);
            }
            Progress::Room => {
                tracing::info!("the journal goes on");
                self.with.notices.tell(
                    Level::Info,
                    Kind::Journal,
                    None,
                    None,
                    "the journal goes on",
                );
                self.trouble = None;
            }
            Progress::Failed(error) => {
                tracing::error!(error = %error, "the journal failed: nothing more can be accepted");
                let text = format!("the journal failed, nothing more can be accepted: {error}");
                self.with
                    .notices
                    .tell(Level::Error, Kind::Journal, None, None, &*text);
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn committed(&mut self, committed: Committed) {
        let mut stored = committed.stored.into_iter().peekable();
        let mut confirmed: BTreeMap<Over, Vec<u64>> = BTreeMap::new();
        for _ in 0..committed.ops {
            match self.afters.pop_front() {
                Some(After::Accepted(number)) => {
                    let location = stored
                        .next_if(|(other, _)| *other == number)
                        .map(|(_, location)| location);
                    self.accepted(number, location);
                }
                Some(After::Dead(number, replies, reason)) => {
                    for reply in &replies {
                        reply.send(|id| Message::Dead {
                            id,
                            number,
                            reason: reason.to_string(),
                        });
                    }
                }
                Some(After::Confirm(over, number)) => {
                    confirmed.entry(over).or_default().push(number)
                }
                Some(After::Drop(over, number, expected)) => {
                    self.tell_over(over, ToServer::Drop(number, expected))
                }
                Some(After::Answer(to, done)) => drop(to.send(ToClient::Answer(Box::new(done)))),
                Some(After::Nothing) | None => {}
            }
        }
        for (over, numbers) in confirmed {
            self.tell_over(over, ToServer::Confirm(numbers));
        }
        for (number, location) in committed.moved {
            self.moved(number, location);
        }
    }

    /// A file is lasting: its client gets the receipt, and it can go to a server.
    fn accepted(&mut self, number: u64, location: Option<Location>) {
        let Some(file) = self.accepting.remove(&number) else {
            return;
        };
        let Accepting {
            meta,
            content,
            replies,
            room,
            read,
            _disk: _,
        } = file;
        self.times.accepted(read.elapsed());
        tracing::info!(
            number,
            title = &*meta.title,
            bytes = meta.size,
            from = &*meta.from,
            "received"
        );
        for reply in &replies {
            reply.send(|id| Message::Accepted { id, number });
        }
        if let Some(location) = location.as_ref().filter(|_| self.is_far(number)) {
            let brief = BacklogEntry::new(&meta, location.spot());
            self.cold
                .insert(number, brief, location.handle(), replies, Some(room));
            return self.dispatcher.count_accepted(meta.size);
        }
        let content = match (content, location) {
            (Arrived::Own(id), _) => FileBody::Own(id),
            (Arrived::Memory(bytes), location) => FileBody::Memory(bytes, location),
        };
        let content = self.hold(content);
        let tag = Delivery::new(Tag {
            content,
            replies,
            _room: Some(room),
        });
        self.dispatcher.accept(
            number,
            Queued {
                meta,
                history: History::default(),
                tag,
            },
        );
    }

    /// Whether a new file's turn is not near: then only its place in the journal is kept.
    fn is_far(&self, number: u64) -> bool {
        self.first_cold().is_some_and(|first| first < number) || self.dispatcher.ready().0 >= WARM
    }

    /// The first of the files that the dispatcher gets later; it holds up what is behind it.
    fn first_cold(&self) -> Option<u64> {
        self.cold
            .above(self.dispatcher.holds_back())
            .next()
            .map(|(number, _)| number)
    }

    /// Counts content as held in memory, if there is room for it; if not, it is read when it is
    /// sent.
    fn hold(&mut self, content: FileBody) -> FileBody {
        match content {
            FileBody::Memory(bytes, location)
                if self.in_memory + bytes.len() as u64 <= MEMORY || location.is_none() =>
            {
                self.in_memory += bytes.len() as u64;
                FileBody::Memory(bytes, location)
            }
            other => other.without_memory(),
        }
    }

    /// The record of a file stands elsewhere in the journal now.
    fn moved(&mut self, number: u64, to: Location) {
        if self.cold.moved(number, &to) {
            return;
        }
        let content = match self.dispatcher.file_mut(number) {
            Some(file) => Some(&mut file.tag.tag.content),
            None => self
                .ledger
                .dead_mut(number)
                .map(|letter| &mut letter.content),
        };
        match content {
            Some(FileBody::Memory(_, location)) => *location = Some(to),
            Some(body @ FileBody::Journal(_)) => *body = FileBody::Journal(to),
            Some(FileBody::Own(_)) | None => {}
        }
    }

    fn status(&self, now: Duration) -> StatusReport {
        let mut report = self.dispatcher.status(self.began, now);
        let queue = &mut report.queue;
        queue.dead = self.ledger.dead().len();
        let limits = self.with.gate.limits();
        (queue.max_files, queue.max_bytes) = (limits.files, limits.bytes);
        queue.bytes += self.cold.bytes();
        let waits = if self.dispatcher.holds_back() > 0 {
            &mut queue.delayed
        } else {
            &mut queue.ready
        };
        *waits += self.cold.len();
        let oldest = self.cold.oldest_ms().map(Duration::from_millis);
        let cold_s = oldest.map(|oldest| now.saturating_sub(oldest).as_secs_f64());
        queue.oldest_s = queue.oldest_s.into_iter().chain(cold_s).reduce(f64::max);
        report.trouble = self.trouble.clone().or_else(|| self.with.gate.trouble());
        report
    }

    fn act(&mut self, now: Duration) {
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.dispatcher.actions());
        for action in actions.drain(..) {
            match action {
                Action::Send { slot, number } => self.forward(slot, number),
                Action::Delivered {
                    number,
                    slot,
                    server,
                    confirmed,
                    sent,
                    file,
                } => {
                    let (bytes, ms) =
                        (file.meta.size, now.saturating_sub(sent).as_secs_f64() * 1e3);
                    self.times.delivered(
                        now.saturating_sub(Duration::from_millis(file.meta.accepted_ms)),
                    );
                    let what = if confirmed {
                        "delivered"
                    } else {
                        "delivered unconfirmed"
                    };
                    tracing::info!(
                        number,
                        title = &*file.meta.title,
                        server = &*server,
                        bytes,
                        ms,
                        "{what}"
                    );
                    let identity = self.identity_of(slot);
                    let end = End::Delivered {
                        server,
                        identity,
                        confirmed,
                    };
                    self.release(&file.tag.tag.content);
                    let Queued {
                        meta, history, tag, ..
                    } = file;
                    self.end(
                        Ended {
                            number,
                            at_ms: millis(now),
                            end,
                            meta,
                            history,
                        },
                        &tag.tag.replies,
                        Some(slot),
                    );
                }
                // The numbers are counted already.
                Action::CameBack {
                    number,
                    meta,
                    attempt,
                    attempts,
                    is_failure,
                    is_kept,
                } => {
                    tracing::warn!(
                        number,
                        title = &*meta.title,
                        server = &*attempt.server,
                        attempts,
                        reason = &*attempt.reason,
                        "came back"
                    );
                    if is_kept || is_failure {
                        self.submit(
                            Op::Attempt {
                                number,
                                attempt,
                                is_failure,
                            },
                            After::Nothing,
                        );
                    }
                }
                Action::Unfit {
                    number,
                    server,
                    why,
                } => {
                    tracing::info!(number, server = &*server, "not sent: {why}");
                }
                Action::Waits {
                    number,
                    meta,
                    attempts,
                    reason,
                } => {
                    tracing::warn!(number, title = &*meta.title, attempts, reason, "waits");
                }
                Action::Dead {
                    number,
                    reason,
                    file,
                } => {
                    tracing::error!(number, title = &*file.meta.title, reason, "dead letter");
                    self.bury(number, reason, file, now);
                }
                Action::UnexpectedCopy { slot, number, held } => {
                    self.unexpected_copy(slot, number, held, now)
                }
                Action::OtherContent { number, server } => {
                    tracing::error!(
                        number,
                        server = &*server,
                        "the server has another file under this number: it is left alone"
                    );
                }
                Action::Recognised { server, dialect } => {
                    tracing::info!(server = &*server, speaks = ?dialect, "recognised");
                }
                Action::OpenLink { link, dialect, at } => {
                    let (to_server, from_hub) = mpsc::unbounded_channel();
                    let closed = self.with.shutdown.ended.child_token();
                    let connect_timeout = self.pace.borrow().timeout;
                    let Some(server) = self.servers.get_mut(link.slot) else {
                        continue;
                    };
                    let target = Target {
                        link,
                        address: at
                            .map_or_else(|| server.address.clone(), |at| at.to_string().into()),
                        connector: self.with.connector.clone(),
                        hub: self.with.to_self.clone(),
                        disk: self.with.disk.clone(),
                        journal: self.journal_name.clone(),
                        connect_timeout,
                        stall: self.with.config.settings.stall,
                    };
                    let task = link::run(target, dialect, from_hub);
                    self.with
                        .tasks
                        .spawn(closed.clone().run_until_cancelled_owned(task));
                    let (identity, acknowledged, guard) = (None, None, closed.drop_guard());
                    server.link = Some(LinkHandle {
                        epoch: link.epoch,
                        to_server,
                        identity,
                        acknowledged,
                        _close: guard,
                    });
                }
                Action::CloseLink { slot } => self.close(slot),
                Action::Flipped { server, flip } => self.tell_flip(&server, &flip),
                Action::Probe { slot } => {
                    if let Some(server) = self.server(slot) {
                        server.nudge.notify_one();
                    }
                }
            }
        }
        self.actions = actions;
    }

    /// Sends a file over a server's link.
    fn forward(&self, slot: Slot, number: u64) {
        let Some(file) = self.dispatcher.queue().get(number) else {
            return;
        };
        let server = self.server(slot).map(|server| &*server.address);
        tracing::info!(
            number,
            title = &*file.meta.title,
            server = server.unwrap_or_default(),
            bytes = file.meta.size,
            "forwarded"
        );
        let parcel = Parcel {
            number,
            meta: file.meta.clone(),
            content: file.tag.tag.content.clone(),
        };
        self.tell(slot, ToServer::Parcel(parcel));
    }

    /// Sends something over a server's link. A link that has ended has said so in an event that is
    /// on its way to us.
    fn tell(&self, slot: Slot, what: ToServer) {
        let link = self.server(slot).and_then(|server| server.link.as_ref());
        // A server without an identity keeps no account of what is confirmed, and may not know the
        // word.
        let understands =
            |link: &&LinkHandle| link.identity.is_some() || matches!(what, ToServer::Parcel(_));
        if let Some(link) = link.filter(understands) {
            let _ = link.to_server.send(what);
        }
    }

    /// Sends an answer over the link that it is an answer to, if that is still open.
    fn tell_over(&self, over: Over, what: ToServer) {
        if self.over(over.slot) == Some(over) {
            self.tell(over.slot, what);
        }
    }

    /// The server's present link.
    fn over(&self, slot: Slot) -> Option<Over> {
        let epoch = self.server(slot)?.link.as_ref()?.epoch;
        Some(Over { slot, epoch })
    }

    fn identity_of(&self, slot: Slot) -> Option<Arc<str>> {
        self.server(slot)?.link.as_ref()?.identity.clone()
    }

    /// Content that leaves the queue no longer counts as held in memory.
    fn release(&mut self, content: &FileBody) {
        if let FileBody::Memory(bytes, _) = content {
            self.in_memory = self.in_memory.saturating_sub(bytes.len() as u64);
        }
    }

    /// A file needs no more sending: its clients hear of it, and it is recorded.
    fn end(&mut self, ended: Ended, replies: &[Reply], delivered_by: Option<Slot>) {
        for reply in replies {
            reply.send(|id| last_receipt(id, &ended));
        }
        let number = ended.number;
        self.ledger.end(Arc::new(ended.clone()));
        let over = delivered_by.and_then(|slot| self.over(slot));
        let after = over.map_or(After::Nothing, |over| After::Confirm(over, number));
        self.submit(Op::End(Box::new(ended)), after);
    }

    fn bury(&mut self, number: u64, reason: String, file: Queued<Delivery<Tag>>, now: Duration) {
        let Tag {
            content,
            replies,
            _room,
        } = file.tag.tag;
        self.release(&content);
        self.with.notices.tell(
            Level::Error,
            Kind::Dead,
            None,
            Some(number),
            format!("{}: {reason}", file.meta.title),
        );
        let death = Death {
            at_ms: millis(now),
            reason: reason.into(),
        };
        self.ledger.bury(
            number,
            DeadLetter {
                meta: file.meta,
                content: content.without_memory(),
                history: file.history,
                death: death.clone(),
            },
        );
        let after = After::Dead(number, replies, death.reason.clone());
        self.submit(Op::Bury { number, death }, after);
    }

    /// Answers a query, after what it is about was read back from the journal.
    fn look(&mut self, query: Query, to: mpsc::UnboundedSender<ToClient>) {
        let asked = self.files(&BTreeMap::new(), |files| files.cold_ones(&query));
        let places: Vec<_> = asked
            .into_iter()
            .filter_map(|number| Some((number, self.cold.location(number)?)))
            .collect();
        let (journal, hub) = (self.with.journal, self.with.to_self.clone());
        if places.is_empty() {
            return self.carry_out(&query, Vec::new(), to);
        }
        let read =
            move || drop(hub.send(ToHub::Looked(query, to, read_back(&journal, places, false))));
        tokio::task::spawn_blocking(read);
    }

    /// Answers a query, or carries it out. What was done is said when it is lasting.
    fn carry_out(
        &mut self,
        query: &Query,
        looked: Vec<(u64, ReadBack)>,
        to: mpsc::UnboundedSender<ToClient>,
    ) {
        match self.answer(query, looked) {
            done @ Answer::Done { .. } => {
                self.submit(Op::Forget(Vec::new()), After::Answer(to, done))
            }
            answer => drop(to.send(ToClient::Answer(Box::new(answer)))),
        }
    }

    /// Answers a query, or carries it out.
    fn answer(&mut self, query: &Query, looked: Vec<(u64, ReadBack)>) -> Answer {
        match *query {
            Query::Replay {
                number: Some(number),
            } => queries::done(self.replay(number), number),
            Query::Replay { number: None } => {
                let numbers: Vec<u64> = self.ledger.dead().keys().copied().collect();
                Answer::Done {
                    files: numbers
                        .into_iter()
                        .filter(|number| self.replay(*number))
                        .count(),
                }
            }
            Query::Drop { number } => self.throw_away(number, looked),
            Query::Waiting { .. }
            | Query::Dead { .. }
            | Query::Find { .. }
            | Query::Show { .. } => {
                let looked = looked.into_iter().collect();
                self.files(&looked, |files| files.answer(query))
            }
        }
    }

    fn files<R>(&self, looked: &BTreeMap<u64, ReadBack>, ask: impl Fn(&Files<'_, Tag>) -> R) -> R {
        let accepting = |number: u64| self.accepting.get(&number).map(|file| file.meta.clone());
        let (dispatcher, cold, ledger) = (&self.dispatcher, &self.cold, &self.ledger);
        ask(&Files {
            dispatcher,
            cold,
            ledger,
            accepting: &accepting,
            looked,
        })
    }

    /// Makes a dead letter wait again; false if there is none with this number.
    fn replay(&mut self, number: u64) -> bool {
        let Some(letter) = self.ledger.remove_dead(number) else {
            return false;
        };
        tracing::info!(number, title = &*letter.meta.title, "replayed");
        self.with.notices.tell(
            Level::Info,
            Kind::Replayed,
            None,
            Some(number),
            &*letter.meta.title,
        );
        self.submit(Op::Replay { number }, After::Nothing);
        let DeadLetter { meta, content, .. } = letter;
        let tag = Delivery::new(Tag {
            content,
            replies: Vec::new(),
            _room: None,
        });
        self.dispatcher.replay(
            number,
            Queued {
                meta,
                history: History::default(),
                tag,
            },
        );
        true
    }

    /// A server has a file that does not wait: either it is the one that the file is recorded with,
    /// or there are two copies and this one must go. What is not known is left alone: a copy too
    /// many is better than none.
    fn unexpected_copy(
        &mut self,
        slot: Slot,
        number: u64,
        held: Option<lists::StoredFile>,
        now: Duration,
    ) {
        // A server without an identity keeps no account: there is nothing to tell it.
        let (Some(ours), Some(over)) = (self.identity_of(slot), self.over(slot)) else {
            return;
        };
        if let Some(brief) = self.cold.get(number) {
            let Some(held @ lists::StoredFile(_, size, crc32c)) = held else {
                return;
            };
            if (brief.size(), brief.crc32c) == (size, crc32c) {
                self.cold.claim(
                    number,
                    ColdReport {
                        slot,
                        held,
                        identity: ours,
                    },
                );
            } else {
                tracing::error!(
                    number,
                    "a server has another file under this number: it is left alone"
                );
            }
            return;
        }
        if let Some(ended) = self.ledger.ended(number) {
            match &ended.end {
                End::Delivered {
                    identity: Some(theirs),
                    server,
                    ..
                } if *theirs != ours => {
                    tracing::info!(number, stored_by = &**server, "a second copy is removed");
                    let expected = Expected {
                        size: ended.meta.size,
                        crc32c: ended.meta.crc32c,
                    };
                    self.dispatcher.doubt(slot, number);
                    self.submit(Op::Forget(Vec::new()), After::Drop(over, number, expected));
                }
                // An operator did not want it delivered, and was told that it is not.
                End::Dropped { .. } => {
                    tracing::info!(number, "a copy of a file that was thrown away is removed");
                    let expected = Expected {
                        size: ended.meta.size,
                        crc32c: ended.meta.crc32c,
                    };
                    self.dispatcher.doubt(slot, number);
                    self.submit(Op::Forget(Vec::new()), After::Drop(over, number, expected));
                }
                End::Delivered { .. } => {
                    self.submit(Op::Forget(Vec::new()), After::Confirm(over, number))
                }
            }
            return;
        }
        let Some(lists::StoredFile(_, size, crc32c)) = held else {
            return;
        };
        let is_same =
            |letter: &DeadLetter| (letter.meta.size, letter.meta.crc32c) == (size, crc32c);
        if self.ledger.dead().get(&number).is_some_and(is_same) {
            if let Some(DeadLetter { meta, history, .. }) = self.ledger.remove_dead(number) {
                tracing::info!(
                    number,
                    title = &*meta.title,
                    "a dead letter turns out to be delivered"
                );
                let server = self.address_of(slot);
                let end = End::Delivered {
                    server,
                    identity: Some(ours),
                    confirmed: true,
                };
                self.end(
                    Ended {
                        number,
                        at_ms: millis(now),
                        end,
                        meta,
                        history,
                    },
                    &[],
                    Some(slot),
                );
            }
        } else if !self.accepting.contains_key(&number) {
            self.submit(Op::Forget(Vec::new()), After::Confirm(over, number));
        }
    }

    fn sweep(&mut self, now: Duration) {
        if now >= self.next_sweep {
            self.next_sweep = now + self.with.config.limits.sweep;
            let mut forgotten = self
                .ledger
                .forget(millis(now), |number| self.dispatcher.is_doubtful(number));
            if self.dispatcher.take_settled() {
                forgotten.extend(
                    self.ledger
                        .unpin(|number| self.dispatcher.is_doubtful(number)),
                );
            }
            self.forget(forgotten);
            self.tell_bounds();
        }
    }

    fn forget(&mut self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.submit(Op::Forget(numbers), After::Nothing);
        }
    }

    fn submit(&mut self, op: Op, after: After) {
        self.afters.push_back(after);
        self.with.writer.submit(op);
    }

    fn server(&self, slot: Slot) -> Option<&ServerHandle> {
        self.servers.get(slot)
    }

    fn server_mut(&mut self, slot: Slot) -> Option<&mut ServerHandle> {
        self.servers.get_mut(slot)
    }

    fn address_of(&self, slot: Slot) -> Arc<str> {
        self.server(slot)
            .map_or_else(|| "".into(), |server| server.address.clone())
    }

    fn now(&self) -> Duration {
        self.began + self.started.elapsed()
    }
}

/// One more connection hears of a file.
pub(super) fn add_reply(replies: &mut Vec<Reply>, reply: Reply) {
    // The oldest connections are those that are most likely gone.
    if replies.len() >= MOST_REPLIES {
        replies.remove(0);
    }
    replies.push(reply);
}

/// What a client hears last of a file.
fn last_receipt(id: u64, ended: &Ended) -> Message {
    let number = ended.number;
    match &ended.end {
        End::Delivered {
            server, confirmed, ..
        } => Message::Delivered {
            id,
            number,
            server: server.clone(),
            confirmed: *confirmed,
        },
        End::Dropped { reason } => Message::Dead {
            id,
            number,
            reason: format!("thrown away; {reason}"),
        },
    }
}

fn millis(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until then, or for ever.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
