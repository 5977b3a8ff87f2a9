//! Who a certificate says its owner is.

use std::fmt;
use std::str::FromStr;

/// What somebody is in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A balancer.
    Balancer,
    /// A file server.
    Server,
    /// A client of a balancer.
    Client,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Balancer, Self::Server, Self::Client];

    /// Its name in certificates and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Balancer => "balancer",
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("invalid role {text:?}: expected balancer, server or client"))
    }
}

/// Who somebody is, as `bilico://CLUSTER/ROLE/NAME` in their certificate. Two are the same only if
/// all three parts are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: String,
    /// What they are in it.
    pub role: Role,
    /// Their name among those of this role.
    pub name: String,
}

/// What an identity begins with.
const SCHEME: &str = "bilico://";

/// The longest name of a cluster or in it, in bytes.
const MAX_NAME: usize = 63;

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.cluster, self.role, self.name)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed(text.to_owned());
        let parts = text.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let mut parts = parts.split('/');
        let (Some(cluster), Some(role), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        if check_name(cluster).is_err() || check_name(name).is_err() {
            return Err(malformed());
        }
        Ok(Self {
            cluster: cluster.to_owned(),
            role: role.parse().map_err(|_| malformed())?,
            name: name.to_owned(),
        })
    }
}

impl Identity {
    /// Whether a certificate has something to say about a Bilico cluster.
    pub(super) fn is_one(uri: &str) -> bool {
        uri.starts_with(SCHEME)
    }

    /// Checks the role, the cluster and, if one is given, the name.
    pub fn check(
        &self,
        cluster: &str,
        role: Role,
        name: Option<&str>,
    ) -> Result<(), IdentityError> {
        let is_expected = self.cluster == cluster
            && self.role == role
            && name.is_none_or(|name| self.name == name);
        if is_expected {
            return Ok(());
        }
        Err(IdentityError::Other {
            found: self.to_string(),
            expected: format!("{SCHEME}{cluster}/{role}/{}", name.unwrap_or("NAME")),
        })
    }
}

/// Why a certificate does not say who its owner is, or not the right thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It names nobody.
    #[error(
        "the certificate names no member of a cluster: expected bilico://CLUSTER/ROLE/NAME among its \
         alternative names, as `bilico certs issue` writes it"
    )]
    None,
    /// It names more than one.
    #[error("the certificate names more than one member of a cluster")]
    Several,
    /// What it names is not well formed.
    #[error("invalid identity {0:?} in the certificate: expected bilico://CLUSTER/ROLE/NAME")]
    Malformed(String),
    /// The certificate itself is not well formed.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// It is somebody else.
    #[error("its certificate is that of {found}, and {expected} was expected")]
    Other {
        /// Who it is.
        found: String,
        /// Who was expected.
        expected: String,
    },
    /// Its time is over, or has not come.
    #[error("its certificate is valid from {from} to {to} only")]
    NotNow {
        /// The first day.
        from: String,
        /// The last day.
        to: String,
    },
}

/// Checks the name of a cluster, or of somebody in it. It is part of a path and of log lines.
pub fn check_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins_well = text.bytes().next().is_some_and(is_plain);
    let is_well = |byte: u8| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    if begins_well && text.len() <= MAX_NAME && text.bytes().all(is_well) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "invalid name {text:?}: expected 1 to {MAX_NAME} of a-z, 0-9, `.`, `_` and `-`, beginning \
         with a letter or a digit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_they_are_written_and_nothing_else_is_one() {
        let identity = Identity {
            cluster: "main".to_owned(),
            role: Role::Server,
            name: "store-1".to_owned(),
        };
        let text = "bilico://main/server/store-1";
        assert_eq!(identity.to_string(), text);
        assert_eq!(text.parse(), Ok(identity.clone()));
        for wrong in [
            "",
            "bilico://",
            "bilico://main/server",
            "bilico://main/server/",
            "bilico://main/server/a/b",
            "bilico://main/admin/a",
            "bilico://MAIN/server/a",
            "bilico://main/server/a%00",
            "bilico://main/server/..",
            "http://main/server/a",
            " bilico://main/server/a",
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
        assert!(identity.check("main", Role::Server, None).is_ok());
        assert!(
            identity
                .check("main", Role::Server, Some("store-1"))
                .is_ok()
        );
        for (cluster, role, name) in [
            ("other", Role::Server, None),
            ("main", Role::Balancer, None),
            ("main", Role::Server, Some("store-2")),
            ("main", Role::Server, Some("store-")),
        ] {
            let error = identity.check(cluster, role, name).unwrap_err().to_string();
            assert!(error.contains("store-1"), "{error}");
        }
    }
}
