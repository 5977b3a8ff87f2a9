//! How a balancer is set up, and how it can end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::join::Join;
use super::orders::Settings;
use super::room::LimitsError;
use crate::access::Lock;
use crate::descriptors::Openings;
use crate::fleet::HistoryConfig;
use crate::fleet_core::registry::RegistryConfig;
use crate::protocol::limits::{GREETING_TIMEOUT, ROOM_PATIENCE};
use crate::queue::{Durability, JournalConfig, JournalError};
use crate::transport::tls;

/// The configuration of a balancer.
#[derive(Debug, Clone)]
pub struct BalancerConfig {
    /// What it starts with, and what can be changed while it runs.
    pub settings: Settings,
    /// The most connections of clients at once.
    pub max_connections: usize,
    /// File descriptors beside those that are reserved for these servers and for the process
    /// itself.
    pub openings: Openings,
    /// How long a stopping balancer goes on delivering.
    pub grace: Duration,
    /// The journal's directory.
    pub journal: PathBuf,
    /// How the journal is written.
    pub journal_config: JournalConfig,
    /// Who may do what.
    pub access: Lock,
    /// TLS of the clients' port; `None`: it is off.
    pub tls: Option<Arc<tls::Door>>,
    /// Who may register as a server.
    pub join: Join,
    /// What is kept of what the members of the fleet tell.
    pub history: HistoryConfig,
    /// Bounds and times of the fleet's members.
    pub registry: RegistryConfig,
    /// Waits that no flag sets.
    pub limits: BalancerLimits,
}

impl Default for BalancerConfig {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            max_connections: 16_384,
            openings: Openings::UNBOUNDED,
            grace: Duration::from_secs(10),
            journal: PathBuf::from("journal"),
            journal_config: JournalConfig {
                durability: Durability::Disk,
                segment_size: None,
            },
            access: Lock::off_at_balancer(),
            tls: None,
            join: Join::None,
            history: HistoryConfig::default(),
            registry: RegistryConfig::default(),
            limits: BalancerLimits::default(),
        }
    }
}

/// Bounds on waits that no flag sets; tests pass shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct BalancerLimits {
    /// How long a native client may take for its greeting, from its first byte.
    pub greeting: Duration,
    /// How long a client of the HTTP doorway waits for room before its file is refused.
    pub room_patience: Duration,
    /// The time between two looks for ended files that can be forgotten.
    pub sweep: Duration,
    /// How long connections get for their last receipts once everything else has ended.
    pub last_words: Duration,
}

impl Default for BalancerLimits {
    fn default() -> Self {
        Self {
            greeting: GREETING_TIMEOUT,
            room_patience: ROOM_PATIENCE,
            sweep: Duration::from_secs(1),
            last_words: Duration::from_secs(2),
        }
    }
}

/// Why a balancer cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// The journal cannot be opened, or has failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system refuses the journal's writer thread.
    #[error("cannot start the journal's writer thread: {0}")]
    Thread(std::io::Error),
    /// A server knows of files that this journal has never given it.
    #[error(
        "server {server} {found}: this journal is a copy, or was set back to an earlier state, and \
         gives request numbers a second time"
    )]
    SetBack {
        /// The server that reports the files.
        server: Arc<str>,
        /// What the server reports, beside what the journal holds.
        found: String,
    },
    /// The settings contradict each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
}

/// How a balancer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Accepted files that were not delivered; the journal keeps them for the next start.
    pub undelivered: usize,
}
