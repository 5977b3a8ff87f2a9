//! `bilico events`: what happened to the balancer and its servers, once or as it happens.

use std::ops::ControlFlow;

use clap::Args;
use serde_json::Value;

use super::api::{self, AdminArg, Api, Heard};
use super::logs::{Since, level};
use super::output::{Exit, Failure, note, say, say_json};
use super::render::line;
use crate::admin::types::NoticeList;
use crate::balancer::events::{Event, Level};
use crate::protocol::object;
use crate::text::Printable;

/// `-f` begins with this many of the last events.
const FOLLOWED_FROM: usize = 10;

/// Show events: servers that went away or came back, orders, dead letters
///
/// The balancer keeps the last 256 events since its start, of no kind so many that the others are
/// lost; its log has all of them. An event is shown if all given conditions hold.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Show new events, too, until Ctrl-C; without --since-id, begin with the last 10. While the
    /// balancer is away, wait for it
    #[arg(short, long)]
    follow: bool,
    /// Only events after the one with this id, the first number of each line
    #[arg(long, value_name = "N")]
    since_id: Option<u64>,
    /// Only events at this level and above: error, warn, info
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<tracing::Level>,
    /// Only events about this server: its name, or its port
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Only events since this time: 10m for ten minutes ago, 2026-11-21T06:27:00Z,
    /// "2026-11-21 06:27", or 06:27 for today (local time without a Z)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only the last N events; with -f, of those before the new ones
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

impl EventsArgs {
    /// Whether an event is shown.
    fn shows(&self, event: &Event) -> bool {
        let level = match event.level {
            Level::Error => tracing::Level::ERROR,
            Level::Warn => tracing::Level::WARN,
            Level::Info => tracing::Level::INFO,
        };
        let is_of = |wanted: &String| {
            let server = event.server.as_deref();
            let is_port = |name: &str| {
                name.rsplit_once(':')
                    .is_some_and(|(_, port)| port == wanted)
            };
            server.is_some_and(|name| name == wanted || is_port(name))
        };
        // What matters most has the lowest level there.
        self.level.is_none_or(|wanted| level <= wanted)
            && self.server.as_ref().is_none_or(is_of)
            && self.since.is_none_or(|since| event.at_ms >= since.ms())
    }
}

pub(super) fn run(args: &EventsArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.admin)?;
    let last = print_past(args, &api)?;
    if args.follow {
        follow(args, &api, last)?;
    }
    Ok(Exit::Done)
}

/// Prints past events. Returns the id of the last one.
fn print_past(args: &EventsArgs, api: &Api) -> Result<u64, Failure> {
    let after = args.since_id.unwrap_or(0);
    let found: Value = api.get(&format!("notices?after={after}"))?;
    let known = object::from_value::<NoticeList>(found.clone()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot understand the balancer's answer: {error}"),
        )
    })?;
    let wants_all = !args.follow || args.since_id.is_some() || args.since.is_some();
    let limit = args
        .last
        .unwrap_or(if wants_all { usize::MAX } else { FOLLOWED_FROM });
    let raw = found
        .get("notices")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let shown: Vec<_> = known
        .notices
        .iter()
        .zip(raw)
        .filter(|(event, _)| args.shows(event))
        .collect();
    let skipped = shown.len().saturating_sub(limit);
    for (event, raw) in shown.into_iter().skip(skipped) {
        if args.json {
            say_json(raw);
        } else {
            say(line(event));
        }
    }
    Ok(known.notices.last().map_or(after, |event| event.id))
}

/// Prints new events until the process is ended.
fn follow(args: &EventsArgs, api: &Api, last: u64) -> Result<(), Failure> {
    api::listen(api, false, last, |heard| {
        match heard {
            Heard::Event(event, _) if !args.shows(&event) => {}
            Heard::Event(_, raw) if args.json => say_json(raw),
            Heard::Event(event, _) => say(line(&event)),
            Heard::State(..) => {}
            Heard::Lost(why) => note(format_args!(
                "the balancer is away ({}); waiting for it",
                Printable(why)
            )),
            Heard::Back { restarted: true } => {
                note("the balancer was restarted: event ids start again at 1");
            }
            Heard::Back { restarted: false } => note("the balancer is back"),
        }
        ControlFlow::Continue(())
    })
}
