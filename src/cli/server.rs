//! `bilico server`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use rustix::fs::Mode;

use super::admin::{AdminAt, AdminListeners};
use super::output::{Exit, Failure};
use super::register_args::RegisterArgs;
use super::reload::{self, Reloader};
use super::role::{RoleArgs, bind, tell_lock, tell_openings, too_few};
use super::settings::Started;
use super::settings::values::{address, positive, whole};
use super::settings::words::{self, one_of};
use super::tls::{Certificates, ClusterArgs};
use crate::access::{Lock, MetricsFor};
use crate::admin::server_routes;
use crate::descriptors::{self, Openings};
use crate::durability::Durability;
use crate::numbers::count;
use crate::server::{
    ReadableBy, Server, ServerConfig, ServerError, ServerGauge, keep_announcing, most_files,
};
use crate::transport::tls::check_name;
use crate::units::{ByteSize, Margin, parse_duration};

/// Run a file server: it stores files from native and old-style balancers and acknowledges them
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Address that balancers connect to
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:5001",
        value_parser = address,
        env = "BILICO_LISTEN"
    )]
    listen: String,
    /// Directory for the files; each is named by its request number, an underscore and its title
    #[arg(
        long,
        value_name = "DIR",
        default_value = "json_files_1",
        env = "BILICO_DIR"
    )]
    dir: PathBuf,
    /// When a file counts as stored, and is acknowledged
    #[arg(
        long,
        value_parser = one_of(words::DURABILITY),
        default_value = "disk",
        env = "BILICO_DURABILITY"
    )]
    durability: Durability,
    /// Who may read stored files; a directory that the server creates lets them in
    #[arg(
        long,
        value_parser = one_of(words::READABLE_BY),
        default_value = "owner",
        env = "BILICO_READABLE_BY"
    )]
    readable_by: ReadableBy,
    /// The server is overloaded once its memory has grown by this much since its start: a size, or
    /// a percentage of the machine's memory. The overload ends at 80 % of that
    #[arg(
        long,
        value_name = "SIZE|PERCENT%",
        default_value = "512MiB",
        env = "BILICO_OVERLOAD_MARGIN"
    )]
    overload_margin: Margin,
    /// Time that the work on a stored file takes for each letter A or a in it; the content stays in
    /// memory meanwhile
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0",
        value_parser = parse_duration,
        env = "BILICO_WORK_DELAY"
    )]
    work_delay: Duration,
    /// Most content in memory for the work; beyond that, files are refused as busy
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        env = "BILICO_WORK_MEMORY"
    )]
    work_memory: ByteSize,
    /// Remove the .json files in the directory first, as the first system of this kind did at each
    /// start
    #[arg(long)]
    clean: bool,
    /// Largest object of an old-style balancer
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_MAX_JSON"
    )]
    max_json: ByteSize,
    /// How long a peer may stall in the middle of a message
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = positive,
        env = "BILICO_STALL_TIMEOUT"
    )]
    stall_timeout: Duration,
    /// How long an old-style balancer may be silent between two files on one connection
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        value_parser = positive,
        env = "BILICO_IDLE_TIMEOUT"
    )]
    idle_timeout: Duration,
    /// Most connections at once, as far as the limit of open files allows; a silent one is closed
    /// for a new one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1024,
        value_parser = whole::<u32>(1..),
        env = "BILICO_MAX_CONNECTIONS"
    )]
    max_connections: u32,
    /// How long a stopping server goes on acknowledging its files
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5s",
        value_parser = parse_duration,
        env = "BILICO_SHUTDOWN_TIMEOUT"
    )]
    shutdown_timeout: Duration,
    /// Address of /live, /ready and /metrics: HTTP, from this machine only; `none` for no such
    /// listener
    #[arg(long, value_name = "ADDR", default_value = "none")]
    admin: AdminAt,
    /// Address of a listener that has only /metrics, for everybody who reaches it; `none` for no such
    /// listener
    #[arg(long, value_name = "ADDR", default_value = "none")]
    metrics: AdminAt,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// A balancer of the cluster that may come, by the name in its certificate; repeat the flag for
    /// each. Without it, any of the cluster may
    #[arg(
        long = "balancer",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = check_name,
        env = "BILICO_BALANCERS"
    )]
    balancers: Vec<String>,
    /// Answer `status` with a line of status, one a second at most, as servers of the first
    /// monitoring system do
    #[arg(long)]
    old_status: bool,
    /// Announce the server to middleware of the first monitoring system, 127.0.0.1:4999 there, every
    /// three minutes, and answer `status`; repeat the flag for each
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = address,
        env = "BILICO_ANNOUNCE"
    )]
    announce: Vec<String>,
    #[command(flatten)]
    register: RegisterArgs,
    #[command(flatten)]
    role: RoleArgs,
}

/// Runs the server until SIGTERM, Ctrl-C or a fatal error.
pub(super) async fn run(args: ServerArgs, started: Started) -> Result<Exit, Failure> {
    let hangup = reload::hangups()?;
    let service = args.role.service();
    let_read(args.readable_by);
    let (limit, wanted) = (descriptors::raise(), args.max_connections as usize);
    let operators = args.admin.max_connections() + args.metrics.max_of_metrics();
    let openings = Openings::of_server(limit, most_files(), operators, wanted).map_err(too_few)?;
    let (door, held) = args.cluster.door(args.balancers.clone())?.unzip();
    let (listener, address) = bind(&args.listen, &args.role.listen_flag).await?;
    let operators = AdminListeners::bind(&args.admin, &args.metrics, false).await?;
    let log = args
        .role
        .log
        .start(format!("server-{}.log", address.port()), None)?;
    tell_openings(args.max_connections, &openings);
    let certificates = Certificates::watched(held);
    Reloader::new(started, log.level(), None, certificates)
        .telling(service.clone())
        .follow(hangup, log.names());
    let registering = args.register.registering(address, args.shutdown_timeout)?;
    let mut config = config(&args, &openings);
    if door.is_some() {
        tracing::info!(listen = %address, "only balancers of the cluster are let in, over TLS");
    }
    config.cluster = door;
    let lock = config.access.clone();
    tell_lock(&lock, address);
    service.status("reading the directory");
    let ended = match Server::open(config) {
        Ok(server) => {
            let told = operators.addresses();
            let gauge = server.gauge();
            let watched = gauge.clone();
            let serving = operators.serve((lock, MetricsFor::Everybody), None, |_| {
                server_routes(gauge)
            });
            let stop = args.role.ready(address, told)?;
            for to in &args.announce {
                let announcing = keep_announcing(to.clone(), address);
                tokio::spawn(stop.clone().run_until_cancelled_owned(announcing));
            }
            service.ready(stop.clone(), move || {
                let gauge = watched.clone();
                // The tasks of connections run.
                async move { tokio::spawn(async move { in_a_line(&gauge) }).await.ok() }
            });
            let ended = server.run_registered(listener, registering, stop).await;
            serving.stop().await;
            ended
        }
        Err(error) => Err(error),
    };
    drop(log);
    match ended {
        Ok(()) => Ok(Exit::Done),
        Err(error @ ServerError::Lost(_)) => Err(Failure::new(Exit::Journal, error).hint(
            "move the directory back and start the server again; without it, the server starts \
             with an empty directory and does not know the files that it has stored before",
        )),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("cannot store in {}: {error}", args.dir.display()),
        )),
    }
}

/// How the server is.
fn in_a_line(gauge: &ServerGauge) -> String {
    let line = format!("{} stored since the start", count(gauge.stored().0, "file"));
    match gauge.trouble() {
        Some(trouble) => format!("{trouble}; {line}"),
        None => line,
    }
}

/// Checks the values against each other; the error names a key.
pub(super) fn check(matches: &ArgMatches) -> Result<(), (&'static str, String)> {
    ServerArgs::from_arg_matches(matches).map_or(Ok(()), |args| {
        args.cluster.check()?;
        check_old(&args)?;
        args.register.check()
    })
}

/// The first monitoring system speaks no TLS.
fn check_old(args: &ServerArgs) -> Result<(), (&'static str, String)> {
    let key = if args.old_status {
        "old-status"
    } else {
        "announce"
    };
    if !args.cluster.is_on() || !args.old_status && args.announce.is_empty() {
        return Ok(());
    }
    let error = "the port of a server of a cluster speaks TLS alone, which the first monitoring \
                 system does not: leave this out, or cluster-ca";
    Err((key, error.to_owned()))
}

/// Whoever asks for files that others may read means it, whatever mask this process was started
/// with.
fn let_read(who: ReadableBy) {
    if who != ReadableBy::Owner {
        rustix::process::umask(Mode::from_raw_mode(0o777 & !who.directory_mode()));
    }
}

fn config(args: &ServerArgs, openings: &Openings) -> ServerConfig {
    ServerConfig {
        dir: args.dir.clone(),
        durability: args.durability,
        readable_by: args.readable_by,
        clean: args.clean,
        overload_margin: args.overload_margin,
        work_delay: args.work_delay,
        work_memory: args.work_memory.0,
        stall: args.stall_timeout,
        idle: args.idle_timeout,
        max_json: args.max_json.0,
        max_connections: openings.connections,
        grace: args.shutdown_timeout,
        access: Lock::off_at_server(),
        old_status: args.old_status || !args.announce.is_empty(),
        cluster: None,
    }
}
