//! Figures about TLS, for operators.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

/// What was counted on one leg, and until when its certificate is valid.
#[derive(Debug)]
pub struct Gauge {
    leg: &'static str,
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) plain: AtomicU64,
    /// The last second of the certificate, as Unix counts; 0 without one.
    expires: AtomicI64,
}

/// The gauges of this process, as the log's counter of lost lines is one for all, too.
static KNOWN: Mutex<Vec<Weak<Gauge>>> = Mutex::new(Vec::new());

impl Gauge {
    /// The gauge of a leg, which is called so.
    pub fn new(leg: &'static str) -> Arc<Self> {
        let gauge = Arc::new(Self {
            leg,
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            plain: AtomicU64::new(0),
            expires: AtomicI64::new(0),
        });
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        known.push(Arc::downgrade(&gauge));
        gauge
    }

    /// All that there are.
    pub fn all() -> Vec<Arc<Self>> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    }

    /// What the leg is called.
    pub fn leg(&self) -> &'static str {
        self.leg
    }

    /// The handshakes that succeeded, those that failed, and the connections that began as plain
    /// text.
    pub fn counts(&self) -> [u64; 3] {
        [&self.done, &self.failed, &self.plain].map(|count| count.load(Ordering::Relaxed))
    }

    /// Notes the last second of the certificate in use.
    pub fn set_expiry(&self, not_after: i64) {
        self.expires.store(not_after, Ordering::Relaxed);
    }

    /// The seconds until the certificate expires, less than 0 afterwards; `None` without one.
    pub fn expires_in(&self) -> Option<i64> {
        let expires = self.expires.load(Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        (expires != 0).then(|| expires - i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
    }
}
