//! The targets. Each says what must hold for every input, beside that nothing panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a target fails"
)]

mod configuration;
mod datagram;
mod frame;
mod header;
mod index_line;
mod json_splitter;
mod old_pickle;
mod recovery;

use std::time::Duration;

/// How long each target runs under `cargo test`.
const TIME: Duration = Duration::from_secs(5);
