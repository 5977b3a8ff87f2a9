//! The fleet of a balancer: its members, what they tell, and what was told before.
//!
//! [`Fleet`] is the one handle: doorways, probes and links tell it what they hear, and operators ask
//! it. What it decides is [`crate::fleet_core`]'s business; it adds the clock, the lock around the
//! state, and the files in which members and history outlive the balancer.

mod commands;
pub mod datagram;
mod doors;
mod error;
mod handle;
mod history;
mod keeper;
mod kept;
mod measured;
mod membership;
mod notes;
mod servers;
#[cfg(test)]
mod tests;
mod upkeep;

pub use commands::{Command, Commands, MAX_COMMAND, MAX_COMMANDS, NoPlace};
pub use doors::{Count, DoorName, Doors};
pub use error::{FleetError, NotTaken};
pub use handle::Fleet;
pub use history::HistoryConfig;
pub use keeper::Lost;
pub use measured::Greeting;
pub use membership::Membership;
pub use notes::Author;
