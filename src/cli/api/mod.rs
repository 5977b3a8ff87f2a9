//! The way from a command to a running balancer: its admin API over HTTP, and its live events.
//!
//! Everything blocks: commands have nothing else to do meanwhile, and the prompt has threads for
//! it. Any process may listen at the address, so all that is read is bounded.

mod http;
mod listen;
mod order;
mod resolve;

pub(super) use http::{AdminArg, Api, member_path, server_path};
pub(super) use listen::{Heard, listen};
pub(super) use order::{ListArgs, OrderArgs};
pub(super) use resolve::resolve;
