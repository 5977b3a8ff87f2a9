//! The prompt of `bilico client`.

mod commands;
mod editing;
mod files;
mod helpers;
mod progress;
mod scripts;
mod terminal;
