//! `bilico client`: the prompt.

mod args;
mod command;
mod converse;
mod folder;
mod orders;
mod pick;

pub(super) use args::ClientArgs;
pub(super) use converse::{converse, run};
