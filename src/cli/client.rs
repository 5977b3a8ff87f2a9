//! `bilico client`: the prompt.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rand::seq::IndexedRandom;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::api::{AdminArg, Api};
use super::output::{Exit, Failure, complain, say, warn};
use super::prompt::{Line, Lines};
use super::send::{BalancerArg, ChangedArg, RetryArg, SendEnded, Sending};
use super::settings::values::{address, positive};
use super::{servers, show};
use crate::client::{self, Form, Keys, Options, Source, Wait};
use crate::config::{MAX_WEIGHT, SpecError};
use crate::text::Printable;
use crate::transport::Tcp;
use crate::units::ByteSize;

const PROMPT: &str = "bilico> ";
const HOW_MANY: &str = "How many files? ";

/// How many names are listed at most.
const LISTED: usize = 40;

/// The most files that one command sends: a typing error must not run for days.
const MOST: usize = 10_000_000;

/// How long a balancer may take to answer a status request.
const STATUS: Duration = Duration::from_secs(5);

const HELP: &str = "\
FTP [N]       send N files picked at random from the folder; asks how many without N
send NAME…    send these files from the folder, or by path
ls            list the files in the folder
status        what the balancer and its servers do
drain S       send nothing new to server S: its name, or a part of it such as 5003
undrain S     send files to it again
weight S N    give it the weight N
help          this list
exit          leave";

/// The prompt: pick files from a folder and send them
#[derive(Debug, Clone, Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    pub(super) balancer: BalancerArg,
    /// The folder that files are picked from. Those called .json that hold a title and a content
    /// are unwrapped, all others sent byte for byte
    #[arg(
        long,
        value_name = "DIR",
        default_value = "sample_files",
        env = "BILICO_FILES"
    )]
    pub(super) files: PathBuf,
    /// How long to wait for a delivery at the most; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = positive, env = "BILICO_TIMEOUT")]
    pub(super) timeout: Option<Duration>,
    #[command(flatten)]
    pub(super) retry: RetryArg,
    #[command(flatten)]
    pub(super) changed: ChangedArg,
    /// Where the balancer answers operators, for `drain`, `undrain` and `weight`; they do not work
    /// without it
    #[arg(long, value_name = "ADDR", value_parser = address_or_none, env = "BILICO_ADMIN")]
    pub(super) admin: Option<String>,
}

/// An address, or what a balancer without operators is told.
fn address_or_none(text: &str) -> Result<String, String> {
    if text == "none" {
        Ok(text.to_owned())
    } else {
        address(text)
    }
}

/// Runs the prompt on its own.
pub(super) async fn run(args: ClientArgs) -> Result<Exit, Failure> {
    let (_no_notices, mut notices) = mpsc::unbounded_channel();
    converse(&args, &mut notices).await
}

/// A command at the prompt.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Ftp(Option<String>),
    Send(Vec<String>),
    List,
    Status,
    Drain(String),
    Undrain(String),
    Weight(String, String),
    Help,
    Exit,
    Nothing,
    Unknown(String),
}

/// Reads a command. Case does not matter, but in the names of files; quotes keep names with spaces
/// together.
fn parse(line: &str) -> Command {
    let Some(words) = shlex::split(line) else {
        return Command::Unknown(line.trim().to_owned());
    };
    let mut words = words.into_iter();
    let Some(first) = words.next() else {
        return Command::Nothing;
    };
    match (first.to_lowercase().as_str(), words.collect::<Vec<_>>()) {
        ("ftp", mut rest) if rest.len() <= 1 => Command::Ftp(rest.pop()),
        ("send", names) => Command::Send(names),
        ("ls", rest) if rest.is_empty() => Command::List,
        ("status", rest) if rest.is_empty() => Command::Status,
        ("drain", mut rest) if rest.len() == 1 => Command::Drain(rest.remove(0)),
        ("undrain", mut rest) if rest.len() == 1 => Command::Undrain(rest.remove(0)),
        ("weight", mut rest) if rest.len() == 2 => Command::Weight(rest.remove(0), rest.remove(0)),
        ("help" | "?", _) => Command::Help,
        ("exit" | "quit", rest) if rest.is_empty() => Command::Exit,
        _ => Command::Unknown(line.trim().to_owned()),
    }
}

/// Reads how many files.
fn parse_count(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(count) if (1..=MOST).contains(&count) => Ok(count),
        _ => Err(format!(
            "{:?} is no number of files; write one from 1 to {MOST}",
            text.trim()
        )),
    }
}

/// Reads commands and carries them out, until the end. `notices` are shown as they come.
pub(super) async fn converse(
    args: &ClientArgs,
    notices: &mut mpsc::UnboundedReceiver<String>,
) -> Result<Exit, Failure> {
    let files = list(&args.files)?;
    let cannot = |error| Failure::new(Exit::Failed, format!("cannot read commands: {error}"));
    let lines = Lines::open().map_err(cannot)?;
    let signals = (SignalKind::interrupt(), SignalKind::terminate());
    let (interrupt, terminate) = (
        signal(signals.0).map_err(cannot)?,
        signal(signals.1).map_err(cannot)?,
    );
    let mut prompt = Prompt {
        args,
        files,
        lines,
        interrupt,
        terminate,
        notices,
        worst: Exit::Done,
    };
    if prompt.lines.is_terminal() {
        prompt.show_files();
        say("FTP sends some of them, picked at random; help lists the commands.");
    }
    prompt.run().await
}

/// What an operator can change at the prompt.
#[derive(Debug, Clone, Copy)]
enum Change {
    Weight(u32),
    Drained(bool),
}

fn parse_weight(text: &str) -> Result<u32, Failure> {
    let weight = text.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
    weight.ok_or_else(|| Failure::new(Exit::Failed, SpecError::Weight(text.to_owned())))
}

struct Prompt<'a> {
    args: &'a ClientArgs,
    files: Vec<(String, u64)>,
    lines: Lines,
    interrupt: Signal,
    terminate: Signal,
    notices: &'a mut mpsc::UnboundedReceiver<String>,
    /// What a script ends with: the last failure of its commands.
    worst: Exit,
}

/// Why the prompt ends before its time.
struct Interrupted;

impl Prompt<'_> {
    async fn run(&mut self) -> Result<Exit, Failure> {
        loop {
            let command = match self.ask(PROMPT).await {
                Ok(Line::Text(line)) => parse(&line),
                Ok(Line::End) => Command::Exit,
                Ok(Line::Interrupted) | Err(Interrupted) => return Ok(Exit::Interrupted),
            };
            let carried_out = match command {
                Command::Exit => return Ok(self.end()),
                other => self.carry_out(other).await,
            };
            if let Err(Interrupted) = carried_out {
                return Ok(Exit::Interrupted);
            }
        }
    }

    /// A person has seen what failed; a script needs its exit code.
    fn end(&self) -> Exit {
        if self.lines.is_terminal() {
            Exit::Done
        } else {
            self.worst
        }
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), Interrupted> {
        match command {
            Command::Ftp(count) => self.ftp(count).await,
            Command::Send(names) => self.send(&names).await,
            Command::Status => {
                self.status().await;
                Ok(())
            }
            Command::Drain(server) => self.order(Change::Drained(true), server).await,
            Command::Undrain(server) => self.order(Change::Drained(false), server).await,
            Command::Weight(server, weight) => match parse_weight(&weight) {
                Ok(weight) => self.order(Change::Weight(weight), server).await,
                Err(failure) => {
                    self.fail(&failure);
                    Ok(())
                }
            },
            Command::List => {
                match list(&self.args.files) {
                    Ok(files) => self.files = files,
                    Err(failure) => self.fail(&failure),
                }
                self.show_files();
                Ok(())
            }
            Command::Help => {
                say(HELP);
                Ok(())
            }
            Command::Unknown(line) => {
                let failure = Failure::new(Exit::Failed, format!("{line:?} is no command"));
                self.fail(
                    &failure
                        .hint("FTP, send, ls, status, drain S, undrain S, weight S N, help, exit"),
                );
                Ok(())
            }
            Command::Nothing | Command::Exit => Ok(()),
        }
    }

    async fn ftp(&mut self, count: Option<String>) -> Result<(), Interrupted> {
        let count = match count {
            Some(count) => count,
            None => match self.ask(HOW_MANY).await? {
                Line::Text(text) => text,
                // Whoever does not want to answer gets the prompt again; a script has forgotten its
                // number.
                Line::End if !self.lines.is_terminal() => String::new(),
                Line::Interrupted | Line::End => return Ok(()),
            },
        };
        let count = match parse_count(&count) {
            Ok(count) => count,
            Err(error) => {
                self.fail(&Failure::new(Exit::Failed, error));
                return Ok(());
            }
        };
        let picked: Vec<Source> = {
            let mut rng = rand::rng();
            (0..count)
                .filter_map(|_| self.files.choose(&mut rng))
                .map(|(name, _)| self.source(name))
                .collect()
        };
        self.transfer(&picked, |file| {
            picked
                .get(file)
                .map_or("", |source| &source.title)
                .to_owned()
        })
        .await
    }

    async fn send(&mut self, names: &[String]) -> Result<(), Interrupted> {
        if names.is_empty() {
            self.fail(
                &Failure::new(Exit::Failed, "send what?")
                    .hint("send NAME…, with names that ls lists"),
            );
            return Ok(());
        }
        let sources: Vec<Source> = names.iter().map(|name| self.source(name)).collect();
        self.transfer(&sources, |file| {
            names.get(file).cloned().unwrap_or_default()
        })
        .await
    }

    /// A file of the folder, or by its path.
    fn source(&self, name: &str) -> Source {
        let in_folder = self.args.files.join(name);
        let path = if in_folder.exists() {
            in_folder
        } else {
            PathBuf::from(name)
        };
        Source::named(&path, Form::Either)
    }

    /// Sends files and waits for their delivery. Ctrl-C on a terminal ends only the waiting.
    async fn transfer(
        &mut self,
        sources: &[Source],
        names: impl Fn(usize) -> String + Copy,
    ) -> Result<(), Interrupted> {
        let hush = self.lines.hush();
        let sending = Sending {
            balancer: &self.args.balancer.balancer,
            options: Options {
                wait: Wait::Delivered,
                keys: Keys::default(),
                retry: self.args.retry.retry,
                changed: self.args.changed.changed,
            },
            timeout: self.args.timeout,
        };
        let (interrupt, terminate) = (&mut self.interrupt, &mut self.terminate);
        let mut terminated = false;
        let signals = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => terminated = true,
            }
        };
        let SendEnded {
            tally,
            elapsed,
            result,
        } = sending.run(sources, false, None, signals).await;
        let status = client::status(&Tcp, sending.balancer, STATUS).await.ok();
        if tally.accepted > 0 || result.is_ok() {
            say(show::summary(&tally, elapsed, status.as_ref()));
        }
        drop(hush);
        for warning in show::warnings(&tally, names) {
            warn(&warning);
        }
        for failure in show::failures(&tally, names) {
            complain(&failure, None);
        }
        match result {
            Ok(Exit::Done) => Ok(()),
            Ok(exit) => {
                self.worst = exit;
                Ok(())
            }
            Err(failure) if failure.exit == Exit::Interrupted => {
                if terminated || !self.lines.is_terminal() {
                    return Err(Interrupted);
                }
                let left = tally.with_the_balancer();
                say(format_args!(
                    "no longer waiting; {left} files are with the balancer, which goes on"
                ));
                Ok(())
            }
            Err(failure) => {
                self.fail(&failure);
                Ok(())
            }
        }
    }

    /// The way to what operators may do, if it is known.
    fn operators(&self) -> Option<Api> {
        let admin = self.args.admin.clone().filter(|admin| admin != "none")?;
        Some(Api::new(&AdminArg { admin }))
    }

    /// Carries out an operator's order and says what holds now.
    async fn order(&mut self, change: Change, server: String) -> Result<(), Interrupted> {
        let Some(api) = self.operators() else {
            let failure = Failure::new(
                Exit::Failed,
                "it is not known where the balancer answers operators",
            );
            self.fail(
                &failure.hint("start the prompt with --admin ADDR; the balancer's second line says \"admin on …\""),
            );
            return Ok(());
        };
        let done = tokio::task::spawn_blocking(move || match change {
            Change::Weight(weight) => {
                servers::set_weight(&api, &server, weight).map(|now| servers::weight_text(&now))
            }
            Change::Drained(true) => {
                servers::set_drained(&api, &server, true).map(|now| servers::drain_text(&now))
            }
            Change::Drained(false) => {
                servers::set_drained(&api, &server, false).map(|now| servers::undrain_text(&now))
            }
        });
        let done = tokio::select! {
            done = done => done,
            _ = self.interrupt.recv() => return Err(Interrupted),
            _ = self.terminate.recv() => return Err(Interrupted),
        };
        match done {
            Ok(Ok(text)) => say(text),
            Ok(Err(failure)) => self.fail(&failure),
            Err(error) => self.fail(&Failure::new(Exit::Failed, error)),
        }
        Ok(())
    }

    async fn status(&mut self) {
        match client::status(&Tcp, &self.args.balancer.balancer, STATUS).await {
            Ok(report) => say(show::status(&report)),
            Err(error) => self.fail(&error.into()),
        }
    }

    fn show_files(&self) {
        say(format_args!(
            "{} files in {}:",
            self.files.len(),
            Printable(self.args.files.display())
        ));
        let shown = |name: &str| Printable(name).to_string();
        let listed: Vec<_> = self
            .files
            .iter()
            .take(LISTED)
            .map(|(name, size)| (shown(name), size))
            .collect();
        let widest = listed
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, size) in listed {
            say(format_args!(
                "  {name:widest$}  {:>10}",
                ByteSize(*size).to_string()
            ));
        }
        if self.files.len() > LISTED {
            say(format_args!("  … and {} more", self.files.len() - LISTED));
        }
    }

    fn fail(&mut self, failure: &Failure) {
        complain(&failure.error, failure.hint.as_deref());
        self.worst = failure.exit;
    }

    /// Waits for a line, a signal, or the end, and shows notices meanwhile.
    async fn ask(&mut self, prompt: &str) -> Result<Line, Interrupted> {
        self.lines.ask(prompt, prompt == PROMPT);
        loop {
            let notice = tokio::select! {
                line = self.lines.answer() => return Ok(line),
                Some(notice) = self.notices.recv() => notice,
                _ = self.interrupt.recv() => return Err(Interrupted),
                _ = self.terminate.recv() => return Err(Interrupted),
            };
            self.lines.notice(&notice);
        }
    }
}

/// The files in the folder with their sizes, by name.
fn list(folder: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let cannot = |error| {
        let failure = Failure::new(
            Exit::Failed,
            format!("cannot read the folder {}: {error}", folder.display()),
        );
        failure.hint("name a folder of files with --files")
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        // What cannot be looked at, such as a link that leads nowhere, cannot be sent either.
        if let Ok(metadata) = fs::metadata(entry.path())
            && metadata.is_file()
        {
            files.push((
                entry.file_name().to_string_lossy().into_owned(),
                metadata.len(),
            ));
        }
    }
    if files.is_empty() {
        let failure = Failure::new(
            Exit::Failed,
            format!("the folder {} has no files in it", folder.display()),
        );
        return Err(failure.hint("put files into it, or name another folder with --files"));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_any_case() {
        for (line, command) in [
            ("FTP", Command::Ftp(None)),
            ("  ftp   20 ", Command::Ftp(Some("20".into()))),
            ("Ftp x", Command::Ftp(Some("x".into()))),
            (
                "SEND a.json B.txt",
                Command::Send(vec!["a.json".into(), "B.txt".into()]),
            ),
            ("send", Command::Send(vec![])),
            (
                "send 'a b.txt' \"c d\"",
                Command::Send(vec!["a b.txt".into(), "c d".into()]),
            ),
            ("send 'a", Command::Unknown("send 'a".into())),
            ("LS", Command::List),
            ("Status", Command::Status),
            ("Drain :5003", Command::Drain(":5003".into())),
            ("undrain 5003", Command::Undrain("5003".into())),
            ("WEIGHT 5003 6", Command::Weight("5003".into(), "6".into())),
            ("drain", Command::Unknown("drain".into())),
            ("drain a b", Command::Unknown("drain a b".into())),
            ("weight 5003", Command::Unknown("weight 5003".into())),
            ("?", Command::Help),
            ("EXIT", Command::Exit),
            ("quit", Command::Exit),
            ("", Command::Nothing),
            (" \t", Command::Nothing),
            ("ftp 1 2", Command::Unknown("ftp 1 2".into())),
            ("rm -rf /", Command::Unknown("rm -rf /".into())),
        ] {
            assert_eq!(parse(line), command, "{line:?}");
        }
    }

    #[test]
    fn counts_that_are_none() {
        assert_eq!(parse_count(" 60 "), Ok(60));
        for text in [
            "",
            "0",
            "-1",
            "1.5",
            "x",
            "10000001",
            "99999999999999999999",
        ] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
