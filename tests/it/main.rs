//! Integration tests: real processes, real sockets, one harness.

mod delivery;
mod harness;
