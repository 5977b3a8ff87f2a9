//! Stands in for what runs beside the hub: probes, links, blocking jobs and the journal's writer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::balancer::hub::commits::Submit;
use crate::balancer::hub::outside::Outside;
use crate::balancer::link::Target;
use crate::balancer::messages::ToServer;
use crate::balancer::probe::Prober;
use crate::protocol::status::Dialect;
use crate::queue::Op;
use crate::schedule::Slot;
use crate::transport::{Connect, Connecting};

type Shared<T> = Arc<Mutex<T>>;

/// The operations that the hub has submitted and no commit has counted.
#[derive(Clone, Default)]
pub(super) struct Ops(pub(super) Shared<VecDeque<Op>>);

impl Submit for Ops {
    fn submit(&self, op: Op) {
        self.0.lock().unwrap().push_back(op);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The hub's link to a server, as the server's end sees it.
pub(super) struct OpenLink {
    pub(super) server: Arc<str>,
    pub(super) epoch: u64,
    pub(super) from_hub: mpsc::UnboundedReceiver<ToServer>,
}

/// What the hub has started beside itself.
#[derive(Clone, Default)]
pub(super) struct Beside {
    pub(super) generations: Shared<BTreeMap<Slot, u64>>,
    pub(super) links: Shared<BTreeMap<Slot, OpenLink>>,
    pub(super) jobs: Shared<Vec<Job>>,
}

impl Outside for Beside {
    fn probe(&mut self, prober: Prober) -> DropGuard {
        let mut generations = self.generations.lock().unwrap();
        generations.insert(prober.slot, prober.generation);
        CancellationToken::new().drop_guard()
    }

    fn link(
        &mut self,
        target: Target,
        _: Dialect,
        from_hub: mpsc::UnboundedReceiver<ToServer>,
    ) -> DropGuard {
        let mut links = self.links.lock().unwrap();
        let link = OpenLink {
            server: target.address,
            epoch: target.link.epoch,
            from_hub,
        };
        links.insert(target.link.slot, link);
        CancellationToken::new().drop_guard()
    }

    fn block(&mut self, job: Job) {
        self.jobs.lock().unwrap().push(job);
    }
}

/// Nobody answers anywhere: the world gives the answers itself.
pub(super) struct Nowhere;

impl Connect for Nowhere {
    fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
        Box::pin(std::future::pending())
    }
}
