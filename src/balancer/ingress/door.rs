//! What every doorway works with, and the last steps that they share.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::upload::{Uploaded, Uploads};
use crate::access::{Allowed, At, Lock, Pass, Right, ToReadOwn, ToSend};
use crate::balancer::config::BalancerLimits;
use crate::balancer::gate::Gate;
use crate::balancer::join::Joining;
use crate::balancer::messages::{Admission, Arrived, Ask, Declined, Offer, Reply, ToHub};
use crate::balancer::orders::Settings;
use crate::balancer::room::{DiskReservation, Room};
use crate::protocol::status::StatusReport;
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::INLINE;
use crate::shutdown::Shutdown;
use crate::transport::{Deadlines, Seat, tls};

/// Where doorways stand: before anybody is known. Cheap to clone. It gives no orders: that is
/// [`Control`](crate::balancer::control::Control)'s.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

/// What all doorways share.
pub struct Shared {
    lock: Lock,
    /// TLS of the clients' port; `None`: it is off.
    pub(super) tls: Option<Arc<tls::Door>>,
    /// What those who want to join the fleet share.
    pub(super) joining: Joining,
    inner: Inner,
    /// Where the HTTP doorway is, if there is one.
    http: OnceLock<String>,
    /// For new connections.
    pub(in crate::balancer) bounds: watch::Sender<DoorBounds>,
    pub(in crate::balancer) limits: BalancerLimits,
    /// Why the balancer ends, unless it was told to.
    pub(in crate::balancer) farewell: Arc<OnceLock<Refusal>>,
    /// While it drains no new files are taken; after its end no receipts come.
    pub(in crate::balancer) shutdown: Shutdown,
}

impl Deref for Door {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What is behind the door.
#[derive(Clone)]
pub(in crate::balancer) struct Inner {
    pub(in crate::balancer) gate: Arc<Gate>,
    pub(in crate::balancer) uploads: Arc<Uploads>,
    pub(in crate::balancer) hub: mpsc::UnboundedSender<ToHub>,
}

/// The way in for the files of somebody who may send some. Cheap to clone.
#[derive(Clone)]
pub(super) struct Inside {
    door: Door,
    allowed: Allowed<ToSend>,
}

impl Deref for Inside {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// What a doorway allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct DoorBounds {
    pub(in crate::balancer) deadlines: Deadlines,
    /// The largest object at the JSON doorway, in bytes.
    pub(in crate::balancer) max_json: u64,
}

impl From<&Settings> for DoorBounds {
    fn from(settings: &Settings) -> Self {
        Self {
            deadlines: Deadlines {
                stall: settings.stall,
                idle: settings.idle,
            },
            max_json: settings.max_json,
        }
    }
}

/// A file whose content is in memory, before it is admitted.
pub(super) struct InMemory {
    pub(super) title: Box<str>,
    pub(super) key: Option<Arc<str>>,
    /// See [`Admission::is_key_of_content`].
    pub(super) is_key_of_content: bool,
    pub(super) content: Bytes,
    pub(super) crc32c: u32,
    pub(super) room: Room,
    pub(super) disk: DiskReservation,
    pub(super) reply: Option<Reply>,
}

impl Door {
    /// A door to what is behind it.
    pub(in crate::balancer) fn new(
        lock: Lock,
        tls: Option<Arc<tls::Door>>,
        joining: Joining,
        inner: Inner,
        settings: &Settings,
        limits: BalancerLimits,
    ) -> Self {
        Self(Arc::new(Shared {
            lock,
            tls,
            joining,
            inner,
            http: OnceLock::new(),
            bounds: watch::Sender::new(DoorBounds::from(settings)),
            limits,
            farewell: Arc::new(OnceLock::new()),
            shutdown: Shutdown::default(),
        }))
    }

    /// Says where the HTTP doorway is, for those who look for it at the wrong port.
    pub fn http_is_at(&self, url: String) {
        let _ = self.http.set(url);
    }

    /// Where somebody is to go who speaks something else than the balancer's port.
    pub(super) fn elsewhere(&self) -> String {
        match self.http.get() {
            Some(url) => format!(
                "HTTP and WebDAV are at {url} (the balancer's --admin), e.g. curl -T FILE {url}; \
                 `bilico send` uses this port"
            ),
            None => "use `bilico send`; HTTP is switched off here (--admin none)".to_owned(),
        }
    }

    /// Who is who.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Whether somebody at this place may send files without a word of who they are.
    pub(super) fn knows(&self, at: At) -> bool {
        let pass = self.lock.by_network(at);
        let pass = pass.unwrap_or_else(|| self.lock.by_place(at));
        pass.check(Right::Send).is_ok()
    }

    /// How long a connection may say nothing at first. Old-style clients connect long before they have
    /// anything to say; whoever has to say who they are does so at once.
    pub(super) fn patience(&self, seat: &Seat) -> Duration {
        if seat.is_known() {
            self.bounds().deadlines.idle
        } else {
            self.limits.greeting
        }
    }

    /// Lets somebody in who may send files.
    pub(super) fn enter(&self, allowed: Allowed<ToSend>) -> Inside {
        Inside {
            door: self.clone(),
            allowed,
        }
    }

    /// Asks how everything is. A hub that has ended answers nothing.
    pub(super) fn ask_status(&self, _: &Allowed<ToReadOwn>) -> oneshot::Receiver<StatusReport> {
        let (to, status) = oneshot::channel();
        let _ = self.inner.hub.send(ToHub::Ask(Ask::Status(to)));
        status
    }

    /// Why no files are taken any more.
    pub(super) fn farewell(&self) -> Refusal {
        let stopping = || Refusal::new(RefusalCode::Stopping, "the balancer is stopping");
        self.farewell.get().cloned().unwrap_or_else(stopping)
    }

    /// What a client that connects now is allowed.
    pub(super) fn bounds(&self) -> DoorBounds {
        *self.bounds.borrow()
    }
}

impl Inside {
    pub(super) fn gate(&self) -> &Gate {
        &self.door.inner.gate
    }

    pub(super) fn uploads(&self) -> &Arc<Uploads> {
        &self.door.inner.uploads
    }

    /// Refuses a file that neither the queue nor the client's user can ever take.
    pub(super) fn check(&self, size: u64) -> Result<(), Refusal> {
        self.gate().check(size)?;
        self.pass().check_size(size)
    }

    /// The size of the largest file that the queue and the client's user can take, in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.gate().max_file().min(self.pass().largest_file())
    }

    /// Who sends.
    pub(super) fn pass(&self) -> &Pass {
        self.allowed.pass()
    }

    /// A client's key as the hub and the journal know it.
    pub(super) fn own_key(&self, key: Arc<str>) -> Arc<str> {
        self.pass().own_key(key)
    }

    /// Who sends, as the journal has it.
    pub(super) fn allowed(&self) -> &Allowed<ToSend> {
        &self.allowed
    }

    /// Reserves bytes of the disk for a file of `size` bytes of which `there` are written already.
    /// If there are too few, parts of uploads that broke off make way.
    pub(super) async fn reserve_disk(
        &self,
        size: u64,
        there: u64,
    ) -> Result<DiskReservation, Refusal> {
        match self.gate().try_reserve_disk(size, there) {
            Err(_) => {
                self.remove_idle_parts().await;
                self.gate().reserve_disk(size, there)
            }
            reserved => reserved,
        }
    }

    /// Removes parts of uploads that broke off.
    pub(super) async fn remove_idle_parts(&self) {
        let uploads = self.uploads().clone();
        let _ = tokio::task::spawn_blocking(move || uploads.remove_idle_parts()).await;
    }

    /// Tells the hub; a hub that has ended hears nothing, and the connection learns of that by
    /// [`Shutdown::ended`].
    fn tell(&self, event: ToHub) {
        let _ = self.door.inner.hub.send(event);
    }

    /// Has a file refused, unless it came before under its key. The answer goes to the client.
    pub(super) async fn decline(&self, declined: Declined) {
        let queued = self.gate().queued().await;
        self.tell(ToHub::Refuse(declined, queued));
    }

    /// Asks whether a file is wanted. The answer goes to the client.
    pub(super) async fn offer(&self, offer: Offer) {
        let queued = self.gate().queued().await;
        self.tell(ToHub::Offer(offer, queued));
    }

    /// Admits a file whose content is in memory. Large content gets a file of its own first.
    pub(super) async fn admit(&self, file: InMemory) -> Result<(), Refusal> {
        let InMemory {
            title,
            key,
            is_key_of_content,
            content,
            crc32c,
            room,
            mut disk,
            reply,
        } = file;
        let size = content.len() as u64;
        let (content, uploaded) = if size <= INLINE {
            self.gate().wait_for_memory(&mut disk, size).await;
            (Arrived::Memory(content), None)
        } else {
            let uploaded = self.uploads().keep(content).await?;
            (Arrived::Own(uploaded.id), Some(uploaded))
        };
        self.gate().admit(Admission {
            title,
            key,
            is_key_of_content,
            content,
            head_start: None,
            size,
            crc32c,
            room,
            disk,
            allowed: self.allowed().clone(),
            reply,
        });
        let _ = uploaded.map(Uploaded::admitted);
        Ok(())
    }
}
