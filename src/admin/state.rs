//! What the routes of the API work with.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::FromRef;

use super::extract::BodyTimeout;
use super::limits::AdminLimits;
use super::long_answers::LongAnswers;
use super::watch::Watch;
use crate::access::Lock;
use crate::balancer::Door;
use crate::config::Reloaded;
use crate::fleet::Fleet;

/// Reads the configuration again and applies it to the running balancer. An error changes nothing.
pub type Reload = Arc<dyn Fn() -> Reloading + Send + Sync>;

/// A reload that is under way.
pub type Reloading = Pin<Box<dyn Future<Output = Result<Reloaded, String>> + Send>>;

/// What the routes work with.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) watch: Arc<Watch>,
    pub(super) door: Door,
    pub(super) fleet: Fleet,
    pub(super) reload: Option<Reload>,
    pub(super) limits: AdminLimits,
    /// Lists of files.
    pub(super) listings: LongAnswers,
    /// Reports of all servers.
    pub(super) reports: LongAnswers,
    /// Members of the fleet, and their figures.
    pub(super) members: LongAnswers,
    /// Contents of files.
    pub(super) contents: LongAnswers,
}

impl Api {
    /// Who is who.
    pub(super) fn lock(&self) -> &Lock {
        self.door.lock()
    }
}

impl FromRef<Api> for BodyTimeout {
    fn from_ref(api: &Api) -> Self {
        Self(api.limits.body)
    }
}
