//! `bilico fleet`: the members of a balancer's fleet, what they tell, and what they told before.

mod averages;
mod command;
mod figures;
mod file;
mod list;
mod samples;
mod show;
mod watch;

pub(super) use command::{FleetArgs, run};
