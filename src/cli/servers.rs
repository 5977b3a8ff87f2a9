//! `bilico weight`, `drain`, `undrain`, `servers` and `reload`: orders to a running balancer.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, ListArgs, OrderArgs, resolve, server_path};
use super::output::{Exit, Failure, say, say_as_is, say_json};
use super::render;
use super::screen;
use super::settings::values::{positive, whole};
use super::table::{self, Look};
use crate::admin::types::{NewServer, PatchServer, Server, StandingOrder, StandingOrders};
use crate::config::{MAX_WEIGHT, Reloaded, ServerSpec};
use crate::text::Printable;

/// Time between two looks at the files in flight.
const LOOK: Duration = Duration::from_millis(100);

/// Change the weight of a server
///
/// The weight applies from the next file on, over restarts of the balancer, until another one is
/// configured for the server or the configuration is reloaded.
#[derive(Debug, Args)]
pub(super) struct WeightArgs {
    #[command(flatten)]
    server: ServerArg,
    /// Its share relative to the other servers; 0 keeps the server configured but sends it no files
    #[arg(
        value_name = "WEIGHT",
        allow_negative_numbers = true,
        value_parser = whole::<u32>(..=u64::from(MAX_WEIGHT))
    )]
    weight: u32,
    #[command(flatten)]
    order: OrderArgs,
}

/// Send no new files to a server; files in flight to it go on
///
/// The server stays drained, over reloads and restarts of the balancer, until `undrain`.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    server: ServerArg,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    order: OrderArgs,
}

/// Send files to a drained server again
#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    #[command(flatten)]
    server: ServerArg,
    #[command(flatten)]
    order: OrderArgs,
}

/// List the servers, add one, or remove one
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ServersArgs {
    #[command(subcommand)]
    command: Option<ServersCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum ServersCommand {
    /// List the servers, as `bilico servers` alone does
    List(ListArgs),
    /// Add a server; it gets files as soon as it answers
    Add {
        /// Its address and its weight; the default weight is 1
        #[arg(value_name = "ADDR=WEIGHT")]
        server: ServerSpec,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// List the orders that stand: drains, weights, added and removed servers
    ///
    /// They are in force over restarts of the balancer.
    Orders(ListArgs),
    /// Forget what was ordered about a server: it is as it is configured
    Forget {
        /// The server: its name, its port, or a unique part of its name
        #[arg(value_name = "SERVER")]
        server: String,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Remove a server: it gets no new files and is removed when no file is in flight to it
    Remove {
        #[command(flatten)]
        server: ServerArg,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        order: OrderArgs,
    },
}

#[derive(Debug, Args)]
struct ServerArg {
    /// The server: its name, its port, or a unique part of its name
    #[arg(value_name = "SERVER")]
    server: String,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Wait until no file is in flight to it
    #[arg(short, long)]
    wait: bool,
    /// Longest time to wait; without it, there is no limit
    #[arg(long, value_name = "TIME", value_parser = positive, requires = "wait")]
    timeout: Option<Duration>,
}

/// Make the balancer read its configuration again
///
/// Settings that a running balancer can change apply at once, and no connection or file is dropped;
/// settings that need a restart are listed. An invalid configuration changes nothing. SIGHUP does
/// the same.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    order: OrderArgs,
}

pub(super) fn weight(args: &WeightArgs) -> Result<Exit, Failure> {
    let server = set_weight(
        &Api::new(&args.order.admin)?,
        &args.server.server,
        args.weight,
    )?;
    args.order.tell(&server, weight_text(&server))?;
    Ok(Exit::Done)
}

pub(super) fn drain(args: &DrainArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.order.admin)?;
    let mut server = set_drained(&api, &args.server.server, true)?;
    if args.wait.wait {
        let name = server.report.name.clone();
        let is_idle =
            |found: Option<&Server>| found.is_none_or(|found| found.report.in_flight == 0);
        if let Some(last) = wait_for(&api, &name, &args.wait, is_idle)? {
            server = last;
        } else {
            server.report.in_flight = 0;
        }
    }
    args.order.tell(&server, drain_text(&server))?;
    Ok(Exit::Done)
}

pub(super) fn undrain(args: &UndrainArgs) -> Result<Exit, Failure> {
    let server = set_drained(&Api::new(&args.order.admin)?, &args.server.server, false)?;
    args.order.tell(&server, undrain_text(&server))?;
    Ok(Exit::Done)
}

pub(super) fn servers(args: &ServersArgs) -> Result<Exit, Failure> {
    match &args.command {
        None => list(&args.list),
        Some(ServersCommand::List(args)) => list(args),
        Some(ServersCommand::Add { server, order }) => add(server, order),
        Some(ServersCommand::Orders(args)) => standing_orders(args),
        Some(ServersCommand::Forget { server, order }) => forget(server, order),
        Some(ServersCommand::Remove {
            server,
            wait,
            order,
        }) => remove(&server.server, wait, order),
    }
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.order.admin)?;
    if args.order.json {
        say_json(api.get::<Value>("servers")?);
        return Ok(Exit::Done);
    }
    let servers = api.servers()?;
    if !args.order.quiet {
        table::table(
            &servers,
            Look {
                width: screen::width(),
                drawn: None,
                colour: args.colour.is_on(),
            },
        )
        .iter()
        .for_each(say_as_is);
        // Scripts get one line a server.
        if screen::width().is_some() && servers.iter().any(table::is_marked) {
            say(" * ordered, not configured: `bilico servers orders`");
        }
    }
    Ok(Exit::Done)
}

fn standing_orders(args: &ListArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.order.admin)?;
    if args.order.json {
        say_json(api.get::<Value>("orders")?);
        return Ok(Exit::Done);
    }
    let StandingOrders { orders } = api.get("orders")?;
    if args.order.quiet {
        return Ok(Exit::Done);
    }
    if orders.is_empty() {
        say("no orders stand: all servers are as they are configured");
    }
    for StandingOrder { server, text, .. } in &orders {
        say(format_args!("{}: {text}", Printable(server)));
    }
    Ok(Exit::Done)
}

fn forget(meant: &str, order: &OrderArgs) -> Result<Exit, Failure> {
    let api = Api::new(&order.admin)?;
    // The server itself may have been removed.
    let StandingOrders { orders } = api.get("orders")?;
    let names = orders.iter().map(|order| order.server.as_str());
    let names: Vec<&str> = names.filter(|name| name.contains(meant)).collect();
    let server = match &names[..] {
        [] => meant,
        names => resolve(meant, names)?,
    };
    let path = server_path(server).replacen("servers/", "orders/", 1);
    let answer: Value = api.order("DELETE", &path, None::<&()>)?;
    let shown = Printable(server);
    order.tell(
        &answer,
        format_args!(
            "what was ordered about {shown} is forgotten: it is as the configuration says"
        ),
    )?;
    Ok(Exit::Done)
}

fn add(spec: &ServerSpec, order: &OrderArgs) -> Result<Exit, Failure> {
    let new = NewServer {
        address: spec.address.clone(),
        weight: spec.weight,
    };
    let server: Server = Api::new(&order.admin)?.order("POST", "servers", Some(&new))?;
    let (name, weight) = (&server.report.name, server.report.weight);
    let gets = if server.report.is_in_service() {
        render::gets(&server)
    } else {
        "files as soon as it answers".to_owned()
    };
    order.tell(
        &server,
        format_args!("{name} is added with weight {weight}: {gets}"),
    )?;
    Ok(Exit::Done)
}

fn remove(meant: &str, wait: &WaitArgs, order: &OrderArgs) -> Result<Exit, Failure> {
    let api = Api::new(&order.admin)?;
    let name = api.resolve(meant)?;
    let _: Value = api.order("DELETE", &server_path(&name), None::<&()>)?;
    let left = if wait.wait {
        wait_for(&api, &name, wait, |found| found.is_none())?
    } else {
        api.server(&name)?
    };
    let in_flight = left.as_ref().map_or(0, |server| server.report.in_flight);
    let words = match &left {
        None => format!("{name} is removed"),
        Some(_) => format!("{name} gets no new files; {}", last_files(in_flight)),
    };
    order.tell(
        &json!({ "name": name, "removed": left.is_none(), "in_flight": in_flight }),
        words,
    )?;
    Ok(Exit::Done)
}

pub(super) fn reload(args: &ReloadArgs) -> Result<Exit, Failure> {
    let answer: Reloaded = Api::new(&args.order.admin)?.order("POST", "reload", None::<&()>)?;
    let mut lines: Vec<String> = answer
        .applied
        .iter()
        .map(|what| format!("applied: {}", Printable(what)))
        .collect();
    lines.extend(
        answer
            .restart
            .iter()
            .map(|what| format!("needs a restart: {}", Printable(what))),
    );
    if lines.is_empty() {
        lines.push("nothing has changed".to_owned());
    }
    args.order.tell(&answer, lines.join("\n"))?;
    Ok(Exit::Done)
}

/// Changes the weight of the server that `meant` names.
pub(super) fn set_weight(api: &Api, meant: &str, weight: u32) -> Result<Server, Failure> {
    patch(
        api,
        meant,
        &PatchServer {
            weight: Some(weight),
            drained: None,
        },
    )
}

/// Drains the server that `meant` names, or ends its drain.
pub(super) fn set_drained(api: &Api, meant: &str, drained: bool) -> Result<Server, Failure> {
    patch(
        api,
        meant,
        &PatchServer {
            weight: None,
            drained: Some(drained),
        },
    )
}

fn patch(api: &Api, meant: &str, change: &PatchServer) -> Result<Server, Failure> {
    let name = api.resolve(meant)?;
    api.order("PATCH", &server_path(&name), Some(change))
}

/// The answer to a change of weight.
pub(super) fn weight_text(server: &Server) -> String {
    let report = &server.report;
    let gets = if report.weight == 0 {
        "no files from now on".to_owned()
    } else {
        render::gets(server)
    };
    format!("{} has weight {}: {gets}", report.name, report.weight)
}

/// The answer to a drain.
pub(super) fn drain_text(server: &Server) -> String {
    let report = &server.report;
    format!(
        "{} is drained: it gets no new files; {} to it",
        report.name,
        in_flight(report.in_flight)
    )
}

/// The answer to the end of a drain.
pub(super) fn undrain_text(server: &Server) -> String {
    let report = &server.report;
    let gets = if report.weight == 0 {
        "no files, because its weight is 0".to_owned()
    } else {
        render::gets(server)
    };
    format!("{} is no longer drained: {gets}", report.name)
}

fn in_flight(files: usize) -> String {
    match files {
        0 => "no files are in flight".to_owned(),
        1 => "1 file is in flight".to_owned(),
        files => format!("{files} files are in flight"),
    }
}

/// When a server is removed that still has files in flight.
fn last_files(in_flight: usize) -> String {
    match in_flight {
        0 => "it is about to be removed".to_owned(),
        1 => "it is removed when the file in flight to it has ended".to_owned(),
        files => format!("it is removed when the {files} files in flight to it have ended"),
    }
}

/// Waits until `is_done` and returns the server, or `None` if it was removed.
fn wait_for(
    api: &Api,
    name: &str,
    wait: &WaitArgs,
    is_done: impl Fn(Option<&Server>) -> bool,
) -> Result<Option<Server>, Failure> {
    let ends = wait
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let server = api.server(name)?;
        if is_done(server.as_ref()) {
            return Ok(server);
        }
        if ends.is_some_and(|ends| Instant::now() >= ends) {
            let files = server.map_or(0, |server| server.report.in_flight);
            let failure = Failure::new(
                Exit::TimedOut,
                format!("time limit reached: {} to {name}", in_flight(files)),
            );
            return Err(failure.hint("it gets no new files; run the command again to wait longer"));
        }
        std::thread::sleep(LOOK);
    }
}
