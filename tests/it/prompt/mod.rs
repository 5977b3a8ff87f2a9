//! The prompt of `bilico client`.

mod commands;
mod files;
mod helpers;
mod scripts;
mod terminal;
