//! A hub over a simulated disk, driven without tasks, sockets or a clock.
//!
//! [`world`] is the hub with everything around it, [`peers`] and [`outside`] are its parts, and
//! [`clients`], [`servers`] and [`operators`] say what they can do. The other files are tests.

mod backlog;
mod cancels;
mod clients;
mod crashes;
mod duplicates;
mod errands;
mod head_start;
mod keys;
mod members;
mod operators;
mod orders;
mod outside;
mod peers;
mod reconcile;
mod servers;
mod world;
