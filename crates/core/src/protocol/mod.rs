//! Core: the bytes on the wire, as plain functions over bytes.
//!
//! Owns the native protocol (preface, frames, messages), the JSON doorway of the first system of
//! this kind, and the limits of both. Knows no socket, clock or task.
//!
//! Invariant: no input, however hostile, makes this code panic, loop without progress or keep more
//! than the limits say. `docs/protocol.md` shows every byte.

mod decode;
mod encode;
pub mod error;
pub mod facts;
pub mod frame;
mod header;
mod hello;
mod join;
pub mod json;
pub mod limits;
pub mod lists;
pub mod message;
pub mod object;
pub mod status;
mod text;
mod versions;

#[cfg(test)]
mod tests;

pub use decode::is_member_name;
pub use error::{ProtocolError, Refusal, RefusalCode};
pub use facts::HelloFacts;
pub use frame::Frame;
pub use hello::{Hello, Role};
pub use join::{Proof, Register};
pub use message::{CANCELLED, Expected, Message, Prefix};
pub use versions::Versions;
