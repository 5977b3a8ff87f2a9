//! Core: what travels on the wire, as plain functions over bytes.
//!
//! Owns the native protocol (preface, frames, messages), the JSON doorway of the first system of
//! this kind, and the limits that stand beside both. Knows no socket, clock or task:
//! [`crate::transport`] drives it.
//!
//! Invariant: no input, however hostile, makes anything in here panic, loop without progress or
//! keep more than the limits say. `docs/protocol.md` shows every byte.

pub mod error;
pub mod frame;
mod header;
pub mod json;
pub mod limits;
pub mod lists;
pub mod message;
pub mod object;
pub mod status;

pub use error::{ProtocolError, Refusal, RefusalCode};
pub use frame::Frame;
pub use message::{Expected, Message, Prefix, Role};
