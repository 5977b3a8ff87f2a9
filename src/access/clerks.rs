//! Three threads for accounts, apart from all others: two check passwords, and one writes changes.
//!
//! A password takes a processor for tens of milliseconds and 19 MiB of memory. Whoever sends many
//! keeps the first two busy, and the files of others go their way, as do the orders of an
//! administrator who shuts somebody out meanwhile. What users change about themselves takes half of the
//! third one's queue at most, so an order always finds a place.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::{Semaphore, oneshot};

/// The threads that check passwords.
const CHECKERS: usize = 2;

/// The most pieces of work of a kind that wait.
const WAITING: usize = 32;

/// The most of them that users have wanted for themselves.
const OF_USERS: usize = WAITING / 2;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the threads. They end with it.
#[derive(Debug)]
pub(super) struct Clerks {
    checks: SyncSender<Work>,
    changes: SyncSender<Work>,
    of_users: Semaphore,
}

/// Too much waits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Clerks {
    /// Starts the threads.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self {
            checks: threads(CHECKERS)?,
            changes: threads(1)?,
            of_users: Semaphore::new(OF_USERS),
        })
    }

    /// Has a password checked.
    pub(super) async fn check<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        done_by(&self.checks, work).await
    }

    /// Has users read or changed, for somebody who has shown that they may.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        done_by(&self.changes, work).await
    }

    /// The same for users who want it for themselves. They wait for each other.
    pub(super) async fn change_own<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        // It is never closed.
        let _place = self.of_users.acquire().await;
        self.change(work).await
    }
}

/// Starts so many threads with one queue before them.
fn threads(count: usize) -> io::Result<SyncSender<Work>> {
    let (to, work) = sync_channel::<Work>(WAITING);
    let work = Arc::new(Mutex::new(work));
    for _ in 0..count {
        let work = work.clone();
        thread::Builder::new()
            .name("accounts".to_owned())
            .spawn(move || {
                while let Some(next) = next(&work) {
                    next();
                }
            })?;
    }
    Ok(to)
}

async fn done_by<T: Send + 'static>(
    clerks: &SyncSender<Work>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Busy> {
    let (to, done) = oneshot::channel();
    let work = move || {
        let _ = to.send(work());
    };
    clerks.try_send(Box::new(work)).map_err(|_| Busy)?;
    done.await.map_err(|_| Busy)
}

fn next(work: &Mutex<Receiver<Work>>) -> Option<Work> {
    work.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_work_a_few_wait_and_more_are_turned_away() {
        let clerks = Arc::new(Clerks::start().unwrap());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (clerks, gate) = (clerks.clone(), gate.clone());
            waiting.spawn(async move {
                // It waits for the sender to be dropped.
                let work = move || gate.lock().unwrap().recv().is_ok();
                clerks.check(work).await
            });
        }
        let mut turned_away = 0;
        while turned_away < 100 - WAITING - CHECKERS {
            let turned = waiting.join_next().await.unwrap().unwrap();
            assert_eq!(turned, Err(Busy));
            turned_away += 1;
        }
        // Changes do not wait for them.
        assert_eq!(clerks.change(|| 7).await, Ok(7));
        drop(open);
        while let Some(done) = waiting.join_next().await {
            turned_away += usize::from(done.unwrap().is_err());
        }
        assert!(turned_away <= 100 - WAITING, "{turned_away} of 100");
    }

    #[tokio::test]
    async fn an_order_finds_a_place_however_much_users_want() {
        let clerks = Arc::new(Clerks::start().unwrap());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut wanted = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (clerks, gate) = (clerks.clone(), gate.clone());
            wanted.spawn(async move {
                let work = move || gate.lock().unwrap().recv().is_err();
                clerks.change_own(work).await
            });
        }
        while clerks.of_users.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let ordered = clerks.change(|| 7);
        let (ordered, ()) = tokio::join!(ordered, async { drop(open) });
        assert_eq!(ordered, Ok(7));
        while let Some(done) = wanted.join_next().await {
            assert_eq!(done.unwrap(), Ok(true), "nobody is turned away");
        }
    }
}
