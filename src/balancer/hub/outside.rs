//! What runs beside the hub: a task for each probe and link, and threads for blocking reads.

use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::balancer::link::{self, Target};
use crate::balancer::messages::ToServer;
use crate::balancer::probe::Prober;
use crate::fleet::Fleet;
use crate::protocol::status::Dialect;
use crate::shutdown::Shutdown;

/// Starts what runs beside the hub. Tasks report back over the hub's channel. Dropping a guard
/// ends its task.
pub(in crate::balancer) trait Outside: Send {
    /// Starts to probe a server.
    fn probe(&mut self, prober: Prober) -> DropGuard;

    /// Opens a link to a server; what arrives at `from_hub` goes over it.
    fn link(
        &mut self,
        target: Target,
        dialect: Dialect,
        from_hub: mpsc::UnboundedReceiver<ToServer>,
    ) -> DropGuard;

    /// Does something that may block.
    fn block(&mut self, job: Box<dyn FnOnce() + Send>);
}

/// Tokio's tasks and blocking threads.
pub(in crate::balancer) struct Tasks {
    pub(in crate::balancer) tracker: TaskTracker,
    /// All of them end with its second phase.
    pub(in crate::balancer) shutdown: Shutdown,
    /// Told what servers tell of their hosts.
    pub(in crate::balancer) fleet: Fleet,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> DropGuard {
        let end = self.shutdown.ended.child_token();
        self.tracker
            .spawn(end.clone().run_until_cancelled_owned(task));
        end.drop_guard()
    }
}

impl Outside for Tasks {
    fn probe(&mut self, prober: Prober) -> DropGuard {
        self.spawn(prober.run(self.fleet.clone()))
    }

    fn link(
        &mut self,
        target: Target,
        dialect: Dialect,
        from_hub: mpsc::UnboundedReceiver<ToServer>,
    ) -> DropGuard {
        self.spawn(link::run(target, dialect, from_hub))
    }

    fn block(&mut self, job: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(job);
    }
}
