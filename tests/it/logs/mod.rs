//! `bilico logs`: several files as one.

mod follow;
mod helpers;
mod packaging;
mod read;
