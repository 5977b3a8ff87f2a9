//! Proof that the journal keeps what it promises, whatever the disk does.
//!
//! [`model`] says what has to be found, [`driver`] does with a journal what the balancer's writer
//! does with it; the others put something in their way. `docs/testing.md` tells how to run more of
//! it, and which bugs it was seen to catch.

mod crashes;
mod custody;
mod damage;
mod driver;
mod flip_stories;
mod flips;
mod model;
mod random_steps;
mod sample;
mod space;
mod starting_over;
mod stories;

/// The number that an environment variable holds.
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
