//! Changes of names and contents that wait for a sync.

use std::collections::BTreeMap;

use super::content::Edit;

/// A change of a name: the numbers of the files that it named before and names after.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    pub(super) name: String,
    pub(super) before: Option<usize>,
    pub(super) after: Option<usize>,
}

pub(super) type Names = BTreeMap<String, usize>;

/// Changes names together, or not at all if one is not what it was: then an earlier change of it
/// was lost.
pub(super) fn apply_namings(namings: &[Naming], names: &mut Names) {
    if namings
        .iter()
        .all(|naming| names.get(&naming.name).copied() == naming.before)
    {
        for naming in namings {
            match naming.after {
                Some(node) => names.insert(naming.name.clone(), node),
                None => names.remove(&naming.name),
            };
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Content { node: usize, edit: Edit },
    Names(Vec<Naming>),
}

impl Change {
    pub(super) fn is_of(&self, unit: SyncUnit) -> bool {
        match self {
            Self::Content { node, .. } => unit == SyncUnit::File(*node),
            Self::Names(_) => unit == SyncUnit::Directory,
        }
    }
}

/// A file's content, or the names of the directory: synced as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncUnit {
    File(usize),
    Directory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The next sync writes it.
    Dirty,
    /// A sync failed to write it, and none will try again.
    InDoubt,
    /// Synced, but listed still, as it comes after something that is in doubt.
    Durable,
}

#[derive(Debug, Clone)]
pub(super) struct PendingChange {
    pub(super) mark: Mark,
    pub(super) change: Change,
}
