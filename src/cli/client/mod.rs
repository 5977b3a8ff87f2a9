//! `bilico client`: the prompt.

mod about;
mod args;
mod command;
mod complete;
mod converse;
mod folder;
mod mistake;
mod notice;
mod orders;
mod pick;
mod presses;
mod samples;
mod words;

pub(super) use args::{ClientArgs, HistoryArg};
pub(super) use converse::{converse, run};
pub(super) use folder::Folder;
pub(super) use mistake::Elsewhere;
pub(super) use notice::Notice;
