//! The command line: one file a subcommand, and what they share.
//!
//! Data goes to standard output, everything else to standard error; failures end with `error:` and,
//! where there is a remedy, `hint:`. The exit codes are [`Exit`]'s.

mod admin;
mod adopt;
mod api;
mod balancer;
mod bench;
mod client;
mod completions;
mod config;
mod demo;
mod events;
mod logs;
mod output;
mod prompt;
mod queue;
mod reload;
mod send;
mod server;
mod servers;
mod settings;
mod show;
mod status;
mod verify;
mod watch;

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::ClientError;
use crate::config::parse_address;
use crate::logging::{self, LogConfig, LogFormat, LogGuard};
use crate::shutdown;
use crate::units::ByteSize;
use output::{complain, note, say, say_as_is, say_json, warn};
use reload::Started;
use settings::words::{self, one_of};
use settings::{Program, Refused};

/// Where the balancer listens unless told otherwise.
const BALANCER: &str = "127.0.0.1:60002";

/// Where operators reach the balancer unless told otherwise.
const ADMIN: &str = "127.0.0.1:60080";

/// A weighted round-robin load balancer for file transfer.
///
/// Clients hand files over once and get a receipt; the balancer keeps them in a
/// queue and stores each on one of its servers, by weight.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Start with `bilico demo`: a balancer, three servers and a prompt in one command."
)]
struct Cli {
    /// A file that says what flags and environment do not: see docs/configuration.md
    #[arg(long, global = true, value_name = "FILE", env = "BILICO_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Balancer(balancer::BalancerArgs),
    Server(server::ServerArgs),
    Client(client::ClientArgs),
    Send(send::SendArgs),
    Queue(queue::QueueArgs),
    Status(status::StatusArgs),
    Weight(servers::WeightArgs),
    Drain(servers::DrainArgs),
    Undrain(servers::UndrainArgs),
    Servers(servers::ServersArgs),
    Reload(servers::ReloadArgs),
    Events(events::EventsArgs),
    Logs(logs::LogsArgs),
    Verify(verify::VerifyArgs),
    Bench(bench::BenchArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything reached what was waited for.
    Done = 0,
    /// Something failed: a file was refused, unreadable, changed while it was read, dead or
    /// forgotten, what servers have is not what the receipts say, output cannot be written, or a
    /// role cannot start or go on.
    Failed = 1,
    /// The command line or the configuration file makes no sense.
    Usage = 2,
    /// The balancer cannot be reached, or the connection to it was lost.
    Unreachable = 3,
    /// No server can take files, or could when the time was up.
    NoServer = 4,
    /// The time was up.
    TimedOut = 5,
    /// The journal cannot be read or written, or a server's directory is not there any more.
    Journal = 6,
    /// Ended by Ctrl-C or SIGTERM before it was done.
    Interrupted = 130,
}

/// Why a command failed, and what can be done about it.
#[derive(Debug)]
struct Failure {
    error: String,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    fn new(exit: Exit, error: impl Display) -> Self {
        Self {
            error: error.to_string(),
            hint: None,
            exit,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            // It says it better than we could, and help is no failure.
            Refused::Flags(error) => output::end_parsing(&error),
            Refused::File(mut problems) => {
                let last = problems.pop().unwrap_or_default();
                for problem in problems {
                    complain(&problem, None);
                }
                Self::new(Exit::Usage, last)
            }
            Refused::Together(what) => Self::new(Exit::Usage, what),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(Exit::Unreachable, &error);
        match error {
            ClientError::Connect { .. } => {
                failure.hint("start one with `bilico demo` or `bilico balancer`, or name another with --balancer")
            }
            _ => failure,
        }
    }
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let (cli, started) = match understand(args) {
        Ok(understood) => understood,
        Err(failure) => {
            complain(&failure.error, failure.hint.as_deref());
            return ExitCode::from(failure.exit as u8);
        }
    };
    let result = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli, started));
            // A prompt's thread may still wait for a line; it must not hold up the end.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot start: {error}"))),
    };
    let exit = result.unwrap_or_else(|failure| {
        complain(&failure.error, failure.hint.as_deref());
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// The program as its command line and a configuration file have it.
fn program() -> Program {
    Program {
        command: Cli::command(),
        check: |name, matches| match name {
            "balancer" => balancer::check(matches),
            "demo" => demo::check(matches),
            _ => Ok(()),
        },
    }
}

/// Parses the command line, with what a configuration file has to say. Ends the process where the
/// parser does.
fn understand(args: Vec<OsString>) -> Result<(Cli, Started), Failure> {
    let program = program();
    let resolved = program.resolve(&args)?;
    let cli = Cli::from_arg_matches(&resolved.matches)
        .map_err(|error| Refused::Flags(Box::new(error)))?;
    let command = resolved.matches.subcommand();
    let values = command.map(|(name, matches)| program.effective(name, matches, &resolved.entries));
    Ok((
        cli,
        Started {
            args,
            file: resolved.file,
            values: values.unwrap_or_default(),
        },
    ))
}

async fn run(cli: Cli, started: Started) -> Result<Exit, Failure> {
    match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Balancer(args) => balancer::run(args, started).await,
        Command::Server(args) => server::run(args, started).await,
        Command::Client(args) => client::run(args).await,
        Command::Send(args) => send::run(args).await,
        Command::Queue(args) => queue::run(args).await,
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(args).await,
        Command::Config(args) => config::run(&args, cli.config.as_deref()),
        Command::Status(args) => status::run(args).await,
        Command::Weight(args) => servers::weight(&args),
        Command::Drain(args) => servers::drain(&args),
        Command::Undrain(args) => servers::undrain(&args),
        Command::Servers(args) => servers::servers(&args),
        Command::Reload(args) => servers::reload(&args),
        Command::Events(args) => events::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Completions(args) => Ok(completions::completions(&args)),
        Command::Man(args) => completions::man(&args),
    }
}

/// Where and how a role logs.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
#[command(next_help_heading = "Log")]
struct LogArgs {
    /// The directory of the log files
    #[arg(
        long,
        value_name = "DIR",
        default_value = "logs",
        env = "BILICO_LOG_DIR"
    )]
    log_dir: PathBuf,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level, env = "BILICO_LOG_LEVEL")]
    log_level: String,
    /// Lines for people, or JSON lines for machines
    #[arg(
        long,
        value_parser = one_of(words::LOG_FORMAT),
        value_name = "FORMAT",
        default_value = "human",
        env = "BILICO_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// A log file is rotated when it is larger than this, and every day
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_LOG_MAX_SIZE"
    )]
    log_max_size: ByteSize,
    /// How many rotated log files are kept; with 0 none is rotated or removed: another program,
    /// such as logrotate, does it
    #[arg(long, value_name = "N", default_value_t = 8, env = "BILICO_LOG_KEEP")]
    log_keep: usize,
}

impl LogArgs {
    /// The flags that make another process log as this one was told to; defaults need none.
    fn flags(&self) -> Vec<String> {
        let format = if self.log_format == LogFormat::Json {
            "json"
        } else {
            "human"
        };
        let flags = [
            ("--log-dir", self.log_dir.display().to_string(), "logs"),
            ("--log-level", self.log_level.clone(), "info"),
            ("--log-format", format.to_owned(), "human"),
            (
                "--log-max-size",
                self.log_max_size.0.to_string(),
                "67108864",
            ),
            ("--log-keep", self.log_keep.to_string(), "8"),
        ];
        let changed = flags
            .into_iter()
            .filter(|(_, value, default)| value != default);
        changed
            .flat_map(|(flag, value, _)| [flag.to_owned(), value])
            .collect()
    }

    fn start(&self, file: String) -> Result<LogGuard, Failure> {
        let config = LogConfig {
            dir: self.log_dir.clone(),
            file,
            max_bytes: self.log_max_size.0,
            keep: self.log_keep,
            format: self.log_format,
            level: self.log_level.clone(),
            also_stderr: Some(tracing::Level::ERROR),
        };
        logging::init(&config).map_err(|error| {
            let exit = if matches!(error, logging::LogError::Level(_)) {
                Exit::Usage
            } else {
                Exit::Failed
            };
            Failure::new(exit, error)
        })
    }
}

/// What every role has in common.
#[derive(Debug, Clone, Args)]
struct RoleArgs {
    /// Stop when standard input ends, so as not to outlive the process that holds its other end
    #[arg(long, hide = true)]
    with_parent: bool,
    #[command(flatten)]
    log: LogArgs,
}

impl RoleArgs {
    /// Tells where the role listens, and where for operators, as the last step of its start, and
    /// gives the token that stops it.
    fn ready(
        &self,
        address: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> Result<CancellationToken, Failure> {
        let signals = shutdown::survive_size_limits().and_then(|()| shutdown::on_signals());
        let stop = signals.map_err(|error| Failure::new(Exit::Failed, error))?;
        if self.with_parent {
            shutdown::with_parent(stop.clone());
        }
        say(format_args!("listening on {address}"));
        if let Some(admin) = admin {
            say(format_args!("admin on {admin}"));
        }
        Ok(stop)
    }
}

/// Binds a role's address.
async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener.local_addr().map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
            // Not only a listener keeps a port: so does an outgoing connection that the system gave
            // it to, and for a minute after its end nobody owns it.
            Failure::new(
                Exit::Failed,
                format!("port {port} is in use by another program"),
            )
            .hint(format!(
                "`ss -tanp 'sport = :{port}'` tells which one (TIME-WAIT ends within a minute); \
                 pass --listen for another address"
            ))
        }
        _ => Failure::new(Exit::Failed, format!("cannot listen on {address}: {error}")),
    })
}

/// A flag that names an address.
fn address(text: &str) -> Result<String, String> {
    parse_address(text).map_err(|error| error.to_string())
}

/// A flag that is a log level, or directives.
fn level(text: &str) -> Result<String, logging::LogError> {
    logging::check_level(text).map(|()| text.to_owned())
}
