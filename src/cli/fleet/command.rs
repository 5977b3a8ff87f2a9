//! The command line of `bilico fleet`, and the orders about members.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::averages;
use super::list;
use super::show;
use super::watch::{self, Watched};
use crate::cli::api::{Api, ListArgs, OrderArgs, member_path};
use crate::cli::output::{Exit, Failure, say_as_is, say_json};
use crate::cli::screen;
use crate::cli::settings::values::{positive, whole};
use crate::fleet_core::{Columns, MemberReport};
use crate::text::Printable;

/// Show the fleet: every host that the balancer knows of, and what it tells
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct FleetArgs {
    #[command(subcommand)]
    command: Option<FleetCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// List the members, those with a trouble first, as `bilico fleet` alone does
    Ls(ListArgs),
    /// Show all that is known of a member
    Show {
        #[command(flatten)]
        member: MemberArg,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Show the members as they change, or the status of one, line by line
    ///
    /// Without NAME: on a terminal on the whole screen, until q is pressed; otherwise one list after
    /// the other. With NAME: one line each time, until Ctrl-C.
    Watch(WatchArgs),
    /// Show what the members told on average, and the most
    Averages {
        /// The stretch of time that ends now, at most seven days
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = positive)]
        over: Duration,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Forget a member that is gone or unknown, and its history
    Forget {
        #[command(flatten)]
        member: MemberArg,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Keep a member however long nothing is heard of it
    Protect {
        #[command(flatten)]
        member: MemberArg,
        /// Keep it no longer
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        order: OrderArgs,
    },
}

#[derive(Debug, Args)]
struct MemberArg {
    /// The member: its name, its address, its identity, or a unique part of its name
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
struct WatchArgs {
    /// One member: its name, its address, its identity, or a unique part of its name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Time from one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = positive)]
    every: Duration,
    /// Print the averages of each N lines, too
    #[arg(
        long,
        value_name = "N",
        requires = "name",
        value_parser = whole::<u32>(1..)
    )]
    average: Option<u32>,
    /// Add these averages, of 10 lines unless --average says another number, to a file of JSON in
    /// the format of the first system's `historico.json`
    #[arg(long, value_name = "FILE", requires = "name")]
    history_file: Option<PathBuf>,
    #[command(flatten)]
    list: ListArgs,
}

/// The stretch of time that is shown beside a member's facts.
const SHOWN: Duration = Duration::from_mins(10);

/// The averages are of so many lines, unless another number is given.
const AVERAGED: u32 = 10;

/// Runs `bilico fleet`.
pub(in crate::cli) async fn run(args: FleetArgs) -> Result<Exit, Failure> {
    match args.command {
        None => ls(&args.list),
        Some(FleetCommand::Ls(args)) => ls(&args),
        Some(FleetCommand::Show { member, order }) => show_one(&member.name, &order),
        Some(FleetCommand::Watch(args)) => watch(args).await,
        Some(FleetCommand::Averages { over, order }) => averages_of(over, &order),
        Some(FleetCommand::Forget { member, order }) => forget(&member.name, &order),
        Some(FleetCommand::Protect { member, off, order }) => protect(&member.name, !off, &order),
    }
}

fn ls(args: &ListArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.order.admin)?;
    if args.order.json {
        say_json(api.get::<Value>("fleet")?);
        return Ok(Exit::Done);
    }
    let members = watch::members(&api)?;
    if args.order.quiet {
        return Ok(Exit::Done);
    }
    let width = screen::width();
    list::lines(&members, width, args.colour.is_on())
        .iter()
        .for_each(say_as_is);
    Ok(Exit::Done)
}

fn show_one(name: &str, order: &OrderArgs) -> Result<Exit, Failure> {
    let api = Api::new(&order.admin)?;
    let path = member_path(name);
    if order.json {
        say_json(api.get::<Value>(&path)?);
        return Ok(Exit::Done);
    }
    let member: MemberReport = api.get(&path)?;
    if order.quiet {
        return Ok(Exit::Done);
    }
    let over = SHOWN.as_secs();
    let path = format!("{}/history?over={over}s", member_path(&member.id));
    let history: Columns = api.get(&path)?;
    show::lines(&member, &history, SHOWN)
        .iter()
        .for_each(say_as_is);
    Ok(Exit::Done)
}

async fn watch(args: WatchArgs) -> Result<Exit, Failure> {
    let ListArgs { order, colour } = args.list;
    let api = Api::new(&order.admin)?;
    let Some(name) = args.name else {
        return watch::all(api, args.every, order.json, colour.is_on()).await;
    };
    let average = args
        .average
        .or(args.history_file.is_some().then_some(AVERAGED));
    watch::one(
        &api,
        &Watched {
            name,
            every: args.every,
            average,
            file: args.history_file,
            is_json: order.json,
            is_quiet: order.quiet,
        },
    )
}

fn averages_of(over: Duration, order: &OrderArgs) -> Result<Exit, Failure> {
    let api = Api::new(&order.admin)?;
    let path = format!("fleet/averages?over={}ms", over.as_millis());
    if order.json {
        say_json(api.get::<Value>(&path)?);
        return Ok(Exit::Done);
    }
    let list: averages::AverageList = api.get(&path)?;
    if !order.quiet {
        averages::lines(&list, screen::width())
            .iter()
            .for_each(say_as_is);
    }
    Ok(Exit::Done)
}

/// The member that an order is about. The order then calls it by its identity, which stays the same
/// if another member comes meanwhile.
fn resolve(api: &Api, name: &str) -> Result<MemberReport, Failure> {
    api.get(&member_path(name))
}

fn forget(name: &str, order: &OrderArgs) -> Result<Exit, Failure> {
    let api = Api::new(&order.admin)?;
    let member = resolve(&api, name)?;
    let _: Value = api.order("DELETE", &member_path(&member.id), None::<&()>)?;
    let answer = json!({ "id": member.id, "name": member.name, "forgotten": true });
    let shown = Printable(&member.name);
    order.tell(
        &answer,
        format_args!("{shown} is forgotten, with its history"),
    )?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Protected {
    protected: bool,
}

fn protect(name: &str, protected: bool, order: &OrderArgs) -> Result<Exit, Failure> {
    let api = Api::new(&order.admin)?;
    let body = Protected { protected };
    let path = member_path(&resolve(&api, name)?.id);
    let member: MemberReport = api.order("PATCH", &path, Some(&body))?;
    let shown = Printable(&member.name);
    let words = if protected {
        format!("{shown} is kept, however long nothing is heard of it")
    } else {
        format!("{shown} is kept no longer than other members")
    };
    order.tell(&member, words)?;
    Ok(Exit::Done)
}
