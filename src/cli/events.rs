//! `bilico events`: what has happened to the balancer and its servers, and what happens now.

use std::ops::ControlFlow;

use chrono::{Local, TimeZone};
use clap::Args;
use serde_json::Value;

use super::api::{self, AdminArg, Api, Heard};
use super::{Exit, Failure, note, say, say_json};
use crate::admin::types::NoticeList;
use crate::balancer::events::{Event, Level};
use crate::protocol::object;
use crate::text::Printable;

/// With how many of the last notices `-f` begins.
const FOLLOWED_FROM: usize = 10;

/// Show what has happened: servers that went and came, orders, dead letters
///
/// The balancer keeps the last 256 notices since its start; its log has all of them.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Go on with what happens from now on, until Ctrl-C; begins with the last 10 unless told
    /// otherwise. When the balancer is away it waits, and goes on when it is back
    #[arg(short, long)]
    follow: bool,
    /// Only those after the one with this id, which stands first in each line
    #[arg(long, value_name = "N")]
    since_id: Option<u64>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// Shows notices.
pub(super) fn run(args: &EventsArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.admin);
    let after = args.since_id.unwrap_or(0);
    let found: Value = api.get(&format!("notices?after={after}"))?;
    let known = object::from_value::<NoticeList>(found.clone()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the balancer's answer makes no sense: {error}"),
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
    for (notice, raw) in known.notices.iter().zip(raw).skip(skipped) {
        if args.json {
            say_json(raw)
        } else {
            say(line(notice))
        }
    }
    if !args.follow {
        return Ok(Exit::Done);
    }
    let last = known.notices.last().map_or(after, |notice| notice.id);
    api::listen(&api, false, last, |heard| {
        match heard {
            Heard::Event(_, raw) if args.json => say_json(raw),
            Heard::Event(notice, _) => say(line(&notice)),
            Heard::State(..) => {}
            Heard::Lost(why) => note(format_args!(
                "the balancer is away ({}); waiting for it",
                Printable(why)
            )),
            Heard::Back { restarted: true } => note("the balancer was restarted: ids begin again"),
            Heard::Back { restarted: false } => note("the balancer is back"),
        }
        ControlFlow::Continue(())
    })?;
    Ok(Exit::Done)
}

/// A notice in a line.
pub(super) fn line(notice: &Event) -> String {
    let at = i64::try_from(notice.at_ms)
        .ok()
        .and_then(|ms| Local.timestamp_millis_opt(ms).single());
    let at = at.map_or_else(
        || "?".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    );
    let level = match notice.level {
        Level::Info => "info ",
        Level::Warn => "warn ",
        Level::Error => "error",
    };
    let server = notice
        .server
        .as_ref()
        .map_or_else(String::new, |server| format!("{} ", Printable(server)));
    let number = notice
        .number
        .map_or_else(String::new, |number| format!("file {number} "));
    let text = Printable(&notice.text);
    format!("{:>5}  {at}  {level}  {server}{number}{text}", notice.id)
}
