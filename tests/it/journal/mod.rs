//! The journal, in processes: what was accepted survives kills, damage, full disks and lost
//! servers.

mod damage;
mod directory;
mod disk;
mod doubt;
mod helpers;
mod kills;
mod nonsense;

pub(crate) use helpers::{address_of, check, is_segment};
