//! The flags of `bilico client`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::prompt::{History, usual_place};
use crate::cli::send::{BalancerArg, ChangedArg, RetryArg};
use crate::cli::settings::values::address;
use crate::cli::settings::values::positive;

/// The prompt: pick files from a folder and send them
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ClientArgs {
    #[command(flatten)]
    pub(in crate::cli) balancer: BalancerArg,
    /// The folder that files are picked from; without it, these are sample files that are in the
    /// program. Those called .json that hold a title and a content are unwrapped, all others sent
    /// byte for byte
    #[arg(long, value_name = "DIR", env = "BILICO_FILES")]
    pub(in crate::cli) files: Option<PathBuf>,
    /// The longest time to wait for a delivery; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = positive, env = "BILICO_TIMEOUT")]
    pub(in crate::cli) timeout: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) retry: RetryArg,
    #[command(flatten)]
    pub(in crate::cli) changed: ChangedArg,
    /// Where the balancer answers operators, for `drain`, `undrain` and `weight`; they do not work
    /// without it
    #[arg(long, value_name = "ADDR", value_parser = address_or_none, env = "BILICO_ADMIN")]
    pub(in crate::cli) admin: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) history: HistoryArg,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct HistoryArg {
    /// File that keeps the commands of the prompt for later sessions; `none`: they are not kept.
    /// Without it, this is ~/.local/state/bilico/history
    #[arg(long, value_name = "FILE", env = "BILICO_HISTORY")]
    history: Option<PathBuf>,
}

impl HistoryArg {
    /// The lines of earlier sessions.
    pub(super) fn open(&self) -> History {
        let file = match &self.history {
            Some(none) if none.as_os_str() == "none" => None,
            Some(file) => Some(file.clone()),
            None => usual_place(),
        };
        History::open(file)
    }
}

/// An address, or `none` as for a balancer without an admin listener.
fn address_or_none(text: &str) -> Result<String, String> {
    if text == "none" {
        return Ok(text.to_owned());
    }
    address(text.strip_prefix("https://").unwrap_or(text)).map(|_| text.to_owned())
}
