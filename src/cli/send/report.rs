//! What `bilico send` prints of files, and of what it left out.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::output::{complain, note, say_json, warn};
use crate::client::receipts::Receipt;
use crate::client::walk::{Found, LeftOut, count};
use crate::numbers::plural;
use crate::os_text;
use crate::text::{Printable, printable_path};

/// The most entries that are named.
const NAMED: usize = 20;

/// The line of one file with `--json`.
pub(super) fn line(receipt: Receipt) -> Value {
    let size = receipt.size.unwrap_or(0);
    let mut line = json!({
        "path": receipt.path, "title": receipt.title, "key": receipt.key,
        "size": size, "bytes": size, "state": receipt.state,
    });
    let known = [
        (
            "hash",
            receipt.hash.map(|hash| json!(hash.to_hex().as_str())),
        ),
        ("crc32c", receipt.crc32c.map(|crc32c| json!(crc32c))),
        ("sent", receipt.sent.map(|sent| json!(sent))),
        ("number", receipt.number.map(|number| json!(number))),
        ("request_number", receipt.number.map(|number| json!(number))),
        ("server", receipt.server.map(|server| json!(server))),
        (
            "confirmed",
            receipt.confirmed.map(|confirmed| json!(confirmed)),
        ),
        ("reason", receipt.reason.map(|reason| json!(reason))),
        ("change", receipt.change.map(|change| json!(change))),
    ];
    if let Some(fields) = line.as_object_mut() {
        fields.extend(
            known
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
    }
    line
}

/// Prints the lines of the entries that were left out, with `--json`.
pub(super) fn skipped(found: &Found) {
    for entry in &found.left_out {
        say_json(json!({
            "path": os_text::encode(entry.path.as_os_str()), "state": "skipped",
            "kind": entry.kind.name(), "reason": entry.reason,
        }));
    }
}

/// Warns of folders in which there is nothing to send.
pub(in crate::cli) fn nothing(found: &Found, named: &[impl AsRef<Path>]) {
    if found.sources.is_empty() && found.missed().next().is_none() {
        let mut text = "nothing to send: no files in ".to_owned();
        for (at, path) in named.iter().take(NAMED).enumerate() {
            text.push_str(if at > 0 { ", " } else { "" });
            text.push_str(&printable_path(path.as_ref()));
        }
        if named.len() > NAMED {
            text.push_str(", …");
        }
        warn(&text);
    }
}

/// Warns of patterns that match nothing: the shell hands them over as they are then.
pub(super) fn unmatched(named: &[PathBuf]) {
    let is_pattern = |path: &&PathBuf| {
        let path = path.as_os_str().as_bytes();
        path.iter().any(|byte| b"*?[".contains(byte))
    };
    let missing = |path: &&PathBuf| path.symlink_metadata().is_err();
    for path in named.iter().filter(is_pattern).filter(missing).take(NAMED) {
        warn(&format!("no file matches {}", printable_path(path)));
    }
}

/// Tells what was left out: some by name, all by number. What is fine is told only to those who want
/// to hear more than errors.
pub(in crate::cli) fn left_out(found: &Found, is_quiet: bool) {
    let missed: Vec<&LeftOut> = found.missed().collect();
    for entry in missed.iter().take(NAMED) {
        let path = printable_path(&entry.path);
        complain(
            &format!("{path}: not sent: {}", Printable(&entry.reason)),
            None,
        );
    }
    if let Some(more) = missed.len().checked_sub(NAMED).filter(|more| *more > 0) {
        complain(
            &format!("… and {} not sent", plural(more, "entry", "more entries")),
            None,
        );
    }
    let fine = found.left_out.iter().filter(|entry| entry.is_fine);
    if !is_quiet && missed.len() < found.left_out.len() {
        note(format_args!("note: {} left out", count(fine)));
    }
    if !missed.is_empty() {
        let has_links = missed.iter().any(|entry| entry.kind.is_link());
        let hint = "--follow sends what links lead to; --skip-links leaves links out without an \
                    error";
        let error = format!("{} left out", count(missed.into_iter()));
        complain(&error, has_links.then_some(hint));
    }
}
