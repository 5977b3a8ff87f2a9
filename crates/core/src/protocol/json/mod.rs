//! The JSON doorway: objects written one after the other with no delimiter, as the first system of
//! this kind speaks them, to balancers and servers alike.
//!
//! [`Splitter`] finds where an object ends, over bytes that arrive split or joined however TCP
//! likes, without reading any byte twice; [`parse`] reads one whole object. The other direction, to
//! an old-style server, is [`old_style_file`].

mod error;
mod old_style;
mod request;
mod splitter;

#[cfg(test)]
mod tests;

pub use error::JsonError;
pub use old_style::{NotOldStyle, is_too_large_for_old_style, old_style_file};
pub use request::{DISCOVERY_REQUEST, Payload, Request, parse, parse_payload};
pub use splitter::{Splitter, leading_space};
