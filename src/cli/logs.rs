//! `bilico logs`: the rotated logs of all roles merged by time.
//!
//! Needs no balancer. Reads line by line, so that logs of any size take the memory of a few lines
//! per role; lines are printed as they are in the files.

mod files;
mod filter;
mod line;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use tracing::Level;

use self::files::{Line, Source};
use self::filter::Filter;
pub(super) use self::filter::{Since, level};
use super::output::{Exit, Failure, Stdout, note};
use super::settings::values::whole;
use crate::logging::Destination;
use crate::text::{Printable, PrintableJson, printable_bytes};

/// Time between two looks at files that are followed.
const POLL: Duration = Duration::from_millis(200);

/// After this many looks the directory is searched for the logs of new roles.
const LOOKS_A_SEARCH: usize = 5;

/// `-f` begins with this many of the last lines.
const FOLLOWED_FROM: usize = 10;

/// Limit of `--lines`: the lines are kept in memory.
const MOST_LINES: u32 = 1_000_000;

/// Where lines are that went to standard output.
const KEPT_BY_OTHERS: &str = "whoever started them has the lines: with systemd `journalctl -u bilico-balancer`, in a \
     container `docker logs NAME`; a directory called `-` is named `./-`";

/// Show the logs of all roles in order of time, across rotated files; needs no balancer
///
/// Lines of several log files are merged by their time. A line without a time, such as one of a
/// panic, stays behind the line before it. A line is shown if all given conditions hold.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The directory of the log files
    #[arg(
        long,
        value_name = "DIR",
        default_value = "logs",
        env = "BILICO_LOG_DIR"
    )]
    dir: PathBuf,
    /// Only this log, e.g. balancer or server-5001; may be repeated
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,
    /// Show new lines, too, until Ctrl-C; by default, begin with the last 10 lines
    #[arg(short, long)]
    follow: bool,
    /// Only lines since this time: 10m for ten minutes ago, 2026-11-21T06:27:00Z,
    /// "2026-11-21 06:27", or 06:27 for today (local time without a Z)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only lines about this server, and the lines of its own log
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// Only lines about the file with this request number
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
    number: Option<u64>,
    /// Only lines at this level and above: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
    /// Only the last N lines
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        value_parser = whole::<u32>(..=u64::from(MOST_LINES))
    )]
    lines: Option<u32>,
    /// Print JSON lines, whatever the format of the files
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LogsArgs) -> Result<Exit, Failure> {
    let mut logs = Logs::open(args)?;
    match logs.show() {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("cannot read the logs: {error}"),
        )),
    }
}

struct Logs<'a> {
    args: &'a LogsArgs,
    filter: Filter,
    sources: Vec<Feed>,
    /// The source of the last line.
    last: usize,
    out: Output,
}

/// A log, and whether its latest line was shown: its continuation lines follow suit.
struct Feed {
    source: Source,
    shown: bool,
}

impl<'a> Logs<'a> {
    fn open(args: &'a LogsArgs) -> Result<Self, Failure> {
        let dir = args.dir.display();
        let no_files = |error| Failure::new(Exit::Failed, error);
        match Destination::from(&*args.dir) {
            Destination::Directory(_) => {}
            Destination::Stdout => {
                let error = "the roles log to standard output: there are no files to read";
                return Err(no_files(error).hint(KEPT_BY_OTHERS));
            }
            Destination::Nowhere => {
                let error = "the roles were told to write no log (`none`)";
                return Err(no_files(error).hint("start them with --log-dir DIR"));
            }
        }
        let hint = "name the directory that the roles were given with --log-dir";
        let roles = files::roles(&args.dir).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("cannot read the directory {dir}: {error}"),
            )
            .hint(hint)
        })?;
        if let Some(file) = args
            .files
            .iter()
            .find(|file| !roles.iter().any(|role| role == *file))
        {
            let error = format!("{dir} has no log named {file:?}");
            let known = if roles.is_empty() {
                hint.to_owned()
            } else {
                format!("expected one of {}", roles.join(", "))
            };
            return Err(Failure::new(Exit::Failed, error).hint(known));
        }
        if roles.is_empty() && !args.follow {
            return Err(Failure::new(Exit::Failed, format!("{dir} has no log files")).hint(hint));
        }
        let wants_all = !args.follow || args.since.is_some() || args.number.is_some();
        let tail = match args.lines {
            None if wants_all => None,
            None => Some(FOLLOWED_FROM),
            Some(lines) => Some(lines as usize),
        };
        let tail = tail.map(|lines| (lines, VecDeque::new()));
        let out = Output {
            stdout: io::BufWriter::with_capacity(1 << 16, Stdout::lock()),
            tail,
        };
        let mut logs = Self {
            args,
            filter: Filter::new(args.since, args.level, args.server.as_deref(), args.number),
            sources: Vec::new(),
            last: 0,
            out,
        };
        logs.add(roles);
        Ok(logs)
    }

    /// Adds the logs of these roles, unless they are open already.
    fn add(&mut self, roles: Vec<String>) {
        let since = self
            .filter
            .since
            .and_then(|since| u64::try_from(since).ok());
        let since = since
            .map(|since| UNIX_EPOCH + Duration::from_millis(since))
            .filter(|since| *since < SystemTime::now());
        for role in roles {
            let wanted = self.args.files.is_empty() || self.args.files.contains(&role);
            if wanted && !self.sources.iter().any(|feed| feed.source.role == role) {
                let source = Source::new(&self.args.dir, &role, since);
                self.sources.push(Feed {
                    source,
                    shown: self.filter.is_open(),
                });
            }
        }
    }

    fn show(&mut self) -> io::Result<()> {
        self.drain()?;
        self.out.release()?;
        let mut looks: usize = 0;
        while self.args.follow {
            self.out.stdout.flush()?;
            std::thread::sleep(POLL);
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_A_SEARCH) {
                self.add(files::roles(&self.args.dir).unwrap_or_default());
            }
            self.drain()?;
        }
        self.out.stdout.flush()
    }

    /// Shows all lines that the files have now.
    fn drain(&mut self) -> io::Result<()> {
        let to_the_end = !self.args.follow;
        for feed in &mut self.sources {
            feed.fill(to_the_end)?;
        }
        while let Some(place) = self.earliest() {
            self.last = place;
            let Some(feed) = self.sources.get_mut(place) else {
                return Ok(());
            };
            let Some(line) = feed.source.next.take() else {
                return Ok(());
            };
            if let Some(head) = line.head {
                feed.shown = self.filter.shows(&feed.source.role, &line.bytes, head);
            }
            if feed.shown {
                self.out.line(line, &feed.source.role, self.args.json)?;
            }
            feed.fill(to_the_end)?;
        }
        Ok(())
    }

    /// The source of the next line: the last one if its next line is a continuation, otherwise the
    /// one with the oldest line.
    fn earliest(&self) -> Option<usize> {
        let goes_on = self
            .sources
            .get(self.last)
            .and_then(|feed| feed.source.next.as_ref());
        if goes_on.is_some_and(|line| line.head.is_none()) {
            return Some(self.last);
        }
        let waiting = self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, feed)| feed.source.next.is_some());
        waiting
            .min_by_key(|(_, feed)| feed.source.time_ms)
            .map(|(place, _)| place)
    }
}

impl Feed {
    fn fill(&mut self, to_the_end: bool) -> io::Result<()> {
        self.source.fill(to_the_end)?;
        if std::mem::take(&mut self.source.was_cut) {
            note(format_args!(
                "{}.log was truncated: reading it from its start",
                Printable(&self.source.role)
            ));
        }
        Ok(())
    }
}

/// The line with control characters escaped. Lines of this program have none, but other programs
/// may write to the file.
fn shown(line: Vec<u8>) -> Vec<u8> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
    if line.iter().all(is_plain) {
        return line;
    }
    let (text, end) = line
        .strip_suffix(b"\n")
        .map_or((&*line, ""), |text| (text, "\n"));
    (printable_bytes(text) + end).into_bytes()
}

/// Standard output; at first perhaps only the last lines for it.
struct Output {
    stdout: io::BufWriter<Stdout>,
    tail: Option<(usize, VecDeque<Vec<u8>>)>,
}

impl Output {
    fn line(&mut self, line: Line, role: &str, json: bool) -> io::Result<()> {
        let bytes = match line.head {
            _ if !json => shown(line.bytes),
            Some(head) => {
                format!("{}\n", PrintableJson(line::to_json(&line.bytes, head))).into_bytes()
            }
            None => {
                let text = String::from_utf8_lossy(&line.bytes);
                let object = json!({ "file": role, "text": text.trim_end_matches(['\n', '\r']) });
                format!("{}\n", PrintableJson(object)).into_bytes()
            }
        };
        match &mut self.tail {
            None => self.stdout.write_all(&bytes),
            Some((0, _)) => Ok(()),
            Some((most, last)) => {
                if last.len() == *most {
                    last.pop_front();
                }
                last.push_back(bytes);
                Ok(())
            }
        }
    }

    /// Writes the last lines; from now on each line is written at once.
    fn release(&mut self) -> io::Result<()> {
        let (_, last) = self.tail.take().unwrap_or_default();
        last.iter()
            .try_for_each(|bytes| self.stdout.write_all(bytes))
    }
}
