//! A file that is being handed over.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::file::Found;
use super::record::{Begun, Record};

/// How far a file has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is to be handed over again.
    Queued,
    /// It is being handed over.
    Sending,
    /// It was handed over under this request number.
    Done {
        /// The number.
        number: u64,
    },
    /// It cannot be handed over.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A file that is being handed over.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its number in the state.
    pub(super) n: u64,
    /// Its key at the balancer.
    pub(super) key: Arc<str>,
    /// The file as it was when it was taken.
    pub(super) found: Found,
    /// Where it is now, below the folder.
    pub(super) place: Arc<Path>,
    /// Another name under which it was seen meanwhile.
    pub(super) other: Option<Arc<Path>>,
    /// Whether it is known to be at `place`.
    pub(super) is_here: bool,
    /// The number of the last look at the whole folder that found it, or before which it was
    /// missed.
    pub(super) scan: u64,
    /// The place of its rule.
    pub(super) rule: usize,
    /// Whether a server must have it, or the balancer.
    pub(super) is_delivered: bool,
    /// When it was begun, in seconds since 1970.
    pub(super) at: u64,
    /// Whether an earlier attempt may have handed it over.
    pub(super) is_known: bool,
    /// The request number under which the balancer has it.
    pub(super) accepted: Option<u64>,
    /// How far it has come.
    pub(super) stage: Stage,
    /// It is not handed over again before.
    pub(super) not_before: Option<Instant>,
    /// How often it was put off.
    pub(super) tries: u32,
}

impl Entry {
    /// A file that is handed over for the first time.
    pub(super) fn fresh(
        n: u64,
        key: Arc<str>,
        found: Found,
        (rule, is_delivered): (usize, bool),
        at: u64,
    ) -> Self {
        Self {
            n,
            key,
            place: Arc::clone(&found.path),
            found,
            other: None,
            is_here: true,
            scan: 0,
            rule,
            is_delivered,
            at,
            is_known: false,
            accepted: None,
            stage: Stage::Sending,
            not_before: None,
            tries: 0,
        }
    }

    /// A file that an earlier process began to hand over.
    pub(super) fn begun(begun: Begun) -> Self {
        let path: Arc<Path> = begun.path.into();
        let found = Found {
            path,
            ident: begun.file,
            device: 0,
            touched: (0, 0),
        };
        Self {
            is_here: false,
            is_known: true,
            stage: Stage::Queued,
            ..Self::fresh(begun.n, begun.key.into(), found, (0, false), begun.at)
        }
    }

    /// The records that lead to this entry.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let n = self.n;
        let begun = Record::Begun(Begun {
            n,
            key: self.key.to_string(),
            path: self.found.path.to_path_buf(),
            file: self.found.ident,
            at: self.at,
        });
        let accepted = self.accepted.map(|number| Record::Accepted { n, number });
        let end = match &self.stage {
            Stage::Queued | Stage::Sending => None,
            Stage::Done { number } => Some(Record::Done { n, number: *number }),
            Stage::Failed { reason } => Some(Record::Failed {
                n,
                reason: reason.clone(),
            }),
        };
        [Some(begun), accepted, end].into_iter().flatten()
    }
}
