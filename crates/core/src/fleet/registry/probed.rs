//! What the balancer's own probe of a server found.

use std::sync::Arc;

/// What the balancer's own probe of a server found. Only changes need to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It is there.
    Up {
        /// The identity of its directory, if it is a native server.
        directory: Option<Arc<str>>,
    },
    /// Somebody is there, and is not the server that has registered at this address.
    Other {
        /// The identity of their directory, if they have named one.
        directory: Option<Arc<str>>,
    },
    /// It is there, and gets no files for this reason, such as that it is overloaded.
    Unfit {
        /// The identity of its directory, if it is a native server.
        directory: Option<Arc<str>>,
        /// Why.
        reason: Arc<str>,
    },
    /// It is there, and gets no files: another server speaks for its directory.
    Second {
        /// The identity of the directory.
        directory: Option<Arc<str>>,
        /// Which server speaks for it.
        reason: Arc<str>,
    },
    /// It is not there.
    Down {
        /// Why it counts as away.
        reason: Arc<str>,
    },
}
