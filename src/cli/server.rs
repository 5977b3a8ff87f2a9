//! `bilico server`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::admin::{AdminAt, AdminListener};
use super::balancer::{positive, tell_openings, too_few};
use super::reload::{self, Reloader, Started};
use super::settings::words::{self, one_of};
use super::{Exit, Failure, RoleArgs, address, bind};
use crate::admin::server_routes;
use crate::descriptors::{self, Openings};
use crate::durability::Durability;
use crate::server::{Server, ServerConfig, ServerError, most_files};
use crate::units::{ByteSize, Margin, parse_duration};

/// Run a file server: stores files from balancers, native and old-style ones alike, and
/// acknowledges them
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Where balancers connect
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5001", value_parser = address, env = "BILICO_LISTEN")]
    listen: String,
    /// Where files are stored, each as its request number, an underscore and its title
    #[arg(
        long,
        value_name = "DIR",
        default_value = "json_files_1",
        env = "BILICO_DIR"
    )]
    dir: PathBuf,
    /// When a file counts as stored, and is acknowledged
    #[arg(long, value_parser = one_of(words::DURABILITY), default_value = "disk", env = "BILICO_DURABILITY")]
    durability: Durability,
    /// How much more memory than at the start makes the server overloaded: a size, or a percentage
    /// of the machine's memory. It is no longer overloaded at 80 % of that
    #[arg(
        long,
        value_name = "SIZE|PERCENT%",
        default_value = "512MiB",
        env = "BILICO_OVERLOAD_MARGIN"
    )]
    overload_margin: Margin,
    /// How long the work on a stored file takes for each letter A or a in it; the content stays in
    /// memory meanwhile
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration, env = "BILICO_WORK_DELAY")]
    work_delay: Duration,
    /// The most content that is held for the work; then files are refused as busy
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
    /// The largest object of an old-style balancer
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_MAX_JSON"
    )]
    max_json: ByteSize,
    /// How long a peer may stop in the middle of something
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive, env = "BILICO_STALL_TIMEOUT")]
    stall_timeout: Duration,
    /// How long an old-style balancer may be silent between two files on one connection
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = positive, env = "BILICO_IDLE_TIMEOUT")]
    idle_timeout: Duration,
    /// The most connections at once, if the process may open that much; who is silent makes way for
    /// who comes
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_MAX_CONNECTIONS")]
    max_connections: u32,
    /// How long a stopping server goes on acknowledging what it has
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration, env = "BILICO_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Duration,
    /// Where it answers /live, /ready and /metrics, over HTTP from this machine only; `none` for
    /// nowhere
    #[arg(long, value_name = "ADDR", default_value = "none")]
    admin: AdminAt,
    #[command(flatten)]
    role: RoleArgs,
}

/// Runs the server until it is told to stop.
pub(super) async fn run(args: ServerArgs, started: Started) -> Result<Exit, Failure> {
    let hangup = reload::hangups()?;
    let (limit, wanted) = (descriptors::raise(), args.max_connections as usize);
    let openings = Openings::of_server(limit, most_files(), args.admin.max_connections(), wanted)
        .map_err(too_few)?;
    let (listener, address) = bind(&args.listen).await?;
    let operators = AdminListener::bind(&args.admin).await?;
    let log = args
        .role
        .log
        .start(format!("server-{}.log", address.port()))?;
    tell_openings(args.max_connections, &openings);
    Reloader::new(started, log.level(), None).follow(hangup, log.names());
    let config = ServerConfig {
        dir: args.dir.clone(),
        durability: args.durability,
        clean: args.clean,
        overload_margin: args.overload_margin,
        work_delay: args.work_delay,
        work_memory: args.work_memory.0,
        stall: args.stall_timeout,
        idle: args.idle_timeout,
        max_json: args.max_json.0,
        max_connections: openings.connections,
        grace: args.shutdown_timeout,
    };
    let ended = match Server::open(config) {
        Ok(server) => {
            let told = operators.address();
            let gauge = server.gauge();
            let serving = operators.serve(|_| server_routes(gauge));
            let stop = args.role.ready(address, told)?;
            let ended = server.run(listener, stop).await;
            serving.stop().await;
            ended
        }
        Err(error) => Err(error),
    };
    drop(log);
    match ended {
        Ok(()) => Ok(Exit::Done),
        Err(error @ ServerError::Lost(_)) => Err(Failure::new(Exit::Journal, error).hint(
            "put it back as it was and start the server again; started without it, it begins a new one, and knows nothing \
             of what it has stored before",
        )),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot store in {}: {error}", args.dir.display()))),
    }
}
