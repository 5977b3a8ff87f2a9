//! What is written in a certificate.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::error::TlsError;
use super::identity::{Identity, IdentityError};
use super::provider::sha256;

/// SHA-256 of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

/// What a certificate says. Nothing of it is true before the certificate is verified.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Who its owner is in a cluster.
    pub identity: Result<Identity, IdentityError>,
    /// The host names and addresses that it is for.
    pub hosts: Vec<String>,
    /// Who it is about.
    pub subject: String,
    /// The organization of the one it is about. In a cluster that is the cluster.
    pub organization: Option<String>,
    /// Who has signed it.
    pub issuer: String,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether its owner may be connected to, and may connect.
    pub purposes: Vec<&'static str>,
    /// The first second of its time, counted as Unix does.
    pub not_before: i64,
    /// The last second of its time.
    pub not_after: i64,
    /// The first day.
    pub from: String,
    /// The last day.
    pub to: String,
    /// SHA-256 of all of it.
    pub fingerprint: Fingerprint,
}

impl Certificate {
    /// Reads a certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let unreadable = |error: &dyn fmt::Display| IdentityError::Unreadable(error.to_string());
        let (_, found) = X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
        let names = found
            .subject_alternative_name()
            .map_err(|error| unreadable(&error))?
            .map(|names| &names.value.general_names);
        let names = names.map(Vec::as_slice).unwrap_or_default();
        let validity = found.validity();
        Ok(Self {
            identity: identity_in(names),
            hosts: names.iter().filter_map(host).collect(),
            subject: found.subject().to_string(),
            organization: organization(&found),
            issuer: found.issuer().to_string(),
            is_authority: found.is_ca(),
            purposes: purposes(&found),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            from: day(&validity.not_before),
            to: day(&validity.not_after),
            fingerprint: Fingerprint(
                sha256().map_or_else(Vec::new, |sha256| sha256.hash(der).as_ref().to_vec()),
            ),
        })
    }

    /// Checks that it is valid now; an error names the file that it came from.
    pub(super) fn check_time(&self, path: &Path) -> Result<(), TlsError> {
        let (path, now) = (path.to_owned(), now());
        if now > self.not_after {
            let on = self.to.clone();
            return Err(TlsError::Expired { path, on });
        }
        if now < self.not_before {
            let on = self.from.clone();
            return Err(TlsError::NotYetValid { path, on });
        }
        Ok(())
    }

    /// The days until its time is over, a part of one counted whole; 0 or less afterwards.
    pub fn days_left(&self) -> i64 {
        let day = 24 * 60 * 60;
        (self.not_after - now() + day - 1).div_euclid(day)
    }

    /// For how many whole days it is valid in all.
    pub fn days(&self) -> u32 {
        let days = (self.not_after - self.not_before) / (24 * 60 * 60);
        u32::try_from(days).unwrap_or_default()
    }

    /// Who the owner of a verified certificate is. A resumed connection may have been verified days
    /// ago: so the time is looked at again.
    pub(super) fn identity_now(&self) -> Result<Identity, IdentityError> {
        if (self.not_before..=self.not_after).contains(&now()) {
            return self.identity.clone();
        }
        Err(IdentityError::NotNow {
            from: self.from.clone(),
            to: self.to.clone(),
        })
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

fn day(time: &ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

fn identity_in(names: &[GeneralName<'_>]) -> Result<Identity, IdentityError> {
    let mut identities = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if Identity::is_one(uri) => Some(uri),
        _ => None,
    });
    let first = identities.next().ok_or(IdentityError::None)?;
    if identities.next().is_some() {
        return Err(IdentityError::Several);
    }
    first.parse()
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let sixteen = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            four.or_else(|_| sixteen()).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn organization(found: &X509Certificate<'_>) -> Option<String> {
    let first = found.subject().iter_organization().next()?;
    first.as_str().ok().map(str::to_owned)
}

fn purposes(found: &X509Certificate<'_>) -> Vec<&'static str> {
    let Ok(Some(usage)) = found.extended_key_usage() else {
        return Vec::new();
    };
    let named = [
        (usage.value.server_auth, "to be connected to"),
        (usage.value.client_auth, "to connect"),
    ];
    named
        .into_iter()
        .filter_map(|(is_so, name)| is_so.then_some(name))
        .collect()
}
