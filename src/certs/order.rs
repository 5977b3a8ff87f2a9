//! What a certificate is to say.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};

use super::error::CertsError;
use crate::transport::tls::{Identity, Role};

/// How long ago a new certificate begins to be valid: clocks differ.
const LEEWAY: Duration = Duration::from_mins(5);

/// The certificate that is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whom it is for.
    pub identity: Identity,
    /// The host names and addresses at which they are reached.
    pub hosts: Vec<String>,
    /// How long it is valid.
    pub days: u32,
}

impl Order {
    /// The hosts of somebody who is reached on the machine where they run.
    pub fn local_hosts() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into()
    }

    pub(super) fn params(&self) -> Result<CertificateParams, CertsError> {
        let mut params = CertificateParams::new(self.hosts.clone())?;
        let uri = self.identity.to_string();
        let uri = SanType::URI(uri.try_into()?);
        params.subject_alt_names.push(uri);
        params.distinguished_name = named(&self.identity.cluster, &self.identity.name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes(self.identity.role);
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, self.days);
        Ok(params)
    }
}

/// A balancer is connected to by clients, and connects to servers.
fn purposes(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    match role {
        Role::Balancer => vec![ServerAuth, ClientAuth],
        Role::Server => vec![ServerAuth],
        Role::Client => vec![ClientAuth],
    }
}

/// What an authority's own certificate says.
pub(super) fn of_authority(cluster: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(cluster, &format!("authority of {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, days);
    params
}

fn named(cluster: &str, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, cluster);
    subject.push(DnType::CommonName, name);
    subject
}

fn valid_for(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - LEEWAY).into();
    params.not_after = (now + Duration::from_hours(24) * days).into();
}
