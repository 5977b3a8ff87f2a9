//! Exactly one copy, the server's half: what a balancer that returns is told, and what becomes of a
//! number that comes twice.

mod ahead;
mod helpers;
mod index;
mod lanes;
mod lists;
mod numbers;
mod sharing;
