//! Role: the agent, on hosts that store no files. Tells a balancer the figures of its host, for ever.
//!
//! `to` says where, and by which of three ways: `native` is the balancer's own port, on which the
//! agent registers; `datagrams` sends one datagram after the other, which nobody answers; `web` gets
//! an OAuth 2.0 token, and speaks over WebSocket, with TLS or without. `old` has the words of the
//! first systems' agents. `figures` takes the samples and keeps the time, and `run` tries again
//! whatever breaks.

mod datagrams;
mod figures;
mod native;
mod old;
mod run;
#[cfg(test)]
mod tests;
mod to;
mod told;
mod web;

pub use datagrams::can_sign;
pub use run::run;
pub use to::{BadTo, Dialect, To};
pub use told::{Config, Told};
