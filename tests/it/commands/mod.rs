//! The operators' commands, over the admin listener.

mod helpers;
mod prompt;
mod servers;
mod status;
mod watch;
