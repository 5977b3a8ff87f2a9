//! The flags that commands to a running balancer have in common.

use std::fmt::Display;

use clap::Args;
use serde::Serialize;

use super::http::AdminArg;
use crate::cli::output::{Exit, Failure, say, say_json};
use crate::cli::render::ColourArg;

/// The flags of every command that gives an order.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OrderArgs {
    #[command(flatten)]
    pub(in crate::cli) admin: AdminArg,
    /// Print the answer as a JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(in crate::cli) quiet: bool,
}

impl OrderArgs {
    /// Says the outcome of an order: in words, or as the balancer's answer.
    pub(in crate::cli) fn tell(
        &self,
        answer: &impl Serialize,
        words: impl Display,
    ) -> Result<(), Failure> {
        if self.json {
            say_json(
                serde_json::to_string(answer).map_err(|error| Failure::new(Exit::Failed, error))?,
            );
        } else if !self.quiet {
            say(words);
        }
        Ok(())
    }
}

/// The flags of every command that shows a list.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    pub(in crate::cli) order: OrderArgs,
    #[command(flatten)]
    pub(in crate::cli) colour: ColourArg,
}
