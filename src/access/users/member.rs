//! A user as all that it has under way shares it: its quota, and what it takes up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedMutexGuard};

use super::name::UserName;
use super::quota::Quota;

/// How long a user may have handed nothing over and make up for it at once.
const MAKES_UP: Duration = Duration::from_secs(10);

/// A user, shared by all that it has under way.
#[derive(Debug)]
pub(in crate::access) struct Member {
    /// Its name.
    pub(in crate::access) name: UserName,
    /// What it may take up.
    quota: RwLock<Quota>,
    /// What it takes up.
    usage: Usage,
    /// Held while it changes something about itself.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Member {
    pub(super) fn new(name: UserName, quota: Quota) -> Self {
        Self {
            name,
            quota: RwLock::new(quota),
            usage: Usage::default(),
            turn: Arc::default(),
        }
    }

    /// Waits for its turn to change something about itself.
    pub(in crate::access) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    /// Bounds it otherwise from now on. What it has under way goes on.
    pub(super) fn set_quota(&self, quota: Quota) {
        *self.quota.write().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    /// How long its next file must wait for its turn; it counts as handed over.
    pub(in crate::access) fn pace(&self, at: Instant) -> Duration {
        self.usage.pace(self.quota(), at)
    }

    /// What it may take up now.
    pub(in crate::access) fn quota(&self) -> Quota {
        *self.quota.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a user takes up at the moment.
#[derive(Debug, Default)]
struct Usage {
    now: Mutex<Now>,
    /// Signalled when something waits no longer.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Now {
    sessions: u64,
    files: u64,
    bytes: u64,
    /// When the next file is due at the user's pace.
    due: Option<Instant>,
}

/// A connection of a user. It counts until it is dropped.
#[derive(Debug)]
pub struct UserSession(Arc<Member>);

/// A file of a user that comes in or waits. It counts until it is dropped.
#[derive(Debug)]
pub struct Charge {
    of: Arc<Member>,
    bytes: u64,
}

/// A user has too many connections.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the user has {0} connections already, which is its quota: close one first")]
pub struct TooManySessions(u64);

impl Usage {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the user's next file must wait for its turn at this pace; it counts as handed over.
    fn pace(&self, quota: Quota, at: Instant) -> Duration {
        let Some(rate) = quota.files_per_second.filter(|rate| *rate > 0) else {
            return Duration::ZERO;
        };
        let between = Duration::from_nanos(1_000_000_000 / rate);
        let mut now = self.now();
        let earliest = at.checked_sub(MAKES_UP).unwrap_or(at);
        let due = now.due.map_or(earliest, |due| due.max(earliest));
        now.due = Some(due + between);
        due.saturating_duration_since(at)
    }
}

impl Member {
    /// Counts a connection, if the user may have one more.
    pub(in crate::access) fn session(self: &Arc<Self>) -> Result<UserSession, TooManySessions> {
        let most = self.quota().sessions;
        let mut now = self.usage.now();
        match most {
            Some(most) if now.sessions >= most => Err(TooManySessions(most)),
            _ => {
                now.sessions += 1;
                Ok(UserSession(self.clone()))
            }
        }
    }

    /// Counts a file, if so much may wait.
    pub(in crate::access) fn try_charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let quota = self.quota();
        let mut now = self.usage.now();
        let has_room = |most: Option<u64>, sum: u64| most.is_none_or(|most| sum <= most);
        let fits = has_room(quota.waiting_files, now.files + 1)
            && has_room(quota.waiting_bytes, now.bytes.saturating_add(bytes));
        fits.then(|| self.count(&mut now, bytes))
    }

    /// Counts a file that waits already.
    pub(in crate::access) fn charge_anyway(self: &Arc<Self>, bytes: u64) -> Charge {
        self.count(&mut self.usage.now(), bytes)
    }

    fn count(self: &Arc<Self>, now: &mut Now, bytes: u64) -> Charge {
        now.files += 1;
        now.bytes = now.bytes.saturating_add(bytes);
        Charge {
            of: self.clone(),
            bytes,
        }
    }

    /// Waits until so much may wait, and counts a file.
    pub(in crate::access) async fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        loop {
            let freed = self.usage.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(charge) = self.try_charge(bytes) {
                return charge;
            }
            // A quota that was raised meanwhile is noticed, too.
            let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
        }
    }
}

impl Charge {
    /// The file turned out to have so many bytes.
    pub fn set(&mut self, bytes: u64) {
        let mut now = self.of.usage.now();
        now.bytes = now.bytes.saturating_sub(self.bytes).saturating_add(bytes);
        self.bytes = bytes;
        drop(now);
        self.of.usage.freed.notify_waiters();
    }
}

impl Drop for UserSession {
    fn drop(&mut self) {
        let mut now = self.0.usage.now();
        now.sessions = now.sessions.saturating_sub(1);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut now = self.of.usage.now();
        now.files = now.files.saturating_sub(1);
        now.bytes = now.bytes.saturating_sub(self.bytes);
        drop(now);
        self.of.usage.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::users::UserName;

    fn member(quota: Quota) -> Arc<Member> {
        let name = UserName::parse("anna").unwrap();
        Arc::new(Member::new(name, quota))
    }

    #[test]
    fn connections_count_until_they_are_closed() {
        let member = member(Quota {
            sessions: Some(2),
            ..Quota::default()
        });
        let (one, _two) = (member.session().unwrap(), member.session().unwrap());
        assert_eq!(member.session().unwrap_err(), TooManySessions(2));
        drop(one);
        member.session().unwrap();
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_files_and_bytes() {
        let member = member(Quota {
            waiting_files: Some(3),
            waiting_bytes: Some(100),
            ..Quota::default()
        });
        let large = member.try_charge(90).unwrap();
        assert!(member.try_charge(11).is_none());
        let mut small: Vec<_> = (0..2).map(|_| member.try_charge(1).unwrap()).collect();
        assert!(member.try_charge(1).is_none(), "a fourth file");
        let waiting = tokio::spawn({
            let member = member.clone();
            async move { member.charge(50).await }
        });
        tokio::task::yield_now().await;
        small.pop();
        drop(large);
        waiting.await.unwrap();
    }

    #[test]
    fn a_pace_is_kept_on_average_and_made_up_for_within_bounds() {
        let usage = Usage::default();
        let quota = Quota {
            files_per_second: Some(10),
            ..Quota::default()
        };
        let begin = Instant::now() + Duration::from_mins(1);
        let at_once = (0..1000)
            .take_while(|_| usage.pace(quota, begin).is_zero())
            .count();
        assert_eq!(at_once, 101, "ten seconds' worth, and the one that is due");
        let wait = usage.pace(quota, begin);
        assert_eq!(wait.as_millis(), 200);
        assert!(usage.pace(quota, begin + Duration::from_secs(1)).is_zero());
        assert!(usage.pace(Quota::default(), begin).is_zero());
    }
}
