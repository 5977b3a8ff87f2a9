//! The figures of this machine: processor, memory, disk and network.
//!
//! [`Host`] takes a sample when it is asked for one, and gives it as [`Facts`]. Processor, memory and
//! the time since the start come from `sysinfo`; what that has not, or asks of every file system that
//! is mounted, is read from `/proc` and `/sys`. `cgroup` knows the limits of the process's cgroup,
//! `counters` reads what the kernel counts, and `disk` asks for the space of one file system, on a
//! thread of its own, because a mount that hangs never answers.
//!
//! Invariant: a sample waits for no disk and for no network. What cannot be read is left out.
//!
//! [`Facts`]: crate::fleet_core::Facts

mod cgroup;
mod counters;
mod disk;
mod network;
mod process;
mod sample;
#[cfg(test)]
mod tests;

pub use process::Resident;
pub use sample::Host;
