//! The targets. Each says what must hold for every input, beside that nothing panics.

mod configuration;
mod frame;
mod header;
mod index_line;
mod json_splitter;
mod recovery;

use std::time::Duration;

/// How long each target runs under `cargo test`.
const TIME: Duration = Duration::from_secs(5);
