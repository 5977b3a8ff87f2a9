//! What all connections of a server share, and what each of them begins with.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::cluster::ClusterDoor;
use super::super::config::ServerConfig;
use super::super::figures::Figures;
use super::super::links::Links;
use super::super::overload::Overload;
use super::super::store::Store;
use super::super::work::Work;
use crate::access::{Allowed, At, Lock, Pass, ToStore};
use crate::fleet_core::Facts;
use crate::pool::Pool;
use crate::protocol::limits::GREETING_TIMEOUT;
use crate::protocol::{Hello, HelloFacts, Message, Refusal, Role, frame};
use crate::transport::{Deadlines, ReadError};

/// How many of the largest old-style documents may be in memory at once, one of them with the turn.
const LARGE_DOCUMENTS: u64 = 4;

/// What every connection needs. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct Shared {
    lock: Lock,
    store: Store,
    pub(super) work: Work,
    pub(super) overload: Arc<Overload>,
    figures: Arc<Figures>,
    pub(super) deadlines: Deadlines,
    /// Memory for large old-style documents.
    pub(super) large: Arc<Pool>,
    /// The largest object at the JSON doorway, in bytes.
    pub(super) max_json: u64,
    /// No new files are taken once this is cancelled.
    pub(super) stop: CancellationToken,
    /// The links of balancers that name their journal.
    pub(super) links: Arc<Links>,
    /// Whether `status` is answered with a line of status.
    pub(super) old_status: bool,
    /// TLS of the port, where the server belongs to a cluster.
    pub(super) cluster: Option<ClusterDoor>,
}

impl Shared {
    pub(in super::super) fn new(
        config: &ServerConfig,
        store: Store,
        work: Work,
        (overload, figures): (Arc<Overload>, Arc<Figures>),
        stop: CancellationToken,
    ) -> Self {
        Self {
            lock: config.access.clone(),
            store,
            work,
            overload,
            figures,
            deadlines: Deadlines {
                stall: config.stall,
                idle: config.idle,
            },
            large: Arc::new(Pool::new(
                config.max_json.saturating_mul(LARGE_DOCUMENTS - 1),
            )),
            max_json: config.max_json,
            stop,
            links: Arc::default(),
            old_status: config.old_status,
            cluster: config.cluster.clone(),
        }
    }

    /// Who connects from this address.
    pub(super) fn pass_of(&self, peer: SocketAddr) -> Pass {
        self.lock.by_place(At::plain(peer))
    }

    /// The store, for somebody who may act as a balancer; what they are told otherwise.
    pub(super) fn store_for(&self, pass: &Pass) -> Result<Store, Refusal> {
        let allowed = pass.allow().map_err(|denied| denied.refusal())?;
        Ok(self.store(&allowed))
    }

    fn store(&self, _: &Allowed<ToStore>) -> Store {
        self.store.clone()
    }

    /// The latest figures of the host; `None` until they were measured.
    pub(super) fn facts(&self) -> Option<Arc<Facts>> {
        self.figures.latest()
    }

    /// The preface and the server's hello.
    pub(super) fn greeting(&self) -> Vec<u8> {
        let mut out = Vec::new();
        frame::encode_preface(&mut out);
        let hello = Message::from(Hello {
            overloaded: Some(self.overload.is_set()),
            identity: self.store.identity(),
            memory: self.overload.memory(),
            instance: Some(self.store.instance()),
            bulk: Some(true),
            // The work needs content in memory.
            ahead: (!self.work.holds()).then_some(true),
            facts: self
                .figures
                .latest()
                .map_or(HelloFacts::Untold, HelloFacts::Told),
            ..Hello::of(Role::Server)
        });
        frame::encode(&hello, 0, &mut out);
        out
    }
}

/// How a connection ends whose peer has not said in time what it wants.
pub(super) fn silent<T>() -> Result<T, ReadError> {
    Err(ReadError::Idle(GREETING_TIMEOUT))
}
