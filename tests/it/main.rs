//! Integration tests: real processes, real sockets, one kit (`crates/testkit`).
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    reason = "a test that cannot go on has failed, and helpers outside of test functions are tests, too"
)]

mod access;
mod admin;
mod admin_waits;
mod agent;
mod agents;
mod arrays;
mod backup;
mod bad_input;
mod bench;
mod browser;
mod changed;
mod chaos;
mod commands;
mod config;
mod contexts;
mod custody;
mod damage;
mod delivery;
mod demo;
mod descriptors;
mod doorway;
mod doubt;
mod durations;
mod escaping;
mod events;
mod fleet_api;
mod fleet_cli;
mod fleet_metrics;
mod fleet_register;
mod head_start;
mod host_facts;
mod in_process;
mod journal;
mod keys;
mod layers;
mod log_file;
mod log_stream;
mod logs;
mod metrics;
mod modes;
mod names;
mod old_monitor;
mod old_style;
mod output;
mod overload;
mod page;
mod planted;
mod poison;
mod prompt;
mod protocol_fixtures;
mod queue;
mod reconcile;
mod room;
mod send;
mod service;
mod set_back;
mod silent;
mod standing;
mod threads;
mod tls;
mod twice;
mod users;
mod verify;
mod versions;
mod watch;
mod webdav;
