//! Integration tests: real processes, real sockets, one harness.
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod bad_input;
mod delivery;
mod demo;
mod harness;
mod old_style;
mod overload;
mod prompt;
mod send;
