//! TLS of a balancer's own ports.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::held::{Held, Put, unusable};
use crate::cli::output::Failure;
use crate::cli::settings::words::{self, Tls, one_of};
use crate::transport::tls::{
    Credentials, Door, Files, Gauge, Mode, TlsError, for_http, for_native,
};

/// The flags for TLS of a balancer's own ports.
#[derive(Debug, Args)]
pub(in crate::cli) struct TlsArgs {
    /// Whether clients and operators speak TLS; old-style clients know no TLS
    #[arg(
        long,
        value_parser = one_of(words::TLS),
        default_value = "off",
        env = "BILICO_TLS"
    )]
    tls: Tls,
    /// The certificate that clients and operators are shown, and behind it those that it is signed
    /// by, as PEM
    #[arg(long, value_name = "FILE", env = "BILICO_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, as PEM: a regular file that only this user can read
    #[arg(long, value_name = "FILE", env = "BILICO_TLS_KEY")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    fn mode(&self) -> Option<Mode> {
        match self.tls {
            Tls::Off => None,
            Tls::Optional => Some(Mode::Optional),
            Tls::Required => Some(Mode::Required),
        }
    }

    /// Whether nothing comes in by plain text.
    pub(in crate::cli) fn is_required(&self) -> bool {
        self.tls == Tls::Required
    }

    fn files(&self) -> Option<Files> {
        Some(Files {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
        })
    }
}

/// Checks that TLS has what it needs; the error names a key.
pub(in crate::cli) fn check(args: &TlsArgs) -> Result<(), (&'static str, String)> {
    if args.tls == Tls::Off || args.files().is_some() {
        return Ok(());
    }
    let needs = "TLS needs a certificate and its key: set tls-cert and tls-key, or tls to off";
    let missing = if args.tls_cert.is_none() {
        "tls-cert"
    } else {
        "tls-key"
    };
    Err((missing, needs.to_owned()))
}

/// Where connections of clients and operators come in.
pub(in crate::cli) struct Doors {
    pub(in crate::cli) native: Arc<Door>,
    pub(in crate::cli) http: Arc<Door>,
    /// What is accepted, in words.
    pub(in crate::cli) accepted: &'static str,
}

impl Doors {
    /// Reads the certificate and makes the doors; `None` if TLS is off.
    pub(in crate::cli) fn open(args: &TlsArgs) -> Result<Option<(Self, Held)>, Failure> {
        let (Some(mode), Some(files)) = (args.mode(), args.files()) else {
            return Ok(None);
        };
        Self::make(mode, files)
            .map(Some)
            .map_err(|error| unusable(&error))
    }

    fn make(mode: Mode, files: Files) -> Result<(Self, Held), TlsError> {
        let credentials = Credentials::read(&files)?;
        let gauge = Gauge::new("clients");
        let door = |config| Arc::new(Door::new(mode, config, gauge.clone()));
        let native = door(for_native(&credentials)?);
        let http = door(for_http(&credentials)?);
        let doors = Self {
            native: native.clone(),
            http: http.clone(),
            accepted: match mode {
                Mode::Optional => "TLS and plain text are accepted",
                Mode::Required => "only TLS is accepted",
            },
        };
        let stage = move |fresh: &Credentials, _| {
            let (for_native, for_http) = (for_native(fresh)?, for_http(fresh)?);
            let (native, http) = (native.clone(), http.clone());
            let put: Put = Box::new(move || {
                native.renew(for_native);
                http.renew(for_http);
            });
            Ok(put)
        };
        let held = Held::new(files, None, gauge, &credentials, Box::new(stage));
        Ok((doors, held))
    }
}
