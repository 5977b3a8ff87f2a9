//! Orders about files: dead letters are replayed or dropped, waiting files cancelled. By their
//! numbers one after the other; by what they have in common in as many orders as it takes, for the
//! balancer carries each out on so many files at most.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write as _};

use clap::Args;

use super::ask::{AskArgs, print_json};
use crate::admin::types::{Count, Done};
use crate::cli::api::Api;
use crate::cli::output::{Exit, Failure, complain, say, warn};

/// Of so many files that were left alone the reason is told.
const TOLD: usize = 10;

/// Which dead letters.
#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    /// The files' request numbers
    #[arg(
        value_name = "NUMBER",
        required_unless_present_any = ["all", "title", "user", "reason"],
        conflicts_with_all = ["all", "title", "user", "reason"]
    )]
    pub(super) numbers: Vec<u64>,
    /// All dead letters
    #[arg(long, conflicts_with_all = ["title", "user", "reason"])]
    all: bool,
    /// Dead letters whose title fits: `*` stands for any text, `?` for any character
    #[arg(long, value_name = "GLOB")]
    title: Option<String>,
    /// Dead letters that this user sent
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Dead letters with this text in their reason, in any case
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Which waiting files.
#[derive(Debug, Args)]
pub(super) struct WaitingArgs {
    /// The files' request numbers
    #[arg(
        value_name = "NUMBER",
        required_unless_present_any = ["all", "title", "user"],
        conflicts_with_all = ["all", "title", "user"]
    )]
    numbers: Vec<u64>,
    /// All waiting files
    #[arg(long, conflicts_with_all = ["title", "user"])]
    all: bool,
    /// Waiting files whose title fits: `*` stands for any text, `?` for any character
    #[arg(long, value_name = "GLOB")]
    title: Option<String>,
    /// Waiting files that this user sent
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// Whether to ask before something is destroyed.
#[derive(Debug, Args)]
pub(super) struct SureArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What is the same of the files that an order is about.
#[derive(Debug, Default)]
pub(super) struct Common<'a> {
    pub(super) title: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
}

impl DeadArgs {
    pub(super) fn common(&self) -> Common<'_> {
        Common {
            title: self.title.as_deref(),
            user: self.user.as_deref(),
            reason: self.reason.as_deref(),
        }
    }
}

impl Common<'_> {
    /// In words that follow the files' name.
    fn words(&self) -> String {
        let title = self
            .title
            .map(|title| format!("with titles like {title:?}"));
        let user = self.user.map(|user| format!("of the user {user:?}"));
        let reason = self
            .reason
            .map(|reason| format!("with {reason:?} in their reason"));
        let parts: Vec<String> = [title, user, reason].into_iter().flatten().collect();
        if parts.is_empty() {
            return String::new();
        }
        format!(" {}", parts.join(" and "))
    }

    /// As the query of a request.
    fn query(&self) -> String {
        let parts = [
            ("title", self.title),
            ("user", self.user),
            ("reason", self.reason),
        ];
        let mut query = String::new();
        for (name, value) in parts {
            if let Some(value) = value {
                // Writing to text cannot fail.
                let _ = write!(query, "{name}={}&", percent_encoded(value));
            }
        }
        if query.is_empty() {
            query.push_str("all=true&");
        }
        query
    }
}

fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// How one kind of order is given and told.
struct Kind {
    /// "replay"
    verb: &'static str,
    /// "replayed"
    done: &'static str,
    /// "dead letters"
    files: &'static str,
    /// The route for many files.
    many: &'static str,
}

const REPLAY: Kind = Kind {
    verb: "replay",
    done: "replayed",
    files: "dead letters",
    many: "dead/replay",
};

const DROP: Kind = Kind {
    verb: "drop",
    done: "thrown away",
    files: "dead letters",
    many: "dead/drop",
};

const CANCEL: Kind = Kind {
    verb: "cancel",
    done: "cancelled",
    files: "waiting files",
    many: "waiting/cancel",
};

pub(super) fn replay(which: &DeadArgs, ask: &AskArgs) -> Result<Exit, Failure> {
    if which.numbers.is_empty() {
        return many(&REPLAY, &which.common(), None, ask);
    }
    each(&REPLAY, &which.numbers, None, ask, |number| {
        ("POST", format!("dead/{number}/replay"))
    })
}

pub(super) fn drop_files(
    which: &DeadArgs,
    sure: &SureArgs,
    ask: &AskArgs,
) -> Result<Exit, Failure> {
    if which.numbers.is_empty() {
        return many(&DROP, &which.common(), Some(sure), ask);
    }
    // The route takes every file that is not delivered, not only dead letters.
    each(&DROP, &which.numbers, Some(sure), ask, |number| {
        ("DELETE", format!("dead/{number}"))
    })
}

pub(super) fn cancel(which: &WaitingArgs, sure: &SureArgs, ask: &AskArgs) -> Result<Exit, Failure> {
    if which.numbers.is_empty() {
        let common = Common {
            title: which.title.as_deref(),
            user: which.user.as_deref(),
            reason: None,
        };
        return many(&CANCEL, &common, Some(sure), ask);
    }
    each(&CANCEL, &which.numbers, Some(sure), ask, |number| {
        ("DELETE", format!("waiting/{number}"))
    })
}

/// Gives an order for each of these files.
fn each(
    kind: &Kind,
    numbers: &[u64],
    sure: Option<&SureArgs>,
    ask: &AskArgs,
    order: impl Fn(u64) -> (&'static str, String),
) -> Result<Exit, Failure> {
    let shown = match numbers {
        [number] => format!("file {number}"),
        _ => format!("{} files", numbers.len()),
    };
    let api = Api::new(&ask.admin)?.to(format!("{} {shown}", kind.verb));
    if let Some(sure) = sure {
        sure.ask(kind, &shown)?;
    }
    let mut files = 0;
    let mut failed = 0;
    for number in numbers {
        let (method, path) = order(*number);
        match api.order::<Count>(method, &path, None::<&()>) {
            Ok(count) => files += count.files,
            Err(failure) if numbers.len() == 1 || failure.exit == Exit::Unreachable => {
                return Err(failure);
            }
            Err(failure) => {
                complain(&failure.error, failure.hint.as_deref());
                failed += 1;
            }
        }
    }
    if ask.json {
        print_json(&Count { files })?;
    } else {
        say(told(files, kind));
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

/// Gives an order for all files that have this in common.
fn many(
    kind: &Kind,
    common: &Common<'_>,
    sure: Option<&SureArgs>,
    ask: &AskArgs,
) -> Result<Exit, Failure> {
    let shown = format!("all {}{}", kind.files, common.words());
    let api = Api::new(&ask.admin)?.to(format!("{} {shown}", kind.verb));
    if let Some(sure) = sure {
        sure.ask(kind, &shown)?;
    }
    let query = common.query();
    let mut sum = Done::default();
    let mut go_on = String::new();
    loop {
        let path = format!("{}?{query}{go_on}", kind.many);
        let done: Done = api.order("POST", &path, None::<&()>).inspect_err(|_| {
            if sum.files > 0 {
                warn(&format!("{} before this", told(sum.files, kind)));
            }
        })?;
        sum.files += done.files;
        sum.left_files += done.left_files;
        sum.left.extend(
            done.left
                .into_iter()
                .take(TOLD.saturating_sub(sum.left.len())),
        );
        sum.up_to = done.up_to;
        let Some(after) = done.after else { break };
        go_on = format!("after={after}&up_to={}", done.up_to);
    }
    if ask.json {
        print_json(&sum)?;
    } else {
        say(told(sum.files, kind));
        for left in &sum.left {
            warn(&left.reason);
        }
        if sum.left_files > sum.left.len() {
            let more = sum.left_files - sum.left.len();
            warn(&format!(
                "{more} more files were left alone, for like reasons"
            ));
        }
    }
    Ok(if sum.left_files > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn told(files: usize, kind: &Kind) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun} {}", kind.done)
}

impl SureArgs {
    /// Goes on if whoever gives the order is sure.
    fn ask(&self, kind: &Kind, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let verb = kind.verb;
        if !io::stdin().is_terminal() {
            let error =
                format!("to {verb} {what} cannot be undone, and there is no terminal to ask on");
            return Err(
                Failure::new(Exit::Usage, error).hint("pass --yes to go on without a question")
            );
        }
        // If standard error is closed, nobody can be asked: then only a `y` that is typed counts.
        let _ = write!(
            io::stderr().lock(),
            "{verb} {what}? this cannot be undone [y/N] "
        );
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failure::new(Exit::Failed, error))?;
        if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Failed,
            format!("nothing was {}", kind.done),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_have_in_common_is_a_query_that_nothing_can_break_out_of() {
        assert_eq!(Common::default().query(), "all=true&");
        let common = Common {
            title: Some("a&all=true#*.t\u{e9}"),
            user: None,
            reason: Some("too large"),
        };
        assert_eq!(
            common.query(),
            "title=a%26all%3Dtrue%23%2A.t%C3%A9&reason=too%20large&"
        );
    }
}
