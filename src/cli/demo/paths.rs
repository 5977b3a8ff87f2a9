//! Paths for people.

use std::path::Path;

/// A path without a leading `./`.
pub(super) fn show(path: &Path) -> String {
    let shown = path.display().to_string();
    shown.strip_prefix("./").unwrap_or(&shown).to_owned()
}
