//! `bilico status`: the balancer and its servers, once, every second, or on the whole screen.

use std::ops::ControlFlow;

use clap::Args;
use serde_json::{Value, json};

use super::api::{self, AdminArg, Api, Heard};
use super::output::{Exit, Failure, note, say_as_is, say_json};
use super::render::{ColourArg, overview};
use super::screen;
use super::table::{Look, rest, table};
use crate::admin::types::{Overview, State};
use crate::protocol::object;
use crate::text::Printable;

/// Lines of a terminal that hold no server: the table's head, what is left out, the command, and the
/// next prompt.
const AROUND: usize = 4;

/// So many servers are shown however small a terminal is.
const FEWEST: usize = 4;

/// Show the balancer and its servers: states, weights, shares, files in flight
///
/// The exit code is 0 if the balancer takes files and at least one server can get them, 4 if no
/// server can, 1 if the balancer takes no files, and 3 if it cannot be reached.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Update every second: on a terminal on the whole screen, until q is pressed; otherwise print
    /// one table after the other
    #[arg(short, long)]
    watch: bool,
    /// Print a JSON object with `overview` and `servers`; with --watch, one per line and second
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    colour: ColourArg,
}

pub(super) async fn run(args: StatusArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.admin)?;
    let colour = args.colour.is_on();
    if !args.watch {
        return once(&api, args.json, colour);
    }
    if args.json || !screen::is_possible() {
        return again_and_again(&api, args.json, colour);
    }
    screen::run(api, colour).await
}

fn once(api: &Api, json: bool, colour: bool) -> Result<Exit, Failure> {
    let (overview, servers): (Value, Value) = (api.get("overview")?, api.get("servers")?);
    // Fields that a later version adds are printed, too.
    let servers = servers.get("servers").cloned().unwrap_or_default();
    let whole = json!({ "overview": overview, "servers": servers });
    if json {
        say_json(&whole);
    }
    let state: State = object::from_value(whole).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot understand the balancer's answer: {error}"),
        )
    })?;
    if !json {
        say_as_is(text(&state, colour));
    }
    Ok(readiness(&state.overview))
}

/// The overview, then the table of servers. On a terminal each has one line, and those that do not
/// fit are told of in one.
fn text(state: &State, colour: bool) -> String {
    let mut lines = overview(&state.overview);
    lines.push(String::new());
    let width = screen::width();
    let look = Look {
        width,
        drawn: None,
        colour,
    };
    let mut servers = table(&state.servers, look);
    let room = screen::height().map(|height| height.saturating_sub(lines.len() + AROUND));
    if let Some(room) = room.filter(|room| servers.len() > room + 2) {
        servers.truncate(room.max(FEWEST) + 1);
        servers.push(format!(
            " {} (all of them: `bilico servers`)",
            rest(&state.servers, room.max(FEWEST))
        ));
    }
    lines.extend(servers);
    lines.join("\n")
}

/// Exit code for scripts.
fn readiness(overview: &Overview) -> Exit {
    match overview {
        _ if overview.servers.eligible == 0 => Exit::NoServer,
        _ if !overview.accepting => Exit::Failed,
        _ => Exit::Done,
    }
}

fn again_and_again(api: &Api, json: bool, colour: bool) -> Result<Exit, Failure> {
    api::listen(api, true, u64::MAX, |heard| {
        match heard {
            Heard::State(_, line) if json => say_json(line),
            Heard::State(state, _) => say_as_is(format_args!("{}\n", text(&state, colour))),
            Heard::Event(..) => {}
            Heard::Lost(why) => note(format_args!(
                "the balancer is away ({}); trying again",
                Printable(why)
            )),
            Heard::Back { .. } => note("the balancer is back"),
        }
        ControlFlow::Continue(())
    })?;
    Ok(Exit::Done)
}
