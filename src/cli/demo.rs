//! `bilico demo`: a balancer, its servers and a prompt from one command.
//!
//! Each role is a process of its own, so that it can be killed from another terminal. They are in
//! process groups of their own, out of Ctrl-C's reach, and end when the pipe to their standard
//! input does: whatever happens to this process, none of them outlives it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::admin::{AdminAt, AdminListener};
use super::client::{ClientArgs, converse};
use super::send::{BalancerArg, ChangedArg, RetryArg};
use super::{ADMIN, BALANCER, Exit, Failure, LogArgs, address, bind, complain, note, say};
use crate::client::{self, Changed};
use crate::config::{ServerSpec, check_servers};
use crate::text::Printable;
use crate::transport::Tcp;
use crate::units::{Margin, parse_duration};

/// How long a role may take to start.
const START: Duration = Duration::from_secs(10);

/// How long the balancer may take to say what waits.
const STATUS: Duration = Duration::from_secs(1);

/// How long a role may take to end before it is killed: longer than its own grace.
const END: Duration = Duration::from_secs(15);

/// Start a balancer, three servers and a prompt: the first thing to try
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the balancer listens
    #[arg(long, value_name = "ADDR", default_value = BALANCER, value_parser = address)]
    listen: String,
    /// Where operators look in and give orders, over HTTP from this machine only; `none` for
    /// nowhere
    #[arg(long, value_name = "ADDR", default_value = ADMIN, env = "BILICO_ADMIN",
        value_parser = checked(str::parse::<AdminAt>))]
    admin: String,
    /// A server and its weight; repeat it for each server
    #[arg(
        long = "server",
        value_name = "ADDR=WEIGHT",
        default_values = ["127.0.0.1:5001=3", "127.0.0.1:5002=2", "127.0.0.1:5003=1"]
    )]
    servers: Vec<ServerSpec>,
    /// Where the servers' directories are made: `json_files_1`, `json_files_2`, …
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The folder that files are picked from
    #[arg(long, value_name = "DIR", default_value = "sample_files")]
    files: PathBuf,
    /// How long a server works on each letter A or a, holding the file in memory: try 20ms to see
    /// overload
    #[arg(long, value_name = "TIME", value_parser = checked(parse_duration))]
    work_delay: Option<String>,
    /// How much more memory makes a server overloaded
    #[arg(long, value_name = "SIZE|PERCENT%", value_parser = checked(str::parse::<Margin>))]
    overload_margin: Option<String>,
    /// How long to wait for a delivery at the most; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = super::balancer::positive, env = "BILICO_TIMEOUT")]
    timeout: Option<Duration>,
    #[command(flatten)]
    retry: RetryArg,
    #[command(flatten)]
    log: LogArgs,
}

/// A flag that is checked here and passed on as it is.
fn checked<T, E: std::fmt::Display>(
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |text| {
        parse(text)
            .map(|_| text.to_owned())
            .map_err(|error| error.to_string())
    }
}

/// A role in a process of its own.
struct Role {
    name: String,
    /// Where it listens.
    address: String,
    /// Where it listens for operators.
    admin: Option<String>,
    pid: u32,
    child: Child,
    restart: String,
}

/// What the flags must be together; the error names a key.
pub(super) fn check(matches: &ArgMatches) -> Result<(), (&'static str, String)> {
    let Ok(args) = DemoArgs::from_arg_matches(matches) else {
        return Ok(());
    };
    // Each gets a port of its own.
    let named = args
        .servers
        .into_iter()
        .filter(|server| !server.address.ends_with(":0"));
    check_servers(&named.collect::<Vec<_>>()).map_err(|error| ("servers", error.to_string()))
}

/// Starts everything, hands over to the prompt, and stops everything.
pub(super) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    check_ports(&args).await?;
    let (to_prompt, mut notices) = mpsc::unbounded_channel();
    let mut roles = Vec::new();
    let result = match start(&args, &mut roles, &to_prompt).await {
        Ok(balancer) => {
            banner(&args, &roles);
            let client = ClientArgs {
                balancer: BalancerArg { balancer },
                files: args.files.clone(),
                timeout: args.timeout,
                retry: args.retry,
                changed: ChangedArg {
                    changed: Changed::default(),
                },
                admin: roles.last().and_then(|balancer| balancer.admin.clone()),
            };
            let (ended, watched) = watch(roles, to_prompt);
            let result = converse(&client, &mut notices).await;
            drop(ended);
            roles = watched.await.unwrap_or_default();
            result
        }
        Err(failure) => {
            // Nobody is left to send notices but the roles, which are about to end.
            drop(to_prompt);
            Err(failure)
        }
    };
    let stopped = tokio::select! {
        stopped = stop(roles) => stopped,
        // Dropping a role kills it.
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "given up: what is not delivered stays in the journal")),
    };
    // What the roles had to say at their end; the channel closes with the last of them.
    while let Ok(Some(notice)) = timeout(START, notices.recv()).await {
        note(notice);
    }
    result.and_then(|exit| {
        if exit == Exit::Done {
            stopped
        } else {
            Ok(exit)
        }
    })
}

/// Checks that all ports are free, so that nothing is started for nothing. Those that are chosen
/// anew are.
async fn check_ports(args: &DemoArgs) -> Result<(), Failure> {
    let servers = args.servers.iter().map(|server| {
        (
            server.address.as_str(),
            "--server ADDR=WEIGHT for each server",
        )
    });
    let mut bound = Vec::new();
    for (address, flag) in servers.chain([(args.listen.as_str(), "--listen ADDR")]) {
        let listener = bind(address).await.map_err(|failure| Failure {
            hint: failure
                .hint
                .map(|hint| hint.replace("--listen for another address", flag)),
            ..failure
        })?;
        bound.push(listener);
    }
    let admin = args
        .admin
        .parse()
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    AdminListener::bind(&admin).await.map(drop)
}

/// Starts the servers, then the balancer, and waits until it can deliver. Gives the balancer's
/// address.
async fn start(
    args: &DemoArgs,
    roles: &mut Vec<Role>,
    notices: &mpsc::UnboundedSender<String>,
) -> Result<String, Failure> {
    let mut servers = Vec::new();
    for (place, server) in args.servers.iter().enumerate() {
        let dir = args.dir.join(format!("json_files_{}", place + 1));
        let mut flags = vec![
            "--listen".to_owned(),
            server.address.clone(),
            "--dir".to_owned(),
            show(&dir),
        ];
        for (flag, value) in [
            ("--work-delay", &args.work_delay),
            ("--overload-margin", &args.overload_margin),
        ] {
            flags.extend(
                value
                    .iter()
                    .flat_map(|value| [flag.to_owned(), value.clone()]),
            );
        }
        let role = launch("server", flags, &args.log, notices).await?;
        servers.push(format!("{}={}", role.address, server.weight));
        roles.push(role);
    }
    let mut flags = vec![
        "--listen".to_owned(),
        args.listen.clone(),
        "--admin".to_owned(),
        args.admin.clone(),
    ];
    flags.extend(["--journal".to_owned(), show(&args.dir.join("journal"))]);
    flags.extend(
        servers
            .iter()
            .flat_map(|server| ["--server".to_owned(), server.clone()]),
    );
    let role = launch("balancer", flags, &args.log, notices).await?;
    let address = role.address.clone();
    roles.push(role);
    wait_until_ready(&address).await?;
    Ok(address)
}

/// Starts a role and waits until it listens.
async fn launch(
    name: &str,
    flags: Vec<String>,
    log: &LogArgs,
    notices: &mpsc::UnboundedSender<String>,
) -> Result<Role, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("cannot start a {name}: {error}"))
    };
    let program = std::env::current_exe().map_err(|error| cannot(&error))?;
    let mut command = Command::new(program);
    // What the file says of a demo is in the flags, and what it says of roles is not meant for
    // these.
    command
        .arg(name)
        .args(&flags)
        .arg("--with-parent")
        .env_remove("BILICO_CONFIG");
    command.args(log.flags());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot(&error))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(cannot(&"its output cannot be read"));
    };
    let mut stderr = BufReader::new(stderr).lines();
    let mut stdout = BufReader::new(stdout).lines();
    let first = timeout(START, stdout.next_line())
        .await
        .map_err(|_| cannot(&format!("it does not answer in {START:?}")))?;
    let listening = first.ok().flatten();
    let Some(address) = listening
        .as_deref()
        .and_then(|line| line.strip_prefix("listening on "))
    else {
        return Err(died(name, &mut stderr).await);
    };
    let (pid, address) = (child.id().unwrap_or_default(), address.to_owned());
    let admin = if flags
        .windows(2)
        .any(|pair| matches!(pair, [flag, value] if flag == "--admin" && value != "none"))
    {
        let second = timeout(START, stdout.next_line())
            .await
            .ok()
            .and_then(Result::ok)
            .flatten();
        second.and_then(|line| line.strip_prefix("admin on ").map(str::to_owned))
    } else {
        None
    };
    let restart = restart(&command, &address, admin.as_deref());
    forward(format!("{name} {address}"), stderr, notices.clone());
    Ok(Role {
        name: name.to_owned(),
        address,
        admin,
        pid,
        child,
        restart,
    })
}

/// The command line that starts the role again, on the ports that it had, for a person to copy.
fn restart(command: &Command, address: &str, admin: Option<&str>) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy());
    let mut words: Vec<_> = words.filter(|word| word != "--with-parent").collect();
    for (flag, had) in [("--listen", Some(address)), ("--admin", admin)] {
        if let (Some(had), Some(place)) = (had, words.iter().position(|word| word == flag))
            && let Some(value) = words.get_mut(place + 1)
        {
            *value = had.into();
        }
    }
    shlex::try_join(words.iter().map(|word| &**word)).unwrap_or_default()
}

/// The failure of a role that ended instead of starting, in its own words.
async fn died(name: &str, stderr: &mut Lines<BufReader<ChildStderr>>) -> Failure {
    let (mut error, mut hint) = (format!("the {name} ended at once"), None);
    while let Ok(Ok(Some(line))) = timeout(START, stderr.next_line()).await {
        if let Some(text) = line.strip_prefix("error: ") {
            text.clone_into(&mut error);
        } else if let Some(text) = line.strip_prefix("hint: ") {
            let other = if name == "server" {
                "--server ADDR=WEIGHT for each server"
            } else {
                "--listen ADDR"
            };
            hint = Some(text.replace("--listen for another address", other));
        }
    }
    let failure = Failure::new(Exit::Failed, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Passes what a role writes to its standard error on to the prompt.
fn forward(
    name: String,
    mut lines: Lines<BufReader<ChildStderr>>,
    notices: mpsc::UnboundedSender<String>,
) {
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if notices
                .send(format!("[{name}] {}", Printable(line)))
                .is_err()
            {
                return;
            }
        }
    });
}

/// Waits until the balancer has found all its servers, so that the first files already go by
/// weight.
async fn wait_until_ready(address: &str) -> Result<(), Failure> {
    let ends = Instant::now() + START;
    loop {
        let status = client::status(&Tcp, address, START).await?;
        let waiting = status
            .servers
            .iter()
            .find(|server| !server.eligible && server.weight > 0);
        match waiting {
            None => return Ok(()),
            Some(server) if Instant::now() > ends => {
                let reason = server.reason.clone().unwrap_or_default();
                return Err(Failure::new(
                    Exit::Failed,
                    format!("server {} does not come up: {reason}", server.name),
                ));
            }
            Some(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn banner(args: &DemoArgs, roles: &[Role]) {
    let logs = args.log.log_dir.display();
    for (role, server) in roles.iter().zip(&args.servers) {
        let port = role.address.rsplit_once(':').map_or("", |(_, port)| port);
        let place = roles
            .iter()
            .position(|other| other.pid == role.pid)
            .unwrap_or_default()
            + 1;
        let dir = args.dir.join(format!("json_files_{place}"));
        say(format_args!(
            "server    {:<15}  weight {}  pid {:<7}  files in {}  log {logs}/server-{port}.log",
            role.address,
            server.weight,
            role.pid,
            show(&dir)
        ));
    }
    if let Some(balancer) = roles.last() {
        say(format_args!(
            "balancer  {:<15}            pid {:<7}  log {logs}/balancer.log",
            balancer.address, balancer.pid
        ));
        if let Some(admin) = &balancer.admin {
            say(format_args!("page      http://{admin}/"));
        }
    }
    let victim = roles.first().map_or(0, |role| role.pid);
    say(format_args!(
        "Each is a process of its own: try `kill -9 {victim}` from another terminal, and send on."
    ));
    say("");
}

/// Watches the roles while the prompt runs, and says when one ends. Gives them back once the sender
/// is dropped.
fn watch(
    mut roles: Vec<Role>,
    notices: mpsc::UnboundedSender<String>,
) -> (
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<Vec<Role>>,
) {
    let (ended, mut end) = tokio::sync::oneshot::channel();
    let watching = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut end => return roles,
                () = sleep(Duration::from_millis(100)) => {}
            }
            roles.retain_mut(|role| match role.child.try_wait() {
                Ok(Some(status)) => {
                    let Role {
                        name,
                        address,
                        pid,
                        restart,
                        ..
                    } = role;
                    let how = how_it_ended(status);
                    let _ = notices.send(format!(
                        "{name} {address} (pid {pid}) {how}; start it again with:\n  {restart}"
                    ));
                    false
                }
                _ => true,
            });
        }
    });
    (ended, watching)
}

fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (_, Some(code)) => format!("ended with exit code {code}"),
        _ => "ended".to_owned(),
    }
}

/// Stops the balancer first, so that it can deliver what it has, then the servers.
async fn stop(mut roles: Vec<Role>) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    roles.sort_by_key(|role| role.name != "balancer");
    if let Some(balancer) = roles.first().filter(|role| role.name == "balancer")
        && let Ok(Ok(status)) =
            timeout(STATUS, client::status(&Tcp, &balancer.address, STATUS)).await
        && status.queue.files() > 0
    {
        let files = status.queue.files();
        note(format_args!(
            "stopping: {files} files still wait, and are tried for some seconds more; Ctrl-C leaves them for the next start"
        ));
    }
    for mut role in roles {
        // The end of its standard input tells it to stop.
        drop(role.child.stdin.take());
        match timeout(END, role.child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(status) => {
                let how = status.map_or_else(|error| error.to_string(), how_it_ended);
                complain(
                    &format!("the {} on {} {how}", role.name, role.address),
                    None,
                );
                exit = Exit::Failed;
            }
            Err(_) => {
                complain(
                    &format!(
                        "the {} on {} does not stop: killed",
                        role.name, role.address
                    ),
                    None,
                );
                let _ = role.child.kill().await;
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn show(path: &Path) -> String {
    let shown = path.display().to_string();
    shown.strip_prefix("./").unwrap_or(&shown).to_owned()
}
