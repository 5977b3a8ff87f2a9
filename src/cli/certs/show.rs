//! `bilico certs show`: what is in a certificate, and what is negotiated at an address.

use std::path::Path;

use crate::certs::{Seen, look_at};
use crate::cli::output::{Exit, Failure, say};
use crate::cli::settings::values::address;
use crate::text::Printable;
use crate::transport::tls::{Certificate, TlsError, read_authorities, read_chain};

/// Shows a file or an address.
pub(super) async fn show(what: &str, ca: Option<&Path>) -> Result<Exit, Failure> {
    if !Path::new(what).exists() && address(what).is_ok() {
        let trusted = ca.map(read_authorities).transpose().map_err(unusable)?;
        let seen = look_at(what, trusted).await.map_err(|error| {
            let error = format!("cannot look at {what}: {error}");
            Failure::new(Exit::Unreachable, error)
        })?;
        at_address(&seen);
        return Ok(Exit::Done);
    }
    let chain = read_chain(Path::new(what)).map_err(unusable)?;
    for (at, der) in chain.iter().enumerate() {
        let certificate = Certificate::read(der).map_err(|error| {
            let error = format!("{what}: {error}");
            Failure::new(Exit::Failed, error)
        })?;
        if at > 0 {
            say("");
        }
        certificate_lines(&certificate);
    }
    Ok(Exit::Done)
}

fn unusable(error: TlsError) -> Failure {
    Failure::new(Exit::Failed, error)
}

fn at_address(seen: &Seen) {
    let Seen {
        secured,
        trust,
        refused,
    } = seen;
    line("version", secured.version);
    line("suite", secured.suite);
    line("key exchange", &secured.group);
    match trust {
        Ok(()) => line("trusted", "yes"),
        Err(why) => line("trusted", &format!("no: {why}")),
    }
    if let Some(refused) = refused {
        line("then", refused);
    }
    say("");
    if let Some(certificate) = &secured.peer {
        certificate_lines(certificate);
    }
}

fn certificate_lines(certificate: &Certificate) {
    match &certificate.identity {
        Ok(identity) => {
            line("identity", &identity.to_string());
            line("role", identity.role.name());
        }
        Err(_) if certificate.is_authority => line("role", "authority"),
        Err(error) => line("identity", &format!("none: {error}")),
    }
    line("subject", &certificate.subject);
    line("issuer", &certificate.issuer);
    if !certificate.hosts.is_empty() {
        line("hosts", &certificate.hosts.join(", "));
    }
    if !certificate.purposes.is_empty() {
        line("for", &certificate.purposes.join(", "));
    }
    line("valid from", &certificate.from);
    line("valid to", &certificate.to);
    line("days left", &certificate.days_left().to_string());
    line("SHA-256", &certificate.fingerprint.to_string());
}

/// One fact. What comes from a certificate may be anybody's.
fn line(what: &str, fact: &str) {
    say(format_args!("{what:<13} {}", Printable(fact)));
}
