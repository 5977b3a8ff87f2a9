//! TLS of commands that connect to a balancer.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls_pki_types::CertificateDer;

use super::held::unusable;
use crate::cli::output::Failure;
use crate::transport::tls::{
    Secure, client_of_balancer, client_of_http, read_authorities, read_chain,
};
use crate::transport::{Connect, Tcp};

/// The flag of each command that connects to a balancer.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct CaArg {
    /// The authority that the balancer's certificate must be signed by, as PEM. With it everything
    /// goes over TLS, and nothing is sent before the balancer has proved who it is
    #[arg(long, value_name = "FILE", env = "BILICO_CA")]
    pub(in crate::cli) ca: Option<PathBuf>,
}

impl CaArg {
    /// How connections to balancers are made.
    pub(in crate::cli) fn connector(&self) -> Result<Arc<dyn Connect>, Failure> {
        let Some(ca) = &self.ca else {
            return Ok(Arc::new(Tcp));
        };
        let made = read_authorities(ca).and_then(client_of_balancer);
        let config = made.map_err(|error| unusable(&error))?;
        Ok(Arc::new(Secure::to_balancers(config)))
    }

    /// How connections to an HTTP listener with TLS are made; `None` without authorities.
    pub(in crate::cli) fn to_http(&self) -> Result<Option<Arc<dyn Connect>>, Failure> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let made = read_authorities(ca).and_then(client_of_http);
        let config = made.map_err(|error| unusable(&error))?;
        Ok(Some(Arc::new(Secure::to_balancers(config))))
    }

    /// The authorities for HTTP; `None` for HTTP in plain text.
    pub(in crate::cli) fn authorities(
        &self,
    ) -> Result<Option<Vec<CertificateDer<'static>>>, Failure> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let chain = read_authorities(ca).and_then(|_| read_chain(ca));
        chain.map(Some).map_err(|error| unusable(&error))
    }
}
