//! Where the members are kept.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::kept::{self, FILE};
use crate::fleet_core::registry::{KeptMember, Registry, RegistryConfig};
use crate::queue::disk::Disk;

/// Keeps the members in the journal's directory.
pub(super) struct Keeper {
    disk: Arc<dyn Disk>,
    journal: String,
    /// Whether the file is there. Held while it is written.
    exists: Mutex<bool>,
}

/// The members of earlier runs cannot be read.
#[derive(Debug)]
pub struct Lost {
    /// Why.
    pub reason: String,
    /// The name under which the file is kept, in the journal's directory.
    pub place: &'static str,
}

impl Keeper {
    /// Reads the members of earlier runs. A file that cannot be used is set aside.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        journal: String,
        config: RegistryConfig,
    ) -> (Self, Registry, Option<Lost>) {
        let kept = kept::read(&*disk, &journal);
        let exists = matches!(&kept, Ok(Some(_)));
        let registry = kept.and_then(|kept| {
            let kept = kept.unwrap_or_default();
            Registry::restore(config, kept, Duration::ZERO).map_err(|error| error.to_string())
        });
        let (registry, lost) = match registry {
            Ok(registry) => (registry, None),
            Err(reason) => {
                let place = FILE.set_aside(&*disk);
                (Registry::new(config), Some(Lost { reason, place }))
            }
        };
        let keeper = Self {
            disk,
            journal,
            exists: Mutex::new(exists && lost.is_none()),
        };
        (keeper, registry, lost)
    }

    /// Writes the members, whom `keep` gives with something about them. Blocks; when it returns they
    /// are durable. Nobody who has no fleet gets a file of it.
    pub(super) fn write<T>(&self, keep: impl FnOnce() -> (Vec<KeptMember>, T)) -> io::Result<T> {
        // One after the other: what is newer is written later.
        let mut exists = self.lock();
        let (members, about) = keep();
        if *exists || !members.is_empty() {
            FILE.write(&*self.disk, &kept::text(&self.journal, members))?;
            *exists = true;
        }
        Ok(about)
    }

    /// Whether the file is there, or is being made.
    pub(super) fn exists(&self) -> bool {
        (self.exists.try_lock()).map_or(true, |exists| *exists)
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.exists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
