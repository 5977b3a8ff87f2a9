//! The flags of the fleet: who may join, the doorways of agents, and the history.

use clap::Args;

use super::agent_args::AgentArgs;
use super::join_args::JoinArgs;
use super::old_args::OldArgs;

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
}
