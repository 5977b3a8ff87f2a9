//! `bilico events`: what happened to the balancer and its servers, once or as it happens.

use std::ops::ControlFlow;

use clap::Args;
use serde_json::Value;

use super::api::{self, AdminArg, Api, Heard};
use super::output::{Exit, Failure, note, say, say_json};
use super::render::line;
use crate::admin::types::NoticeList;
use crate::protocol::object;
use crate::text::Printable;

/// `-f` begins with this many of the last events.
const FOLLOWED_FROM: usize = 10;

/// Show events: servers that went away or came back, orders, dead letters
///
/// The balancer keeps the last 256 events since its start; its log has all of them.
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
    /// Print JSON lines
    #[arg(long)]
    json: bool,
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
    let limit = if args.follow && args.since_id.is_none() {
        FOLLOWED_FROM
    } else {
        usize::MAX
    };
    let skipped = known.notices.len().saturating_sub(limit);
    let raw = found
        .get("notices")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for (event, raw) in known.notices.iter().zip(raw).skip(skipped) {
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
