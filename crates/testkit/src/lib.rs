//! What Bilico's tests share.
//!
//! Roles run as real processes on free ports of the loopback address; peers can be spoken byte by
//! byte or pretended; a test waits for conditions, with a deadline. Everything that a test starts
//! ends when the test drops it, and at the latest with the test's process.
//!
//! [`chaos`] makes everything fail at once and judges what came of it; `src/bin/chaos.rs` is its
//! command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::unchecked_time_subtraction,
    reason = "a helper that cannot go on fails its test, and says where"
)]

pub mod chaos;
mod client;
mod content;
mod demo;
mod farm;
mod fickle;
mod http;
mod inspect;
mod mount;
mod old_server;
mod port;
mod pretend;
mod process;
mod role;
mod served;
mod size;
mod terminal;
mod wait;
mod wire;

pub use client::{Client, number, put_header};
pub use content::{noise, old_style_put, old_style_store, sample_files, samples};
pub use demo::DEMO_ON_FREE_PORTS;
pub use farm::{Farm, by_title, names_with, start_balancer, start_server, status, stored};
pub use fickle::Fickle;
pub use http::{Response, dechunk, http, http_at, http_raw, response};
pub use mount::{HungMount, Mount, mount};
pub use old_server::OldServer;
pub use port::Port;
pub use pretend::{pretend, pretend_instance, pretend_server, server_hello};
pub use process::{
    ACT_AS_BILICO, Ended, Running, are_there, bilico, bilico_through, limit, processes_in, program,
    run, set_program, signal,
};
pub use rexpect::process::Signal;
pub use role::Role;
pub use served::{Balancer, JOURNAL, Served, store};
pub use size::{is_full_proof, sized};
pub use terminal::{PROMPT, Terminal};
pub use wait::{DEADLINE, uninterrupted, wait_for, wait_for_line, wait_until};
pub use wire::{PREFACE, Wire, frame, message, put};
