//! Custody: one balancer writes to a journal, in the directory that it has opened, and nothing that
//! was accepted is lost in silence.

mod adopt;
mod directory;
mod helpers;
mod identity;
