//! A hub over a simulated disk, driven without tasks, sockets or a clock.

mod backlog;
mod crashes;
mod duplicates;
mod keys;
mod orders;
mod reconcile;
mod world;
