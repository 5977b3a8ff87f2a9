//! Whom the subcommands about files ask, and how they print what they hear.

use clap::Args;
use serde::Serialize;

use crate::cli::api::AdminArg;
use crate::cli::output::{Exit, Failure, say_json};

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    pub(super) admin: AdminArg,
    /// Refused with the remedy. Ignoring it would carry an order out on another balancer.
    #[arg(long, hide = true, value_name = "ADDR", value_parser = not_the_clients_port)]
    balancer: Option<String>,
    /// Print JSON instead of text, an object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// The clients' port, which questions and orders went to once.
fn not_the_clients_port(_: &str) -> Result<String, String> {
    let error = "the clients' port takes no questions and orders about files; \
                 pass the address of the balancer's admin listener as --admin";
    Err(error.to_owned())
}

pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Failed, error))?;
    say_json(text);
    Ok(())
}
