//! Configuration: from flags, environment, file and defaults, and reloads while it runs.

mod place;
mod reload;
mod start;
