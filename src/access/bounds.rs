//! The quota of a user, as doorways ask for it. Whoever is known by their place alone has none.

use std::time::{Duration, Instant};

use super::pass::Pass;
use super::users::{Charge, Quota, UserSession};
use crate::protocol::{Refusal, RefusalCode};
use crate::units::ByteSize;

impl Pass {
    fn quota(&self) -> Quota {
        self.known()
            .map_or_else(Quota::default, |known| known.member.quota())
    }

    /// Counts a connection of the user until the value is dropped, if it may have one more.
    pub fn session(&self) -> Result<Option<UserSession>, Refusal> {
        let session = self.known().map(|known| known.member.session());
        session
            .transpose()
            .map_err(|error| Refusal::new(RefusalCode::Busy, error.to_string()))
    }

    /// Refuses a file that the user may never hand over.
    pub fn check_size(&self, size: u64) -> Result<(), Refusal> {
        let most = self.largest_file();
        if size <= most {
            return Ok(());
        }
        let (size, most) = (ByteSize(size), ByteSize(most));
        let reason = format!("a file of {size}: the user's quota allows {most}");
        Err(Refusal::new(RefusalCode::TooLarge, reason))
    }

    /// The size of the largest file that the user may hand over, in bytes.
    pub fn largest_file(&self) -> u64 {
        let quota = self.quota();
        let mosts = [quota.largest_file, quota.waiting_bytes];
        mosts.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// How long the user's next file must wait for its turn; it counts as handed over.
    pub fn pace(&self) -> Duration {
        self.known()
            .map_or(Duration::ZERO, |known| known.member.pace(Instant::now()))
    }

    /// Waits for the turn of the user's next file, and until so many bytes may come in.
    pub async fn turn(&self, pace: Duration, bytes: u64) -> Option<Charge> {
        let known = self.known()?;
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        Some(known.member.charge(bytes).await)
    }

    /// Whether so many bytes may come in and wait beside what the user has waiting: then they count
    /// until the value is dropped.
    pub fn try_charge(&self, bytes: u64) -> Result<Option<Charge>, OverQuota> {
        let Some(known) = self.known() else {
            return Ok(None);
        };
        known.member.try_charge(bytes).map(Some).ok_or(OverQuota)
    }
}

/// More of the user's files wait than its quota allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many of the user's files wait as its quota allows")]
pub struct OverQuota;
