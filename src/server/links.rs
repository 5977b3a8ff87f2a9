//! The open links of balancers, by journal: which of them a new link ends.
//!
//! A balancer that connects is told which files of its journal are stored here. A file that one of
//! its older connections is still sending would be missing from that list and be stored afterwards,
//! so those connections end first, and the files they have sent half of are discarded.
//!
//! Which older links a new one ends follows from the [`Tenure`]s of both:
//!
//! | older link | new link | the older one |
//! |---|---|---|
//! | any | sole | ends |
//! | sole | shared | ends |
//! | shared, lower epoch | shared | ends |
//! | shared, same epoch, same instance | shared | ends |
//! | shared, same epoch, other instance | shared | stays |
//! | shared, higher epoch | shared | stays, and the new link is refused as stale |
//! | any | lane | stays |
//!
//! A lane is the second connection of a balancer's link, for large files. It ends nothing, and
//! otherwise counts as the link does: with the tenure of its balancer, newer links end it. So does a
//! connection over which a file comes ahead.
//!
//! The row of the higher epoch keeps a balancer that was given up from coming back and ending its successor's
//! link. It holds as long as the successor has a link open: epochs are not kept on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::protocol::{Refusal, RefusalCode};

/// How long a new link waits for older ones to end. They end as soon as they are told to; it takes
/// time only on a machine at its limits.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Who else may use the journal of a link's balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tenure {
    /// Nobody: any other link of the journal belongs to this balancer or to its former process.
    Sole,
    /// Other balancers of the same epoch of the journal.
    Shared {
        /// Grows whenever a balancer joins or is given up.
        epoch: u64,
        /// The balancer's process.
        instance: Arc<str>,
    },
}

impl Tenure {
    /// What a balancer's greeting says. An epoch counts only together with an instance: without one
    /// the links of two balancers could not be told apart.
    pub(super) fn of(epoch: Option<u64>, instance: Option<Arc<str>>) -> Self {
        match (epoch, instance) {
            (Some(epoch), Some(instance)) => Self::Shared { epoch, instance },
            _ => Self::Sole,
        }
    }

    /// Whether a new link ends an `older` one, which it is not stale beside.
    fn ends(&self, older: &Self) -> bool {
        match (self, older) {
            (
                Self::Shared { epoch, instance },
                Self::Shared {
                    epoch: older_epoch,
                    instance: older_instance,
                },
            ) => epoch > older_epoch || instance == older_instance,
            _ => true,
        }
    }

    fn epoch(&self) -> Option<u64> {
        match self {
            Self::Sole => None,
            Self::Shared { epoch, .. } => Some(*epoch),
        }
    }
}

/// Why a link cannot be entered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnterError {
    /// A link of a later epoch is open.
    #[error(
        "this balancer belongs to epoch {ours} of its journal, which has ended: epoch {current} \
         has begun"
    )]
    Stale { ours: u64, current: u64 },
    /// The journal belongs to another balancer.
    #[error(
        "this journal belongs to the balancer {owner}, and the certificate is that of {balancer}: to \
         give it to {balancer}, name the balancers that may come without {owner} (--balancer)"
    )]
    Foreign { owner: Arc<str>, balancer: Arc<str> },
    /// Whose the journal is cannot be found out or recorded.
    #[error("cannot record whose journal this is: {0}")]
    Unbound(String),
    /// Older links have not ended in [`TAKE_OVER`].
    #[error("an older connection of the same balancer has not ended yet")]
    Busy,
}

impl EnterError {
    /// What the balancer is told.
    pub(super) fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Stale { .. } => RefusalCode::Stale,
            Self::Foreign { .. } => RefusalCode::Forbidden,
            Self::Busy => RefusalCode::Busy,
            Self::Unbound(_) => RefusalCode::Storage,
        };
        Refusal::new(code, self.to_string())
    }
}

/// Ends a link from outside of its task.
#[derive(Debug, Default)]
pub(super) struct Leave {
    asked: CancellationToken,
    reason: OnceLock<Refusal>,
}

impl Leave {
    /// Ends the link. The first reason counts.
    pub(super) fn because(&self, reason: Refusal) {
        let _ = self.reason.set(reason);
        self.asked.cancel();
    }

    /// Waits until the link has to end.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Why the link has to end; `None` as long as it may go on.
    pub(super) fn reason(&self) -> Option<Refusal> {
        self.reason.get().cloned()
    }
}

/// All links of balancers that name their journal.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: Mutex<HashMap<Arc<str>, Vec<LinkEntry>>>,
}

#[derive(Debug, Clone)]
struct LinkEntry {
    tenure: Tenure,
    leave: Arc<Leave>,
    /// Cancelled when the link submits no more files.
    quiet: CancellationToken,
}

/// A link's entry in [`Links`]; dropped when the link submits no more files.
#[derive(Debug)]
pub(super) struct Entered {
    links: Arc<Links>,
    journal: Arc<str>,
    quiet: CancellationToken,
}

impl Links {
    /// Enters a link or lane of this journal, ends the older ones that its tenure ends, and waits until
    /// they submit nothing more.
    pub(super) async fn enter(
        self: &Arc<Self>,
        journal: Arc<str>,
        tenure: Tenure,
        is_lane: bool,
        leave: Arc<Leave>,
    ) -> Result<Entered, EnterError> {
        let link = LinkEntry {
            tenure,
            leave,
            quiet: CancellationToken::new(),
        };
        let entered = Entered {
            links: self.clone(),
            journal,
            quiet: link.quiet.clone(),
        };
        let ended = self.add(&entered.journal, link, is_lane)?;
        for link in &ended {
            link.leave.because(Refusal::new(
                RefusalCode::Stopping,
                "the same balancer has opened a newer connection",
            ));
        }
        let all_quiet = async {
            for link in &ended {
                link.quiet.cancelled().await;
            }
        };
        match timeout(TAKE_OVER, all_quiet).await {
            Ok(()) => Ok(entered),
            Err(_) => Err(EnterError::Busy),
        }
    }

    /// Adds a link, unless it is stale, and returns the older ones that it ends.
    fn add(
        &self,
        journal: &Arc<str>,
        link: LinkEntry,
        is_lane: bool,
    ) -> Result<Vec<LinkEntry>, EnterError> {
        let mut links = self.lock();
        let of_journal = links.entry(journal.clone()).or_default();
        let current = of_journal
            .iter()
            .filter_map(|older| older.tenure.epoch())
            .max();
        if let (Some(ours), Some(current)) = (link.tenure.epoch(), current)
            && ours < current
        {
            return Err(EnterError::Stale { ours, current });
        }
        let ended = of_journal
            .iter()
            .filter(|older| !is_lane && link.tenure.ends(&older.tenure))
            .cloned()
            .collect();
        of_journal.push(link);
        Ok(ended)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<LinkEntry>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Before the entry goes: a link that finds no older one does not wait.
        self.quiet.cancel();
        let mut links = self.links.lock();
        if let Some(of_journal) = links.get_mut(&self.journal) {
            of_journal.retain(|link| !link.quiet.is_cancelled());
            if of_journal.is_empty() {
                links.remove(&self.journal);
            }
        }
    }
}

#[cfg(test)]
mod tests;
