//! Where the members are kept.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::kept::{self, FILE};
use crate::fleet_core::registry::{KeptMember, Registry, RegistryConfig};
use crate::queue::disk::Disk;

/// Keeps the members in the journal's directory.
pub(super) struct Keeper {
    disk: Arc<dyn Disk>,
    journal: String,
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
        let registry = kept.and_then(|kept| {
            Registry::restore(config, kept, Duration::ZERO).map_err(|error| error.to_string())
        });
        let (registry, lost) = match registry {
            Ok(registry) => (registry, None),
            Err(reason) => {
                let place = FILE.set_aside(&*disk);
                (Registry::new(config), Some(Lost { reason, place }))
            }
        };
        (Self { disk, journal }, registry, lost)
    }

    /// Writes the members. Blocks; when it returns they are durable.
    pub(super) fn write(&self, members: Vec<KeptMember>) -> io::Result<()> {
        FILE.write(&*self.disk, &kept::text(&self.journal, members))
    }
}
