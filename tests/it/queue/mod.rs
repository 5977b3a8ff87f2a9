//! `bilico queue`: where a file is and why, and what becomes of files that no server can take.

mod dead_letters;
mod helpers;
mod operators;
mod orders;
mod reports;
mod saves;
