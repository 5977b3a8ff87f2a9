//! The links of balancers that are open, by journal: a newer one takes over from the older ones.
//!
//! A balancer that connects anew is told what is held for it. What its older connections are still
//! bringing would be missing from that and come to be stored behind its back, so they are ended
//! first, and with them whatever of a file they have half received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::protocol::{Refusal, RefusalCode};

/// How long older links are waited for. They end as soon as they are told; only a machine at its
/// limits takes time.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Ends one link from outside of it, and says why.
#[derive(Debug, Default)]
pub(super) struct Leave {
    told: CancellationToken,
    reason: OnceLock<Refusal>,
}

impl Leave {
    /// Ends the link. The first reason counts.
    pub(super) fn because(&self, reason: Refusal) {
        let _ = self.reason.set(reason);
        self.told.cancel();
    }

    /// Waits until the link is told to end.
    pub(super) async fn told(&self) {
        self.told.cancelled().await;
    }

    /// Why it was told to end.
    pub(super) fn reason(&self) -> Option<Refusal> {
        self.reason.get().cloned()
    }
}

/// All links of balancers with an identity.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<HashMap<Arc<str>, Vec<LinkEntry>>>);

#[derive(Debug, Clone)]
struct LinkEntry {
    leave: Arc<Leave>,
    /// Cancelled when it submits no more files.
    quiet: CancellationToken,
}

/// A link's place among the others; dropped when it submits no more files.
#[derive(Debug)]
pub(super) struct Entered {
    links: Arc<Links>,
    journal: Arc<str>,
    quiet: CancellationToken,
}

impl Links {
    /// Enters a link of this journal, ends all older ones, and waits until they submit nothing
    /// more; `None` if that takes too long.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        journal: Arc<str>,
        leave: Arc<Leave>,
    ) -> Option<Entered> {
        let link = LinkEntry {
            leave,
            quiet: CancellationToken::new(),
        };
        let entered = Entered {
            links: self.clone(),
            journal: journal.clone(),
            quiet: link.quiet.clone(),
        };
        let older = {
            let mut links = self.lock();
            let of_journal = links.entry(journal).or_default();
            let older = of_journal.clone();
            of_journal.push(link);
            older
        };
        for link in &older {
            link.leave.because(Refusal::new(
                RefusalCode::Stopping,
                "the same balancer has opened a newer connection",
            ));
        }
        let all_quiet = async {
            for link in &older {
                link.quiet.cancelled().await;
            }
        };
        timeout(TAKE_OVER, all_quiet).await.ok().map(|()| entered)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<LinkEntry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // First, so that a link that finds no older one need not wait.
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
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newest_link_ends_all_older_ones_and_waits_for_them() {
        let links = Arc::new(Links::default());
        let enter = |leave: &Arc<Leave>| {
            let (links, leave) = (links.clone(), leave.clone());
            async move { links.take_over("j".into(), leave).await }
        };
        let leaves: Vec<_> = (0..3).map(|_| Arc::new(Leave::default())).collect();
        let first = enter(&leaves[0]).await.unwrap();
        let (second, third) = (
            tokio::spawn(enter(&leaves[1])),
            tokio::spawn(enter(&leaves[2])),
        );
        leaves[0].told().await;
        leaves[1].told().await;
        assert!(
            leaves[1]
                .reason()
                .unwrap()
                .reason
                .contains("newer connection")
        );
        assert!(leaves[2].reason().is_none() && !third.is_finished());
        drop(first);
        drop(second.await.unwrap().unwrap());
        drop(third.await.unwrap().unwrap());
        assert!(links.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_does_not_end_is_not_waited_for_for_ever() {
        let links = Arc::new(Links::default());
        let stuck = links.take_over("j".into(), Arc::default()).await.unwrap();
        let other = links.take_over("other".into(), Arc::default()).await;
        assert!(other.is_some(), "another journal's links are none of its");
        assert!(links.take_over("j".into(), Arc::default()).await.is_none());
        drop((stuck, other));
        assert!(links.take_over("j".into(), Arc::default()).await.is_some());
    }
}
