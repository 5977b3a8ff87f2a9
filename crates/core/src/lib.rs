//! The cores that decide: what travels on the wire, and which server is next.
//!
//! Nothing in this crate knows a socket, a task, a clock, a disk or the command line. It is told what
//! happened and when, and answers with what is to be done, so that tests drive it by the million.

pub mod checksum;
pub mod config;
pub mod durability;
pub mod file;
pub mod fleet;
pub mod numbers;
pub mod os_error;
pub mod os_text;
pub mod protocol;
pub mod schedule;
pub mod secret;
pub mod text;
pub mod units;
