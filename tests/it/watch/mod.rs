//! `bilico watch`: a hot folder.

mod bad_input;
mod crowds;
mod deaths;
mod folder;
mod helpers;
