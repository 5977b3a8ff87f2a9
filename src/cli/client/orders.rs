//! Operators' orders at the prompt.

use super::ClientArgs;
use crate::cli::api::{AdminArg, Api};
use crate::cli::output::{Exit, Failure};
use crate::cli::servers;
use crate::config::{MAX_WEIGHT, SpecError};

/// A change of a server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Weight(u32),
    Drained(bool),
}

/// Reads a server's weight.
pub(super) fn parse_weight(text: &str) -> Result<u32, Failure> {
    let weight = text.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
    weight.ok_or_else(|| Failure::new(Exit::Failed, SpecError::Weight(text.to_owned())))
}

/// The admin API that orders go to; an error if the prompt was started without its address.
pub(super) fn operators(args: &ClientArgs) -> Result<Api, Failure> {
    match &args.admin {
        Some(admin) if admin != "none" => Api::new(&AdminArg {
            admin: admin.clone(),
            token: args.balancer.token.clone(),
            ca: args.balancer.ca.clone(),
        }),
        _ => {
            let error = "this prompt gives no orders: it was started without the address of \
                         the balancer's admin listener";
            let hint = "start the prompt with --admin ADDR; \
                        the balancer's second line says \"admin on …\"";
            Err(Failure::new(Exit::Failed, error).hint(hint))
        }
    }
}

/// Carries out an order, and says in words how the server is now. Blocks.
pub(super) fn carry_out(api: &Api, change: Change, server: &str) -> Result<String, Failure> {
    match change {
        Change::Weight(weight) => {
            servers::set_weight(api, server, weight).map(|now| servers::weight_text(&now))
        }
        Change::Drained(true) => {
            servers::set_drained(api, server, true).map(|now| servers::drain_text(&now))
        }
        Change::Drained(false) => {
            servers::set_drained(api, server, false).map(|now| servers::undrain_text(&now))
        }
    }
}
