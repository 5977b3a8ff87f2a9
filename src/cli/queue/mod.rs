//! `bilico queue`: where a file is, what waits, what to do with dead letters, and the state of a
//! journal.

mod adopt;
mod ask;
mod check;
mod command;
mod journal;
mod orders;
mod save;
mod trace;

pub(super) use command::{QueueArgs, run};
