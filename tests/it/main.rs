//! Integration tests: real processes, real sockets, one harness.
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    reason = "a test that cannot go on has failed, and helpers outside of test functions are tests, too"
)]

mod admin;
mod arrays;
mod bad_input;
mod bench;
mod browser;
mod chaos;
mod commands;
mod config;
mod delivery;
mod demo;
mod doorway;
#[path = "../chaos/mod.rs"]
mod driver;
mod escaping;
mod harness;
mod journal;
mod keys;
mod log_file;
mod logs;
mod metrics;
mod old_style;
mod overload;
mod page;
mod prompt;
mod queue;
mod reconcile;
mod room;
mod send;
mod verify;
