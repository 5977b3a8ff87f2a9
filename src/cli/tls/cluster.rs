//! TLS between balancers and file servers.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::held::{Held, Put, unusable};
use crate::access::Balancers;
use crate::cli::output::Failure;
use crate::server::ClusterDoor;
use crate::transport::tls::{
    Credentials, Door, Files, Gauge, Identity, IdentityError, Mode, Role, Secure, TlsError,
    cluster_client, cluster_server, read_authorities,
};

/// The flags of a role that belongs to a cluster.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub(in crate::cli) struct ClusterArgs {
    /// The cluster's authority, as PEM. With it, balancer and servers speak TLS alone, and each
    /// proves to the other who it is
    #[arg(long, value_name = "FILE", env = "BILICO_CLUSTER_CA")]
    cluster_ca: Option<PathBuf>,
    /// The certificate by which this process proves who it is in the cluster, as PEM
    #[arg(long, value_name = "FILE", env = "BILICO_CLUSTER_CERT")]
    cluster_cert: Option<PathBuf>,
    /// The key of that certificate, as PEM: a regular file that only this user can read
    #[arg(long, value_name = "FILE", env = "BILICO_CLUSTER_KEY")]
    cluster_key: Option<PathBuf>,
}

impl ClusterArgs {
    fn files(&self) -> Option<(PathBuf, Files)> {
        let files = Files {
            cert: self.cluster_cert.clone()?,
            key: self.cluster_key.clone()?,
        };
        Some((self.cluster_ca.clone()?, files))
    }

    /// Whether the process belongs to a cluster.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.files().is_some()
    }

    /// Whether this process belongs to a cluster.
    pub(in crate::cli) fn is_on(&self) -> bool {
        self.files().is_some()
    }

    /// Checks that all flags are there or none; the error names a key.
    pub(in crate::cli) fn check(&self) -> Result<(), (&'static str, String)> {
        let given = [
            ("cluster-ca", &self.cluster_ca),
            ("cluster-cert", &self.cluster_cert),
            ("cluster-key", &self.cluster_key),
        ];
        let missing = given.iter().find(|(_, file)| file.is_none());
        match missing {
            Some((key, _)) if given.iter().any(|(_, file)| file.is_some()) => {
                let needs = "TLS within a cluster needs cluster-ca, cluster-cert and cluster-key";
                Err((key, needs.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// How a balancer connects to its servers; `None` without a cluster.
    pub(in crate::cli) fn connector(&self) -> Result<Option<(Arc<Secure>, Held)>, Failure> {
        let made = self.files().map(connector).transpose();
        made.map_err(|error| unusable(&error))
    }

    /// Where a server lets these balancers in, or any of the cluster; `None` without a cluster.
    pub(in crate::cli) fn door(
        &self,
        balancers: Vec<String>,
    ) -> Result<Option<(ClusterDoor, Held)>, Failure> {
        let made = self.files().map(|files| door(files, balancers)).transpose();
        made.map_err(|error| unusable(&error))
    }
}

/// The member that a certificate is for, which must have this role.
fn member(credentials: &Credentials, role: Role, files: &Files) -> Result<Identity, TlsError> {
    let wrong = |error| TlsError::Identity {
        path: files.cert.clone(),
        error,
    };
    let found = credentials.certificate().identity.clone().map_err(wrong)?;
    if found.role == role {
        return Ok(found);
    }
    Err(wrong(IdentityError::Other {
        found: found.to_string(),
        expected: format!("one of the role {role}"),
    }))
}

fn connector((ca, files): (PathBuf, Files)) -> Result<(Arc<Secure>, Held), TlsError> {
    let credentials = Credentials::read(&files)?;
    let cluster = member(&credentials, Role::Balancer, &files)?.cluster;
    let config = cluster_client(&credentials, read_authorities(&ca)?)?;
    let secure = Arc::new(Secure::to_servers(config, &cluster));
    let connector = secure.clone();
    let at = files.clone();
    let stage = move |fresh: &Credentials, authorities| {
        same_cluster(&member(fresh, Role::Balancer, &at)?, &cluster, &at)?;
        let (config, secure) = (cluster_client(fresh, authorities)?, secure.clone());
        let put: Put = Box::new(move || secure.renew(config));
        Ok(put)
    };
    let gauge = Gauge::new("cluster");
    let held = Held::new(files, Some(ca), gauge, &credentials, Box::new(stage));
    Ok((connector, held))
}

fn door(
    (ca, files): (PathBuf, Files),
    balancers: Vec<String>,
) -> Result<(ClusterDoor, Held), TlsError> {
    let credentials = Credentials::read(&files)?;
    let cluster = member(&credentials, Role::Server, &files)?.cluster;
    let config = cluster_server(&credentials, read_authorities(&ca)?)?;
    let gauge = Gauge::new("cluster");
    let door = Arc::new(Door::new(Mode::Required, config, gauge.clone()));
    let cluster_door = ClusterDoor {
        door: door.clone(),
        balancers: Balancers::of(&cluster, balancers),
    };
    let at = files.clone();
    let stage = move |fresh: &Credentials, authorities| {
        same_cluster(&member(fresh, Role::Server, &at)?, &cluster, &at)?;
        let (config, door) = (cluster_server(fresh, authorities)?, door.clone());
        let put: Put = Box::new(move || door.renew(config));
        Ok(put)
    };
    let held = Held::new(files, Some(ca), gauge, &credentials, Box::new(stage));
    Ok((cluster_door, held))
}

/// A running role stays in its cluster.
fn same_cluster(found: &Identity, cluster: &str, files: &Files) -> Result<(), TlsError> {
    if found.cluster == cluster {
        return Ok(());
    }
    Err(TlsError::Identity {
        path: files.cert.clone(),
        error: IdentityError::Other {
            found: found.to_string(),
            expected: format!("one of the cluster {cluster}"),
        },
    })
}
