//! `bilico demo`.

mod deaths;
mod helpers;
mod mistakes;
mod run;
mod terminal;
