//! The flags of the fleet: who may join, the doorways of agents, and the history.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::agent_args::AgentArgs;
use super::join_args::JoinArgs;
use super::old_args::OldArgs;
use crate::fleet::HistoryConfig;
use crate::fleet_core::registry::RegistryConfig;
use crate::units::{ByteSize, parse_duration};

/// The flags of the fleet.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fleet")]
pub(in crate::cli) struct FleetArgs {
    #[command(flatten)]
    pub(super) agents: AgentArgs,
    #[command(flatten)]
    pub(super) join: JoinArgs,
    #[command(flatten)]
    pub(super) old: OldArgs,
    /// The directory in which the history of the fleet is kept over restarts; without it, history
    /// is in memory only
    #[arg(long, value_name = "DIR", env = "BILICO_HISTORY")]
    history: Option<PathBuf>,
    /// The most memory for the history of all members together; 0 for none
    ///
    /// Beyond it, the longest stretches of members at which nobody has looked for longest are given
    /// up first.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_HISTORY_MEMORY"
    )]
    history_memory: ByteSize,
    /// How long a member that is silent stays known, if probes do not find it and nothing is in doubt
    /// there; 0 for ever
    #[arg(
        long,
        value_name = "TIME",
        default_value = "24h",
        value_parser = parse_duration,
        env = "BILICO_FORGET_AFTER"
    )]
    forget_after: Duration,
}

impl FleetArgs {
    pub(super) fn registry(&self) -> RegistryConfig {
        RegistryConfig {
            forget_after: Some(self.forget_after).filter(|time| !time.is_zero()),
            ..RegistryConfig::default()
        }
    }

    pub(super) fn history(&self) -> HistoryConfig {
        HistoryConfig {
            memory: self.history_memory,
            dir: self.history.clone(),
        }
    }
}
