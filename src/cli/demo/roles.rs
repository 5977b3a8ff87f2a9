//! Roles as child processes: started, watched, stopped.
//!
//! Each role is in a process group of its own, out of Ctrl-C's reach, and ends when the pipe to its
//! standard input closes. So no role outlives this process, however this process ends.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cli::client::Notice;
use crate::cli::output::{Exit, Failure, complain, note};
use crate::client::{self, Way};
use crate::text::Printable;

/// How long a role may take to start.
pub(super) const START: Duration = Duration::from_secs(10);

/// How long the balancer may take to answer how many files wait.
const STATUS: Duration = Duration::from_secs(1);

/// How long a role may take to end before it is killed: longer than its own grace.
const END: Duration = Duration::from_secs(15);

/// Time between two looks at whether a role has ended.
const LOOK: Duration = Duration::from_millis(100);

/// The name of the role that the prompt talks to.
pub(super) const BALANCER: &str = "balancer";

/// A role in a process of its own. Dropping it kills the process.
pub(super) struct Role {
    name: &'static str,
    pub(super) address: String,
    /// Its address for operators, if it has one.
    pub(super) admin: Option<String>,
    pub(super) pid: u32,
    child: Child,
    /// The command line that starts it again on the same ports, for people to copy.
    restart: String,
}

/// The command line of a role that is to be started.
pub(super) struct Launch {
    name: &'static str,
    /// Flags and their values, as a person would write them.
    flags: Vec<String>,
    /// Flags that mean something only under this parent.
    hidden: Vec<String>,
}

type Output<T> = Lines<BufReader<T>>;

impl Launch {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            flags: Vec::new(),
            hidden: vec!["--with-parent".to_owned()],
        }
    }

    pub(super) fn flag(&mut self, flag: &str, value: &str) {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
    }

    pub(super) fn flags(&mut self, flags: Vec<String>) {
        self.flags.extend(flags);
    }

    pub(super) fn hidden(&mut self, flag: &str, value: &str) {
        self.hidden.extend([flag.to_owned(), value.to_owned()]);
    }

    /// Starts the role and waits until it listens. Its standard error goes to `notices`.
    pub(super) async fn start(
        self,
        notices: &mpsc::UnboundedSender<Notice>,
    ) -> Result<Role, Failure> {
        let program = std::env::current_exe().map_err(|error| self.cannot(&error))?;
        let mut child = self.spawn(&program).map_err(|error| self.cannot(&error))?;
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = child.stderr.take().map(BufReader::new);
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(self.cannot(&"cannot read its output"));
        };
        let mut stdout = stdout.lines();
        let mut stderr = stderr.lines();
        let Some(address) = self.listening(&mut stdout).await? else {
            return Err(died(self.name, &mut stderr).await);
        };
        let admin = if self.has_admin() {
            line_after(&mut stdout, "admin on ").await.ok().flatten()
        } else {
            None
        };
        let restart = self.restart(&program, &address, admin.as_deref());
        let pid = child.id().unwrap_or_default();
        forward(format!("{} {address}", self.name), stderr, notices.clone());
        Ok(Role {
            name: self.name,
            address,
            admin,
            pid,
            child,
            restart,
        })
    }

    fn spawn(&self, program: &PathBuf) -> std::io::Result<Child> {
        // The configuration file is for the demo, whose settings are in the flags.
        Command::new(program)
            .arg(self.name)
            .args(&self.flags)
            .args(&self.hidden)
            .env_remove("BILICO_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// The role's address; `None` if it ended or wrote something else.
    async fn listening(&self, stdout: &mut Output<ChildStdout>) -> Result<Option<String>, Failure> {
        line_after(stdout, "listening on ")
            .await
            .map_err(|_| self.cannot(&format!("it did not start within {START:?}")))
    }

    fn has_admin(&self) -> bool {
        self.flags
            .windows(2)
            .any(|pair| matches!(pair, [flag, value] if flag == "--admin" && value != "none"))
    }

    /// The command line for people to copy, with the ports that the role was given.
    fn restart(&self, program: &std::path::Path, address: &str, admin: Option<&str>) -> String {
        let mut flags = self.flags.clone();
        for (flag, used) in [("--listen", Some(address)), ("--admin", admin)] {
            if let (Some(used), Some(place)) = (used, flags.iter().position(|word| word == flag))
                && let Some(value) = flags.get_mut(place + 1)
            {
                used.clone_into(value);
            }
        }
        let program = program.to_string_lossy();
        let words = [&*program, self.name]
            .into_iter()
            .chain(flags.iter().map(String::as_str));
        shlex::try_join(words).unwrap_or_default()
    }

    fn cannot(&self, error: &dyn std::fmt::Display) -> Failure {
        let name = self.name;
        Failure::new(Exit::Failed, format!("cannot start a {name}: {error}"))
    }
}

/// The rest of the next line if it begins with `start`. The error means that the time limit passed.
async fn line_after(
    stdout: &mut Output<ChildStdout>,
    start: &str,
) -> Result<Option<String>, tokio::time::error::Elapsed> {
    let line = timeout(START, stdout.next_line()).await?;
    let line = line.ok().flatten();
    Ok(line.and_then(|line| line.strip_prefix(start).map(str::to_owned)))
}

/// The failure of a role that ended instead of starting, in the role's own words.
async fn died(name: &str, stderr: &mut Output<ChildStderr>) -> Failure {
    let mut failure = Failure::new(Exit::Failed, format!("the {name} ended at once"));
    while let Ok(Ok(Some(line))) = timeout(START, stderr.next_line()).await {
        if let Some(text) = line.strip_prefix("error: ") {
            text.clone_into(&mut failure.error);
        } else if let Some(text) = line.strip_prefix("hint: ") {
            failure.hint = Some(text.to_owned());
        }
    }
    failure
}

/// Passes a role's standard error on to the prompt.
fn forward(name: String, mut lines: Output<ChildStderr>, notices: mpsc::UnboundedSender<Notice>) {
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let notice = Notice {
                text: format!("[{name}] {}", Printable(line)),
                restart: None,
            };
            if notices.send(notice).is_err() {
                return;
            }
        }
    });
}

/// A task that watches the roles while the prompt runs.
pub(super) struct Watch {
    /// Dropping it ends the task.
    running: oneshot::Sender<()>,
    task: JoinHandle<Vec<Role>>,
}

impl Watch {
    /// Ends the task and returns the roles that still run.
    pub(super) async fn end(self) -> Vec<Role> {
        drop(self.running);
        self.task.await.unwrap_or_default()
    }
}

/// Watches the roles and sends a notice when one ends.
pub(super) fn watch(mut roles: Vec<Role>, notices: mpsc::UnboundedSender<Notice>) -> Watch {
    let (running, mut end) = oneshot::channel();
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut end => return roles,
                () = sleep(LOOK) => {}
            }
            roles.retain_mut(|role| match role.child.try_wait() {
                Ok(Some(status)) => {
                    let _ = notices.send(role.has_ended(status));
                    false
                }
                _ => true,
            });
        }
    });
    Watch { running, task }
}

impl Role {
    pub(super) fn is_balancer(&self) -> bool {
        self.name == BALANCER
    }

    fn has_ended(&self, status: ExitStatus) -> Notice {
        let Self {
            name,
            address,
            pid,
            restart,
            ..
        } = self;
        let how = how_it_ended(status);
        Notice {
            text: format!("{name} {address} (pid {pid}) {how}; start it again with:\n  {restart}"),
            restart: self.is_balancer().then(|| restart.clone()),
        }
    }

    /// Stops the role and reports how it ended if that was not as it should.
    async fn stop(mut self) -> Exit {
        // The end of its standard input tells it to stop.
        drop(self.child.stdin.take());
        let how = match timeout(END, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => return Exit::Done,
            Ok(status) => status.map_or_else(|error| error.to_string(), how_it_ended),
            Err(_) => {
                let _ = self.child.kill().await;
                format!("did not stop within {END:?} and was killed")
            }
        };
        complain(
            &format!("the {} on {} {how}", self.name, self.address),
            None,
        );
        Exit::Failed
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (_, Some(code)) => format!("ended with exit code {code}"),
        _ => "ended".to_owned(),
    }
}

/// Stops the balancer first, so that it can still deliver, then the servers. `way` leads to it.
pub(super) async fn stop(
    mut roles: Vec<Role>,
    way: impl FnOnce(String) -> Result<Way, Failure>,
) -> Result<Exit, Failure> {
    roles.sort_by_key(|role| !role.is_balancer());
    if let Some(balancer) = roles.first().filter(|role| role.is_balancer()) {
        tell_what_waits(&way(balancer.address.clone())?).await;
    }
    let mut exit = Exit::Done;
    for role in roles {
        if role.stop().await != Exit::Done {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

async fn tell_what_waits(balancer: &Way) {
    let status = timeout(STATUS, client::status(balancer, STATUS)).await;
    let Ok(Ok(status)) = status else {
        return;
    };
    let files = status.queue.files();
    if files > 0 {
        note(format_args!(
            "stopping: {files} files still wait; the balancer goes on delivering for some seconds. \
             Ctrl-C stops it now and leaves them for the next start"
        ));
    }
}
