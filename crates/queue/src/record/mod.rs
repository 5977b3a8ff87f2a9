//! The records of the journal: what they say, and the bytes of their bodies.
//!
//! The frame around a body is [`super::segment`]'s.

mod codec;
#[cfg(test)]
mod tests;
mod types;

pub use bilico_core::file::{Attempt, History, MAX_HISTORY, Meta, cut};
pub(crate) use types::Record;
pub use types::{Accepted, Content, Death, End, Ended};
