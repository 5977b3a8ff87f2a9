//! The bytes of messages, with serde as the oracle of their headers.

mod message;
mod oracle;
mod samples;
mod spellings;
mod strategies;
