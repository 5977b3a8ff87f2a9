//! The prompt: reads commands and carries them out.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::about::{about, help};
use super::args::ClientArgs;
use super::command::{Command, parse, parse_count};
use super::complete::Completer;
use super::folder::Folder;
use super::mistake::Elsewhere;
use super::notice::Notice;
use super::orders::{self, Change, operators, parse_weight};
use super::pick::{Picked, pick};
use super::presses::{Press, Presses};
use crate::cli::output::{Exit, Failure, complain, note, say, say_as_is, warn};
use crate::cli::progress::above_the_line;
use crate::cli::prompt::{Line, Lines};
use crate::cli::send::{Place, SendEnded, Sending, left_out, nothing};
use crate::cli::show;
use crate::client::{self, Keys, Options, Source, Wait};
use crate::numbers::plural;

const PROMPT: &str = "bilico> ";
const HOW_MANY: &str = "How many files? ";

/// How long a balancer may take to answer a status request.
const STATUS: Duration = Duration::from_secs(5);

/// How long a balancer may take to name its servers for Tab.
const NAMES: Duration = Duration::from_millis(500);

/// Clears the screen, and what a terminal has kept above it.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Runs the prompt on its own.
pub(in crate::cli) async fn run(args: ClientArgs, elsewhere: Elsewhere) -> Result<Exit, Failure> {
    let (_no_notices, mut notices) = mpsc::unbounded_channel();
    let folder = Folder::open(args.files.as_deref())?;
    converse(&args, folder, &elsewhere, &mut notices).await
}

/// Reads commands and carries them out, until the end. `notices` are shown as they come.
pub(in crate::cli) async fn converse(
    args: &ClientArgs,
    folder: Folder,
    elsewhere: &Elsewhere,
    notices: &mut mpsc::UnboundedReceiver<Notice>,
) -> Result<Exit, Failure> {
    let cannot = |error| Failure::new(Exit::Failed, format!("cannot read commands: {error}"));
    let completer = Completer {
        names: folder.shared_names(),
        servers: servers(args),
    };
    let mut prompt = Prompt {
        args,
        folder,
        elsewhere,
        lines: Lines::open(Box::new(completer), args.history.open()).map_err(cannot)?,
        interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
        terminate: signal(SignalKind::terminate()).map_err(cannot)?,
        notices,
        presses: Presses::default(),
        restart: None,
        worst: Exit::Done,
    };
    if prompt.lines.is_terminal() {
        prompt.folder.show();
        say(
            "FTP sends some of them, picked at random; help lists the commands, and Tab completes them.",
        );
    }
    prompt.run().await
}

/// Asks the balancer for the names of its servers.
fn servers(args: &ClientArgs) -> Box<dyn Fn() -> Vec<String> + Send> {
    let (balancer, runtime) = (args.balancer.clone(), Handle::current());
    Box::new(move || {
        let Ok(way) = balancer.way() else {
            return Vec::new();
        };
        let status = runtime.block_on(client::status(&way, NAMES));
        let servers = status.map(|status| status.servers).unwrap_or_default();
        servers.into_iter().map(|server| server.name).collect()
    })
}

struct Prompt<'a> {
    args: &'a ClientArgs,
    folder: Folder,
    elsewhere: &'a Elsewhere,
    lines: Lines,
    interrupt: Signal,
    terminate: Signal,
    notices: &'a mut mpsc::UnboundedReceiver<Notice>,
    presses: Presses,
    /// The command that starts the balancer again, once it has ended.
    restart: Option<String>,
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
                Some(Line::Text(line)) => {
                    let command = parse(&line, self.elsewhere);
                    self.lines
                        .recall(&line, !matches!(command, Command::Wrong(_)));
                    command
                }
                Some(Line::End) => return Ok(self.end()),
                Some(Line::Interrupted { is_empty }) => {
                    match self.press(is_empty) {
                        Press::Leaves => return Ok(Exit::Interrupted),
                        press => self.explain(press),
                    }
                    continue;
                }
                None => return Ok(Exit::Interrupted),
            };
            if command == Command::Exit {
                return Ok(self.end());
            }
            if let Flow::Interrupted = self.carry_out(command).await {
                return Ok(Exit::Interrupted);
            }
        }
    }

    fn press(&mut self, is_empty: bool) -> Press {
        self.presses.press(is_empty, Instant::now())
    }

    /// Says what Ctrl-C has done.
    fn explain(&mut self, press: Press) {
        let text = match press {
            Press::Cleared | Press::Leaves => return,
            Press::Late => "the transfer has ended already; `exit` or Ctrl-D leaves",
            Press::Explained => "`exit`, Ctrl-D, or Ctrl-C again within 2 s leaves",
        };
        self.lines.notice(text);
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
            Command::Status => return self.status().await,
            Command::List => {
                if let Err(failure) = self.folder.refresh() {
                    self.fail(&failure);
                }
                self.folder.show();
            }
            Command::Help(name) => say(help(name.and_then(about))),
            Command::Clear if self.lines.is_terminal() => say_as_is(CLEAR),
            Command::Wrong(wrong) => {
                let failure = Failure::new(Exit::Failed, wrong.error);
                self.fail(&failure.hint(wrong.hint));
            }
            Command::Clear | Command::Nothing | Command::Exit => {}
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
                Some(Line::Interrupted { .. } | Line::End) => return Flow::Go,
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
        let Picked {
            found,
            names,
            directories,
        } = &picked;
        if *directories > 0 {
            let left_out = plural(*directories, "directory", "directories");
            note(format_args!(
                "{left_out} left out: `send -r` sends the files in them, too"
            ));
        }
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
            place: Place::Prompt,
        };
        let mut terminated = false;
        let signals = async {
            loop {
                let notice = tokio::select! {
                    _ = self.interrupt.recv() => return,
                    _ = self.terminate.recv() => {
                        terminated = true;
                        return;
                    }
                    Some(notice) = self.notices.recv() => notice,
                };
                above_the_line(&notice.text);
                self.restart = notice.restart.or(self.restart.take());
            }
        };
        let ended = sending.run(sources, false, None, signals).await;
        self.presses.transferred(Instant::now());
        let status = client::status(&sending.way, STATUS).await.ok();
        let tally = &ended.tally;
        if ended.has_sums() {
            say(show::summary(tally, ended.elapsed, status.as_ref(), names));
        }
        drop(hush);
        self.presses.transferred(Instant::now());
        for warning in show::warnings(tally, names) {
            warn(&warning);
        }
        for failure in show::failures(tally, names) {
            complain(&failure, None);
        }
        let has_balancer = status.is_some();
        self.sent(ended, terminated, has_balancer)
    }

    /// Says how a transfer ended, and whether the balancer was there after that.
    fn sent(&mut self, ended: SendEnded, terminated: bool, has_balancer: bool) -> Flow {
        match ended.result {
            Ok(Exit::Done) => {}
            Ok(exit) => self.worst = exit,
            Err(failure) if failure.exit == Exit::Interrupted => {
                if terminated || !self.lines.is_terminal() {
                    return Flow::Interrupted;
                }
                let delivery = if has_balancer {
                    "which goes on"
                } else {
                    "which goes on with what is in its journal once it runs again"
                };
                let text = ended.unfinished.text(delivery, "");
                say(format_args!("no longer waiting; {text}"));
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
        let done = tokio::task::spawn_blocking(order);
        match self.or_interrupted(done).await {
            Ok(Ok(Ok(text))) => say(text),
            Ok(Ok(Err(failure))) => self.fail(&failure),
            Ok(Err(error)) => self.fail(&Failure::new(Exit::Failed, error)),
            Err(flow) => return flow,
        }
        Flow::Go
    }

    async fn status(&mut self) -> Flow {
        let way = match self.args.balancer.way() {
            Ok(way) => way,
            Err(failure) => {
                self.fail(&failure);
                return Flow::Go;
            }
        };
        match self.or_interrupted(client::status(&way, STATUS)).await {
            Ok(Ok(report)) => say(show::status(&report)),
            Ok(Err(error)) => self.fail(&error.into()),
            Err(flow) => return flow,
        }
        Flow::Go
    }

    /// Waits for an answer. Ctrl-C on a terminal ends only the waiting.
    async fn or_interrupted<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Flow> {
        tokio::select! {
            answer = answer => Ok(answer),
            _ = self.interrupt.recv() => {
                if !self.lines.is_terminal() {
                    return Err(Flow::Interrupted);
                }
                say("no longer waiting for the balancer's answer");
                Err(Flow::Go)
            }
            _ = self.terminate.recv() => Err(Flow::Interrupted),
        }
    }

    /// Reports a failure, with the remedy that fits here.
    fn fail(&mut self, failure: &Failure) {
        let again = self
            .restart
            .as_deref()
            .filter(|_| failure.exit == Exit::Unreachable);
        let hint = match again {
            Some(restart) => Some(format!("start it again with:\n{restart}")),
            None => failure.hint.clone(),
        };
        complain(&failure.error, hint.as_deref());
        self.worst = failure.exit;
    }

    /// Waits for a line, and shows notices meanwhile; `None` when a signal ends the prompt instead.
    async fn ask(&mut self, prompt: &str) -> Option<Line> {
        self.lines.ask(prompt);
        loop {
            let notice = tokio::select! {
                line = self.lines.answer() => return Some(line),
                Some(notice) = self.notices.recv() => notice,
                _ = self.interrupt.recv() => {
                    if !self.lines.is_terminal() {
                        return None;
                    }
                    // It came before the editor took the terminal over.
                    match self.press(true) {
                        Press::Leaves => return None,
                        press => self.explain(press),
                    }
                    continue;
                }
                _ = self.terminate.recv() => return None,
            };
            self.lines.notice(&notice.text);
            self.restart = notice.restart.or(self.restart.take());
        }
    }
}
