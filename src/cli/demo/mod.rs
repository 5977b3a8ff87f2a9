//! `bilico demo`: a balancer, its servers and a prompt from one command.
//!
//! Each role is a process of its own, so that it can be killed from another terminal.

mod banner;
mod made;
mod paths;
mod roles;
mod secure;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::admin::{AdminAt, AdminListeners};
use super::client::{ClientArgs, Elsewhere, Folder, HistoryArg, Notice, converse};
use super::output::{Exit, Failure, note};
use super::role::{LogArgs, bind};
use super::secrets::TokenArg;
use super::send::{BalancerArg, ChangedArg, RetryArg};
use super::settings::values::{ADMIN, BALANCER, address, positive};
use super::tls::CaArg;
use crate::client::{self, Changed, Way};
use crate::config::{ServerSpec, check_servers};
use crate::logging::Destination;
use crate::units::{Margin, parse_duration};
use banner::Banner;
use made::Made;
use paths::show;
use roles::{Launch, Role, START};
use secure::{Secured, server_name};

/// The flags of a demo that stand for the `--listen` of its roles, as hints name them.
const LISTEN: &str = "--listen ADDR";
const SERVER: &str = "--server ADDR=WEIGHT for each server";

/// Start a balancer, three servers and a prompt: the first thing to try
#[derive(Debug, Args)]
#[command(after_help = "\
It writes to the directory that you are in: files to json_files_1, json_files_2, …, the queue to
journal (all below --dir), and logs to logs (--log-dir). The next demo in the same place goes on with
them; to start over, remove them. A demo that cannot start leaves nothing.")]
pub(super) struct DemoArgs {
    /// Address that the balancer listens on
    #[arg(long, value_name = "ADDR", default_value = BALANCER, value_parser = address)]
    pub(super) listen: String,
    /// Address of the page, API and metrics for operators: HTTP, from this machine only; `none` for
    /// no such listener
    #[arg(long, value_name = "ADDR", default_value = ADMIN, env = "BILICO_ADMIN",
        value_parser = checked(str::parse::<AdminAt>))]
    admin: String,
    /// A server and its weight; repeat the flag for each server
    #[arg(
        long = "server",
        value_name = "ADDR=WEIGHT",
        default_values = ["127.0.0.1:5001=3", "127.0.0.1:5002=2", "127.0.0.1:5003=1"]
    )]
    servers: Vec<ServerSpec>,
    /// Directory for the journal and the servers' directories `json_files_1`, `json_files_2`, …
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Directory that files are picked from; without it, these are sample files that are in the
    /// program
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Time that a server works on each letter A or a, with the file in memory: try 20ms to see
    /// overload
    #[arg(long, value_name = "TIME", value_parser = checked(parse_duration))]
    work_delay: Option<String>,
    /// A server is overloaded once its memory has grown by this much
    #[arg(long, value_name = "SIZE|PERCENT%", value_parser = checked(str::parse::<Margin>))]
    overload_margin: Option<String>,
    /// Longest time to wait for deliveries; without it, there is no limit
    #[arg(long, value_name = "TIME", value_parser = positive, env = "BILICO_TIMEOUT")]
    timeout: Option<Duration>,
    /// With TLS everywhere, a user and a token; what that takes is made in DIR/secure
    #[arg(long)]
    secure: bool,
    #[command(flatten)]
    retry: RetryArg,
    #[command(flatten)]
    history: HistoryArg,
    #[command(flatten)]
    log: LogArgs,
}

/// A flag that is checked here and passed on to a role as its text.
fn checked<T, E: std::fmt::Display>(
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |text| {
        parse(text)
            .map(|_| text.to_owned())
            .map_err(|error| error.to_string())
    }
}

/// Checks the values against each other; the error names a key.
pub(super) fn check(matches: &ArgMatches) -> Result<(), (&'static str, String)> {
    let Ok(args) = DemoArgs::from_arg_matches(matches) else {
        return Ok(());
    };
    // Each address with port 0 gets a port of its own.
    let named = args
        .servers
        .into_iter()
        .filter(|server| !server.address.ends_with(":0"));
    check_servers(&named.collect::<Vec<_>>()).map_err(|error| ("servers", error.to_string()))
}

/// Starts everything, hands over to the prompt, and stops everything.
pub(super) async fn run(args: DemoArgs, elsewhere: Elsewhere) -> Result<Exit, Failure> {
    args.log.wants_terminal()?;
    let folder = Folder::open(args.files.as_deref())?;
    let mut signals = Signals::new()?;
    check_ports(&args).await?;
    let made = Made::before_start(args.dirs());
    let secured = if args.secure {
        match Secured::make(&args.dir, args.servers.len()) {
            Ok(secured) => Some(secured),
            Err(failure) => {
                made.undo();
                return Err(failure);
            }
        }
    } else {
        None
    };
    let (to_prompt, mut notices) = mpsc::unbounded_channel();
    let mut roles = Vec::new();
    let mut undone = None;
    let started = tokio::select! {
        started = start(&args, secured.as_ref(), &mut roles, &to_prompt) => started,
        interrupted = signals.interrupted() => Err(interrupted),
    };
    let result = match started {
        Ok(balancer) => {
            let banner = Banner::new(&args.dir, &args.log.log_dir, &args.servers, &roles);
            let over = made.removal();
            match &secured {
                Some(secured) => banner.print("https", &over, |balancer| {
                    secured.print(&balancer.address, balancer.admin.as_deref());
                }),
                None => banner.print("http", &over, |_| {}),
            }
            let client = client_args(&args, balancer, &roles);
            let watch = roles::watch(roles, to_prompt);
            let result = tokio::select! {
                biased;
                // It came before the prompt listens itself.
                _ = signals.terminate.recv() => Ok(Exit::Interrupted),
                () = std::future::ready(()) => {
                    converse(&client, folder, &elsewhere, &mut notices).await
                }
            };
            roles = watch.end().await;
            result
        }
        Err(failure) => {
            // Only the roles, which are about to end, send notices from here on.
            drop(to_prompt);
            // Once the balancer listens, somebody may have handed a file over.
            undone = (!roles.iter().any(Role::is_balancer)).then_some(made);
            Err(failure)
        }
    };
    let way = |address| balancer_arg(secured.as_ref(), address).way();
    let stopped = tokio::select! {
        stopped = roles::stop(roles, way) => stopped,
        // Dropping a role kills it.
        _ = tokio::signal::ctrl_c() => Err(Failure::new(
            Exit::Interrupted,
            "interrupted: files that are not delivered stay in the journal",
        )),
    };
    // The last notices of the roles; the channel closes with the last role.
    while let Ok(Some(notice)) = timeout(START, notices.recv()).await {
        note(notice.text);
    }
    if let Some(made) = undone {
        made.undo();
    }
    match result? {
        Exit::Done => stopped,
        exit => Ok(exit),
    }
}

impl DemoArgs {
    /// The directories that the demo writes to.
    fn dirs(&self) -> Vec<PathBuf> {
        let servers = (1..=self.servers.len()).map(|place| format!("json_files_{place}"));
        let mut dirs: Vec<_> = servers.map(|name| self.dir.join(name)).collect();
        dirs.push(self.dir.join("journal"));
        if self.secure {
            dirs.push(self.dir.join("secure"));
        }
        if let Destination::Directory(logs) = Destination::from(self.log.log_dir.as_path()) {
            dirs.push(logs);
        }
        dirs
    }
}

/// The signals that end a start. From its creation on they end nothing else.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let cannot = |error| Failure::new(Exit::Failed, error);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
        })
    }

    /// Completes when a signal comes.
    async fn interrupted(&mut self) -> Failure {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Failure::new(
            Exit::Interrupted,
            "interrupted before everything was started",
        )
    }
}

/// How the demo gets to its balancer.
fn balancer_arg(secured: Option<&Secured>, balancer: String) -> BalancerArg {
    match secured {
        Some(secured) => secured.way(balancer),
        None => BalancerArg {
            balancer,
            token: TokenArg::default(),
            ca: CaArg::default(),
        },
    }
}

fn client_args(args: &DemoArgs, balancer: BalancerArg, roles: &[Role]) -> ClientArgs {
    ClientArgs {
        balancer,
        files: args.files.clone(),
        timeout: args.timeout,
        retry: args.retry,
        changed: ChangedArg {
            changed: Changed::default(),
        },
        admin: roles.last().and_then(|balancer| balancer.admin.clone()),
        history: args.history.clone(),
    }
}

/// Checks that all ports are free before any process is started.
async fn check_ports(args: &DemoArgs) -> Result<(), Failure> {
    let servers = args
        .servers
        .iter()
        .map(|server| (server.address.as_str(), SERVER));
    // All listeners live until the last is bound, so that two equal ports are found, too.
    let mut bound = Vec::new();
    for (address, flag) in servers.chain([(args.listen.as_str(), LISTEN)]) {
        bound.push(bind(address, flag).await?);
    }
    let admin = args
        .admin
        .parse()
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    AdminListeners::bind(&admin, &AdminAt::NONE, false)
        .await
        .map(drop)
}

/// Starts the servers, then the balancer, and waits until it can deliver. Returns the way to it.
async fn start(
    args: &DemoArgs,
    secured: Option<&Secured>,
    roles: &mut Vec<Role>,
    notices: &mpsc::UnboundedSender<Notice>,
) -> Result<BalancerArg, Failure> {
    let mut servers = Vec::new();
    for (place, server) in args.servers.iter().enumerate() {
        let mut launch = server_launch(args, place, server);
        let mut name = String::new();
        if let Some(secured) = secured {
            secured.server(&mut launch, place);
            name = format!("{}@", server_name(place + 1));
        }
        let role = launch.start(notices).await?;
        servers.push(format!("{name}{}={}", role.address, server.weight));
        roles.push(role);
    }
    let mut launch = balancer_launch(args, &servers);
    if let Some(secured) = secured {
        secured.balancer(&mut launch);
    }
    let role = launch.start(notices).await?;
    let balancer = balancer_arg(secured, role.address.clone());
    roles.push(role);
    wait_until_ready(&balancer.way()?).await?;
    Ok(balancer)
}

fn server_launch(args: &DemoArgs, place: usize, server: &ServerSpec) -> Launch {
    let dir = args.dir.join(format!("json_files_{}", place + 1));
    let mut launch = Launch::new("server");
    launch.flag("--listen", &server.address);
    launch.flag("--dir", &show(&dir));
    if let Some(delay) = &args.work_delay {
        launch.flag("--work-delay", delay);
    }
    if let Some(margin) = &args.overload_margin {
        launch.flag("--overload-margin", margin);
    }
    launch.flags(args.log.flags());
    launch.hidden("--listen-flag", SERVER);
    launch
}

fn balancer_launch(args: &DemoArgs, servers: &[String]) -> Launch {
    let mut launch = Launch::new(roles::BALANCER);
    launch.flag("--join", "loopback");
    launch.flag("--listen", &args.listen);
    launch.flag("--admin", &args.admin);
    launch.flag("--journal", &show(&args.dir.join("journal")));
    for server in servers {
        launch.flag("--server", server);
    }
    launch.flags(args.log.flags());
    launch.hidden("--listen-flag", LISTEN);
    launch.hidden("--journal-flag", "--dir DIR");
    launch
}

/// Waits until the balancer has found all its servers, so that the first files, too, are shared out
/// by weight.
async fn wait_until_ready(balancer: &Way) -> Result<(), Failure> {
    let ends = Instant::now() + START;
    loop {
        let status = client::status(balancer, START).await?;
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
