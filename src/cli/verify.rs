//! `bilico verify`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::{Exit, Failure, note, say, say_json};
use crate::client::receipts::State;
use crate::numbers::{count, plural};
use crate::text::{Printable, printable_path};
use crate::verify::{Finding, Report, verify};

/// Compare the receipts of `bilico send --receipts` with the files in the servers' directories
#[derive(Debug, Args)]
#[command(after_help = "\
Findings: missing (accepted or delivered, but not stored), double (stored more than once), \
differing (stored with other content), unexpected (stored, but without a receipt), partial \
(temporary files of a server). Run it when no files are under way: a file that still waits for a \
server counts as missing.

Exit code 0 if there are no findings, otherwise 1.")]
pub(super) struct VerifyArgs {
    /// A file of receipts; repeat the flag for each, the oldest first. Of several lines with one
    /// key, the last one with a word from the balancer counts
    #[arg(long, value_name = "FILE", required = true)]
    receipts: Vec<PathBuf>,
    /// The directories of all servers
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// The directories contain files of other clients, too: files without a receipt are only
    /// counted
    #[arg(long)]
    others: bool,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Compares, and prints the findings.
pub(super) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let compared = verify(&args.receipts, &args.dirs, args.others);
    let report = compared.map_err(|error| Failure::new(Exit::Failed, error))?;
    if args.json {
        say_json(object(&report));
    } else {
        for found in &report.notes {
            note(format_args!("note: {}", Printable(found)));
        }
        for (kind, findings) in report.kinds() {
            for finding in findings {
                say(line(kind, finding));
            }
        }
        say(summary(&report));
        if let Some(text) = perhaps_waiting(&report) {
            note(text);
        }
    }
    Ok(if report.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn object(report: &Report) -> serde_json::Value {
    let mut object = json!(report);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("clean".to_owned(), report.is_clean().into());
    }
    object
}

fn summary(report: &Report) -> String {
    let mut text = format!(
        "{}, {}: {}",
        count(report.receipts, "receipt"),
        count(report.files, "stored file"),
        plural(report.stored, "matches", "match"),
    );
    let counts = report
        .kinds()
        .map(|(kind, findings)| (findings.len(), kind));
    let open = [
        (report.absent, "with an unknown end, not stored"),
        (report.others, "of other clients"),
    ];
    for (number, what) in counts
        .into_iter()
        .chain(open)
        .filter(|(number, _)| *number > 0)
    {
        let _ = write!(text, ", {number} {what}");
    }
    text + if report.is_clean() {
        "; no findings"
    } else {
        ""
    }
}

/// What is missing according to a receipt of an accepted file may still wait at the balancer.
fn perhaps_waiting(report: &Report) -> Option<String> {
    let claims = report
        .missing
        .iter()
        .filter_map(|found| found.receipt.as_ref());
    let mut accepted = claims.filter(|claim| claim.state == State::Accepted);
    let first = accepted.next()?.number?;
    let files = plural(
        accepted.count() + 1,
        "missing file was",
        "missing files were",
    );
    Some(format!(
        "note: {files} accepted and not yet delivered when the client ended, and may be safe with \
         the balancer: see `bilico queue show {first}`"
    ))
}

fn line(kind: &str, finding: &Finding) -> String {
    let mut text = format!("{kind}:");
    for file in &finding.files {
        let _ = write!(text, " {}", printable_path(file));
    }
    if let Some(claim) = &finding.receipt {
        let (path, title) = (Printable(&claim.path), &claim.title);
        let _ = write!(text, " ({path}: {} as {title:?}", state(claim.state));
        if let Some(number) = claim.number {
            let _ = write!(text, ", number {number}");
        }
        text.push(')');
    }
    text
}

fn state(state: State) -> &'static str {
    match state {
        State::Delivered => "delivered",
        State::Accepted => "accepted",
        State::Dead => "dead",
        State::Refused => "refused",
        State::Unreadable => "unreadable",
        State::Changed => "changed",
        State::Unknown => "unknown",
        State::Forgotten => "forgotten",
    }
}
