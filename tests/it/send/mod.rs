//! `bilico send`.

mod balancers;
mod files;
mod helpers;
mod left_out;
mod names;
mod output;
mod waiting;
