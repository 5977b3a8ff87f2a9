//! What an agent is told to do, and what it tells of that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::to::{Dialect, To};
use crate::secret::Secret;
use crate::transport::Connect;

/// How long connecting, and each answer, may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How an agent works.
#[derive(Clone)]
pub struct Config {
    /// Where it tells its figures.
    pub to: To,
    /// In whose words.
    pub dialect: Dialect,
    /// How often, at least a second apart.
    pub every: Duration,
    /// A directory on the file system whose space is told.
    pub directory: PathBuf,
    /// What it wants to be called where people look.
    pub name: Option<Arc<str>>,
    /// The token that says who it is, or the secret that gets one.
    pub token: Option<Secret>,
    /// The user who asks for a token with that secret.
    pub user: Option<String>,
    /// The secret of the balancer's fleet.
    pub join_secret: Option<Secret>,
    /// How connections are made: in plain text, or over TLS in the words of the place.
    pub connector: Arc<dyn Connect>,
}

/// What an agent tells whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The figures are told from now on, under this name if the other side has said one.
    Telling(Option<Arc<str>>),
    /// Datagrams go out. Nobody answers them.
    Sending,
    /// The other side does not let the agent in, for this reason. It is tried again.
    Refused(String),
    /// The other side cannot be reached, or the connection broke, for this reason. It is tried again.
    Away(String),
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The agent is to stop.
    Stopped,
    /// The other side does not let it in.
    Refused(String),
    /// Anything else.
    Broken(String),
}

impl Ended {
    pub(super) fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Whom an agent tells what becomes of it.
pub(super) type Tell<'a> = &'a mut (dyn FnMut(Told) + Send);
