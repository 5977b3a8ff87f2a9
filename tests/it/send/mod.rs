//! `bilico send`.

mod balancers;
mod counts;
mod files;
mod helpers;
mod input;
mod left_out;
mod names;
mod output;
mod waiting;
