//! `bilico demo`: a balancer, its servers and a prompt from one command.
//!
//! Each role is a process of its own, so that it can be killed from another terminal.

mod banner;
mod paths;
mod roles;
mod secure;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::admin::{AdminAt, AdminListeners};
use super::client::{ClientArgs, converse};
use super::output::{Exit, Failure, note};
use super::role::{LogArgs, bind};
use super::secrets::TokenArg;
use super::send::{BalancerArg, ChangedArg, RetryArg};
use super::settings::values::{ADMIN, BALANCER, address, positive};
use super::tls::CaArg;
use crate::client::{self, Changed, Way};
use crate::config::{ServerSpec, check_servers};
use crate::units::{Margin, parse_duration};
use banner::Banner;
use paths::show;
use roles::{Launch, Role, START};
use secure::{Secured, server_name};

/// The flags of a demo that stand for the `--listen` of its roles, as hints name them.
const LISTEN: &str = "--listen ADDR";
const SERVER: &str = "--server ADDR=WEIGHT for each server";

/// Start a balancer, three servers and a prompt: the first thing to try
#[derive(Debug, Args)]
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
    /// Directory that files are picked from
    #[arg(long, value_name = "DIR", default_value = "sample_files")]
    files: PathBuf,
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
pub(super) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    args.log.wants_terminal()?;
    check_ports(&args).await?;
    let secured = if args.secure {
        Some(Secured::make(&args.dir, args.servers.len())?)
    } else {
        None
    };
    let (to_prompt, mut notices) = mpsc::unbounded_channel();
    let mut roles = Vec::new();
    let result = match start(&args, secured.as_ref(), &mut roles, &to_prompt).await {
        Ok(balancer) => {
            let banner = Banner::new(&args.dir, &args.log.log_dir, &args.servers, &roles);
            match &secured {
                Some(secured) => banner.print("https", |balancer| {
                    secured.print(&balancer.address, balancer.admin.as_deref());
                }),
                None => banner.print("http", |_| {}),
            }
            let client = client_args(&args, balancer, &roles);
            let watch = roles::watch(roles, to_prompt);
            let result = converse(&client, &mut notices).await;
            roles = watch.end().await;
            result
        }
        Err(failure) => {
            // Only the roles, which are about to end, send notices from here on.
            drop(to_prompt);
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
        note(notice);
    }
    match result? {
        Exit::Done => stopped,
        exit => Ok(exit),
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
    notices: &mpsc::UnboundedSender<String>,
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
    let mut launch = Launch::new("balancer");
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
