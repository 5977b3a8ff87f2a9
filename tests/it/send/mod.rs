//! `bilico send`.

mod balancers;
mod files;
mod helpers;
mod output;
mod waiting;
