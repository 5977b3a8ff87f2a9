//! The command line: one file per subcommand. This file declares and dispatches.
//!
//! Data goes to standard output, everything else to standard error; failures end with `error:` and,
//! where there is a remedy, `hint:`. [`Exit`] lists the exit codes.

mod account;
mod admin;
mod agent;
mod api;
mod balancer;
mod bench;
mod certs;
mod client;
mod completions;
mod config;
mod context;
mod contexts;
mod demo;
mod events;
mod fleet;
mod journal_errors;
mod logs;
mod output;
mod progress;
mod prompt;
mod queue;
mod register_args;
mod reload;
mod render;
mod role;
mod screen;
mod secrets;
mod send;
mod server;
mod servers;
mod service;
mod settings;
mod show;
mod status;
mod table;
mod tls;
mod users;
mod verify;
mod watch;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use output::Exit;
use output::{Failure, complain};
use settings::{Program, Refused, Started};

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
    /// Configuration file: see docs/configuration.md
    #[arg(long, global = true, value_name = "FILE", env = "BILICO_CONFIG")]
    config: Option<PathBuf>,
    /// The context that says where the balancer is: see `bilico context`; `none` for none
    #[arg(long, global = true, value_name = "NAME", env = "BILICO_CONTEXT")]
    context: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Balancer(Box<balancer::BalancerArgs>),
    Server(server::ServerArgs),
    Agent(agent::AgentArgs),
    Client(client::ClientArgs),
    Send(send::SendArgs),
    Watch(watch::WatchArgs),
    Queue(queue::QueueArgs),
    Login(account::LoginArgs),
    Logout(account::LogoutArgs),
    Whoami(account::WhoamiArgs),
    Register(account::RegisterArgs),
    Password(account::PasswordArgs),
    Token(account::TokenArgs),
    User(users::UserArgs),
    Status(status::StatusArgs),
    Weight(servers::WeightArgs),
    Drain(servers::DrainArgs),
    Undrain(servers::UndrainArgs),
    Servers(servers::ServersArgs),
    Fleet(fleet::FleetArgs),
    Reload(servers::ReloadArgs),
    Events(events::EventsArgs),
    Logs(logs::LogsArgs),
    Verify(verify::VerifyArgs),
    Bench(bench::BenchArgs),
    Certs(certs::CertsArgs),
    Config(config::ConfigArgs),
    Context(context::ContextArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
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
            // The prompt's thread may still be waiting for a line: do not wait for it.
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

/// The problems of a configuration file with this text, as `bilico config check` reports them.
pub fn configuration_problems(text: &str) -> Vec<String> {
    settings::file::problems(text, Path::new("configuration"), &program())
}

/// The command line, and the checks that span several of its values.
fn program() -> Program {
    Program {
        command: Cli::command(),
        check: |name, matches| match name {
            "balancer" => balancer::check(matches),
            "server" => server::check(matches),
            "demo" => demo::check(matches),
            _ => Ok(()),
        },
    }
}

/// What the prompt leaves to a shell.
fn elsewhere() -> client::Elsewhere {
    let command = Cli::command();
    let subcommands = command.get_subcommands();
    client::Elsewhere::new(
        subcommands
            .map(|subcommand| subcommand.get_name().to_owned())
            .collect(),
    )
}

/// Parses the command line together with the configuration file. Ends the process where clap does:
/// on `--help` and on a usage error.
fn understand(args: Vec<OsString>) -> Result<(Cli, Started), Failure> {
    let program = program();
    let resolved = program.resolve(&args)?;
    let cli = Cli::from_arg_matches(&resolved.matches)
        .map_err(|error| Refused::Flags(Box::new(error)))?;
    let values = resolved.effective(&program);
    resolved.work_with_context();
    Ok((
        cli,
        Started {
            args,
            file: resolved.file,
            values,
            program: self::program,
        },
    ))
}

async fn run(cli: Cli, started: Started) -> Result<Exit, Failure> {
    match cli.command {
        Command::Demo(args) => demo::run(args, elsewhere()).await,
        Command::Balancer(args) => balancer::run(*args, started).await,
        Command::Server(args) => server::run(args, started).await,
        Command::Client(args) => client::run(args, elsewhere()).await,
        Command::Send(args) => send::run(args).await,
        Command::Agent(args) => agent::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Queue(args) => queue::run(args),
        Command::Login(args) => account::login(args).await,
        Command::Logout(args) => account::logout(args).await,
        Command::Whoami(args) => account::whoami(args).await,
        Command::Register(args) => account::register(args).await,
        Command::Password(args) => account::password(args).await,
        Command::Token(args) => account::token(args).await,
        Command::User(args) => users::run(args),
        Command::Verify(args) => verify::run(&args),
        Command::Bench(args) => bench::run(args).await,
        Command::Certs(args) => certs::run(args).await,
        Command::Config(args) => config::run(
            &args,
            cli.config.as_deref(),
            cli.context.as_deref(),
            program,
        ),
        Command::Context(args) => {
            let named = cli.context.as_deref().filter(|name| !name.is_empty());
            context::run(&args, named)
        }
        Command::Status(args) => status::run(args).await,
        Command::Weight(args) => servers::weight(&args),
        Command::Drain(args) => servers::drain(&args),
        Command::Undrain(args) => servers::undrain(&args),
        Command::Servers(args) => servers::servers(&args),
        Command::Fleet(args) => fleet::run(args).await,
        Command::Reload(args) => servers::reload(&args),
        Command::Events(args) => events::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Completions(args) => Ok(completions::completions(&args, Cli::command())),
        Command::Man(args) => completions::man(&args, Cli::command()),
    }
}
