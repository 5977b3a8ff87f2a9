//! The flags of a server that registers itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::output::{Exit, Failure};
use super::secrets;
use super::settings::values::{address, whole};
use super::tls::CaArg;
use crate::config::{MAX_WEIGHT, parse_server};
use crate::protocol::is_member_name;
use crate::protocol::limits::MAX_MEMBER_NAME;
use crate::server::Registering;

/// The flags of a server that registers itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fleet")]
pub(super) struct RegisterArgs {
    /// A balancer at which the server registers itself, so that it need not be named there; repeat the
    /// flag for each. The balancer must allow it (--join)
    #[arg(
        long = "register",
        value_name = "BALANCER",
        value_delimiter = ',',
        value_parser = address,
        env = "BILICO_REGISTER"
    )]
    registers: Vec<String>,
    /// File whose first line proves to the balancers that the server may register: their
    /// --join-secret-file. A regular file that only this user can read
    #[arg(long, value_name = "FILE", env = "BILICO_REGISTER_SECRET_FILE")]
    register_secret_file: Option<PathBuf>,
    /// The weight that the server registers with
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = whole::<u32>(..=u64::from(MAX_WEIGHT)),
        env = "BILICO_WEIGHT"
    )]
    weight: u32,
    /// What the server is called where people look; by default its address
    #[arg(long, value_name = "NAME", value_parser = member_name, env = "BILICO_NAME")]
    name: Option<String>,
    /// The address that balancers are to use, where it is not the one of --listen; without a host, as
    /// in :5001, they take the one that the registration comes from
    #[arg(long, value_name = "ADDR", value_parser = advertised, env = "BILICO_ADVERTISE")]
    advertise: Option<String>,
    #[command(flatten)]
    ca: CaArg,
}

impl RegisterArgs {
    /// Checks the values against each other; the error names a key.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let given = [
            ("register-secret-file", self.register_secret_file.is_some()),
            ("name", self.name.is_some()),
            ("advertise", self.advertise.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) if self.registers.is_empty() => Err((
                key,
                format!("{key} is for a server that registers itself: set registers, too"),
            )),
            _ => Ok(()),
        }
    }

    /// How a server that listens here registers; `None` if it does not. Reads the secret.
    pub(super) fn registering(
        &self,
        listen: SocketAddr,
        patience: Duration,
    ) -> Result<Option<Registering>, Failure> {
        if self.registers.is_empty() {
            return Ok(None);
        }
        let secret = self.register_secret_file.as_ref();
        let secret = secret.map(|file| secrets::read_file(file, "secret"));
        let address = match &self.advertise {
            Some(address) if port_is_0(address) => {
                let error = format!("invalid address {address:?}: a port that is not 0 is needed");
                return Err(Failure::new(Exit::Usage, error));
            }
            Some(address) => address.clone(),
            None => listen.to_string(),
        };
        Ok(Some(Registering {
            balancers: self.registers.clone(),
            secret: secret.transpose()?,
            weight: self.weight,
            name: self.name.as_deref().map(Arc::from),
            address: address.into(),
            connector: self.ca.connector()?,
            patience,
        }))
    }
}

fn port_is_0(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(_, port)| port == "0")
}

fn member_name(text: &str) -> Result<String, String> {
    if is_member_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "invalid name {text:?}: expected 1 to {MAX_MEMBER_NAME} bytes without control characters"
    ))
}

/// An address in which the host may be missing.
fn advertised(text: &str) -> Result<String, String> {
    let whole = match text.strip_prefix(':') {
        Some(_) => format!("0.0.0.0{text}"),
        None => text.to_owned(),
    };
    parse_server(&whole)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
