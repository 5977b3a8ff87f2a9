//! The prompt: reads commands and carries them out.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::args::ClientArgs;
use super::command::{Command, HELP, NAMES, parse, parse_count};
use super::folder::Folder;
use super::orders::{self, Change, operators, parse_weight};
use super::pick::{Picked, pick};
use crate::cli::output::{Exit, Failure, complain, say, warn};
use crate::cli::prompt::{Line, Lines};
use crate::cli::send::{SendEnded, Sending, left_out, nothing};
use crate::cli::show;
use crate::client::{self, Keys, Options, Source, Tally, Wait};

const PROMPT: &str = "bilico> ";
const HOW_MANY: &str = "How many files? ";

/// How long a balancer may take to answer a status request.
const STATUS: Duration = Duration::from_secs(5);

/// Runs the prompt on its own.
pub(in crate::cli) async fn run(args: ClientArgs) -> Result<Exit, Failure> {
    let (_no_notices, mut notices) = mpsc::unbounded_channel();
    converse(&args, &mut notices).await
}

/// Reads commands and carries them out, until the end. `notices` are shown as they come.
pub(in crate::cli) async fn converse(
    args: &ClientArgs,
    notices: &mut mpsc::UnboundedReceiver<String>,
) -> Result<Exit, Failure> {
    let cannot = |error| Failure::new(Exit::Failed, format!("cannot read commands: {error}"));
    let mut prompt = Prompt {
        args,
        folder: Folder::open(&args.files)?,
        lines: Lines::open().map_err(cannot)?,
        interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
        terminate: signal(SignalKind::terminate()).map_err(cannot)?,
        notices,
        worst: Exit::Done,
    };
    if prompt.lines.is_terminal() {
        prompt.folder.show();
        say("FTP sends some of them, picked at random; help lists the commands.");
    }
    prompt.run().await
}

struct Prompt<'a> {
    args: &'a ClientArgs,
    folder: Folder,
    lines: Lines,
    interrupt: Signal,
    terminate: Signal,
    notices: &'a mut mpsc::UnboundedReceiver<String>,
    /// The exit code of a script: the last failure of its commands.
    worst: Exit,
}

/// Whether the prompt goes on after a command.
enum Flow {
    Go,
    /// A signal ends it.
    Interrupted,
}

impl Prompt<'_> {
    async fn run(&mut self) -> Result<Exit, Failure> {
        loop {
            let command = match self.ask(PROMPT).await {
                Some(Line::Text(line)) => parse(&line),
                Some(Line::End) => return Ok(self.end()),
                Some(Line::Interrupted) | None => return Ok(Exit::Interrupted),
            };
            if command == Command::Exit {
                return Ok(self.end());
            }
            if let Flow::Interrupted = self.carry_out(command).await {
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

    async fn carry_out(&mut self, command: Command) -> Flow {
        match command {
            Command::Ftp(count) => return self.ftp(count).await,
            Command::Send(names) => return self.send(&names).await,
            Command::Drain(server) => return self.order(Change::Drained(true), server).await,
            Command::Undrain(server) => return self.order(Change::Drained(false), server).await,
            Command::Weight(server, weight) => match parse_weight(&weight) {
                Ok(weight) => return self.order(Change::Weight(weight), server).await,
                Err(failure) => self.fail(&failure),
            },
            Command::Status => self.status().await,
            Command::List => {
                if let Err(failure) = self.folder.refresh() {
                    self.fail(&failure);
                }
                self.folder.show();
            }
            Command::Help => say(HELP),
            Command::Unknown(line) => {
                let failure = Failure::new(Exit::Failed, format!("unknown command {line:?}"));
                self.fail(&failure.hint(NAMES));
            }
            Command::Nothing | Command::Exit => {}
        }
        Flow::Go
    }

    async fn ftp(&mut self, count: Option<String>) -> Flow {
        let count = match count {
            Some(count) => count,
            None => match self.ask(HOW_MANY).await {
                Some(Line::Text(text)) => text,
                // A script has forgotten its number. A person who does not want to answer gets the
                // prompt again.
                Some(Line::End) if !self.lines.is_terminal() => String::new(),
                Some(Line::Interrupted | Line::End) => return Flow::Go,
                None => return Flow::Interrupted,
            },
        };
        match parse_count(&count) {
            Ok(count) => {
                let picked = self.folder.pick(count);
                let title = |file: usize| picked.get(file).map(|source| source.title.clone());
                self.transfer(&picked, |file| title(file).unwrap_or_default())
                    .await
            }
            Err(error) => {
                self.fail(&Failure::new(Exit::Failed, error));
                Flow::Go
            }
        }
    }

    async fn send(&mut self, words: &[String]) -> Flow {
        let picked = match pick(&self.folder, words) {
            Ok(picked) => picked,
            Err(failure) => {
                self.fail(&failure);
                return Flow::Go;
            }
        };
        let Picked { found, names } = &picked;
        nothing(found, names);
        let name = |file: usize| names.get(file).cloned().unwrap_or_default();
        let flow = self.transfer(&found.sources, name).await;
        left_out(found, false);
        if found.missed().next().is_some() {
            self.worst = Exit::Failed;
        }
        flow
    }

    /// Sends files and waits for their delivery. Ctrl-C on a terminal ends only the waiting.
    async fn transfer(
        &mut self,
        sources: &[Source],
        names: impl Fn(usize) -> String + Copy,
    ) -> Flow {
        let way = match self.args.balancer.way() {
            Ok(way) => way,
            Err(failure) => {
                self.fail(&failure);
                return Flow::Go;
            }
        };
        let hush = self.lines.hush();
        let sending = Sending {
            way,
            options: Options {
                wait: Wait::Delivered,
                keys: Keys::default(),
                retry: self.args.retry.retry,
                changed: self.args.changed.changed,
                hashed: false,
            },
            timeout: self.args.timeout,
        };
        let mut terminated = false;
        let signals = async {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => terminated = true,
            }
        };
        let ended = sending.run(sources, false, None, signals).await;
        let status = client::status(&sending.way, STATUS).await.ok();
        let SendEnded {
            tally,
            elapsed,
            result,
        } = ended;
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
        self.sent(result, &tally, terminated)
    }

    /// Says how a transfer ended.
    fn sent(&mut self, result: Result<Exit, Failure>, tally: &Tally, terminated: bool) -> Flow {
        match result {
            Ok(Exit::Done) => {}
            Ok(exit) => self.worst = exit,
            Err(failure) if failure.exit == Exit::Interrupted => {
                if terminated || !self.lines.is_terminal() {
                    return Flow::Interrupted;
                }
                say(format_args!(
                    "no longer waiting; {} files are with the balancer, which goes on",
                    tally.with_the_balancer()
                ));
            }
            Err(failure) => self.fail(&failure),
        }
        Flow::Go
    }

    /// Carries out an operator's order, and says how the server is now.
    async fn order(&mut self, change: Change, server: String) -> Flow {
        let api = match operators(self.args) {
            Ok(api) => api,
            Err(failure) => {
                self.fail(&failure);
                return Flow::Go;
            }
        };
        let order = move || orders::carry_out(&api, change, &server);
        let done = tokio::select! {
            done = tokio::task::spawn_blocking(order) => done,
            _ = self.interrupt.recv() => return Flow::Interrupted,
            _ = self.terminate.recv() => return Flow::Interrupted,
        };
        match done {
            Ok(Ok(text)) => say(text),
            Ok(Err(failure)) => self.fail(&failure),
            Err(error) => self.fail(&Failure::new(Exit::Failed, error)),
        }
        Flow::Go
    }

    async fn status(&mut self) {
        let status = match self.args.balancer.way() {
            Ok(way) => client::status(&way, STATUS).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match status {
            Ok(report) => say(show::status(&report)),
            Err(failure) => self.fail(&failure),
        }
    }

    fn fail(&mut self, failure: &Failure) {
        complain(&failure.error, failure.hint.as_deref());
        self.worst = failure.exit;
    }

    /// Waits for a line, and shows notices meanwhile; `None` when a signal came instead.
    async fn ask(&mut self, prompt: &str) -> Option<Line> {
        self.lines.ask(prompt, prompt == PROMPT);
        loop {
            let notice = tokio::select! {
                line = self.lines.answer() => return Some(line),
                Some(notice) = self.notices.recv() => notice,
                _ = self.interrupt.recv() => return None,
                _ = self.terminate.recv() => return None,
            };
            self.lines.notice(&notice);
        }
    }
}
