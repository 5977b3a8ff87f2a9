//! The dispatcher driven without a socket or a clock: a world of pretended servers answers what it
//! decides.

mod anything;
mod head_start;
mod links;
mod old_style;
mod operator;
mod reconcile;
mod refusals;
mod shares;
mod world;
