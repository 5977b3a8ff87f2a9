//! The settings of a command: from its flags, the environment, a configuration file, or defaults.
//!
//! There is a single source of truth, the definition of the command line. The keys of a file are
//! the names of flags, and the values of a file replace the flags' defaults before the command line
//! is parsed. So clap itself gives the order flag, environment, file, default, and a new flag is a
//! key of the file at once. A context comes before the file in the same way.

mod effective;
pub(super) mod file;
pub(super) mod keys;
mod places;
mod program;
mod reading;
mod resolve;
#[cfg(test)]
mod tests;
pub(super) mod values;
pub(super) mod words;

pub(super) use effective::{Effective, Origin};
pub(super) use program::Program;
pub(super) use resolve::{Refused, Started};
