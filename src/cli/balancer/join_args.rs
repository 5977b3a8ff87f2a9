//! The flags that say who may register as a server.

use std::path::PathBuf;

use clap::Args;

use crate::balancer::Join;
use crate::cli::output::Failure;
use crate::cli::secrets;
use crate::cli::settings::words::{self, Joins, one_of};

/// The flags that say who may register as a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fleet")]
pub(in crate::cli) struct JoinArgs {
    /// Which servers may register themselves (`bilico server --register`). They get files once probes
    /// find them. Unless it is `none`, no --server is needed
    #[arg(
        long,
        value_parser = one_of(words::JOIN),
        default_value = "none",
        env = "BILICO_JOIN"
    )]
    join: Joins,
    /// File whose first line servers prove to know with --join secret; a regular file that only this
    /// user can read
    #[arg(long, value_name = "FILE", env = "BILICO_JOIN_SECRET_FILE")]
    join_secret_file: Option<PathBuf>,
}

impl JoinArgs {
    /// Whether a balancer without servers of its own makes sense.
    pub(super) fn takes_servers(&self) -> bool {
        self.join != Joins::None
    }

    /// Checks the values against each other; the error names a key.
    pub(super) fn check(&self, has_cluster: bool) -> Result<(), (&'static str, String)> {
        match self.join {
            Joins::Secret if self.join_secret_file.is_none() => Err((
                "join-secret-file",
                "join = \"secret\" needs the file of the secret: join-secret-file".to_owned(),
            )),
            Joins::Certificate if !has_cluster => Err((
                "join",
                "join = \"certificate\" needs TLS within a cluster: set cluster-ca, cluster-cert and \
                 cluster-key"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Who may register. Reads the secret.
    pub(super) fn join(&self) -> Result<Join, Failure> {
        Ok(match (self.join, &self.join_secret_file) {
            (Joins::Loopback, _) => Join::Loopback,
            (Joins::Secret, Some(file)) => Join::Secret(secrets::read_file(file, "secret")?),
            (Joins::Certificate, _) => Join::Certificate,
            (Joins::None | Joins::Secret, _) => Join::None,
        })
    }
}
