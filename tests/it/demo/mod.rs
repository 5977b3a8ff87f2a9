//! `bilico demo`.

mod deaths;
mod helpers;
mod mistakes;
mod run;
mod secure;
mod terminal;
