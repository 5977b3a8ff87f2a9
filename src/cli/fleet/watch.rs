//! `bilico fleet watch`: all members as they change, or the status of one, line by line.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::Local;
use serde::Deserialize;
use serde_json::{Value, json};

use super::figures::{doubt, percent, uptime};
use super::file::HistoryFile;
use super::list;
use super::samples::{Entry, Sample, Samples};
use crate::cli::api::{Api, member_path};
use crate::cli::output::{Exit, Failure, note, say, say_as_is, say_json};
use crate::cli::render::age;
use crate::cli::screen::{self, List};
use crate::fleet_core::{MemberReport, MemberState};
use crate::protocol::object;
use crate::text::Printable;

#[derive(Debug, Deserialize)]
struct Members {
    members: Vec<MemberReport>,
}

/// All members.
pub(super) fn members(api: &Api) -> Result<Vec<MemberReport>, Failure> {
    Ok(api.get::<Members>("fleet")?.members)
}

/// Shows all members, again and again.
pub(super) async fn all(
    api: Api,
    every: Duration,
    is_json: bool,
    colour: bool,
) -> Result<Exit, Failure> {
    if !is_json && screen::is_possible() {
        let show = move |members: &Vec<MemberReport>, width: usize| {
            let mut rows = list::lines(members, Some(width), colour);
            let table_head = rows.remove(0);
            List {
                head: vec![list::counts(members), String::new(), table_head],
                rows,
                what: "members",
            }
        };
        return screen::repeat(every, colour, move || members(&api), show).await;
    }
    again_and_again(
        every,
        || api.get::<Value>("fleet"),
        |answer| {
            if is_json {
                say_json(&answer);
                return Ok(());
            }
            let Members { members } =
                object::from_value(answer).map_err(|error| api.strange(&error))?;
            let lines = list::lines(&members, screen::width(), colour);
            say_as_is(format_args!("{}\n", lines.join("\n")));
            Ok(())
        },
    )
}

/// How one member is watched.
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) every: Duration,
    /// Averages of so many lines.
    pub(super) average: Option<u32>,
    pub(super) file: Option<PathBuf>,
    pub(super) is_json: bool,
    pub(super) is_quiet: bool,
}

/// Prints the status of one member, again and again.
pub(super) fn one(api: &Api, watched: &Watched) -> Result<Exit, Failure> {
    let file = watched.file.as_deref().map(HistoryFile::open).transpose()?;
    let member: MemberReport = api.get(&member_path(&watched.name))?;
    // By its identity: others whose names contain the word may come.
    let path = member_path(&member.id);
    let mut samples = watched.average.map(Samples::new);
    let began = Instant::now();
    again_and_again(
        watched.every,
        || api.get::<Value>(&path),
        |answer| {
            let member: MemberReport =
                object::from_value(answer.clone()).map_err(|error| api.strange(&error))?;
            let now = Local::now();
            if watched.is_json {
                say_json(&answer);
            } else if !watched.is_quiet {
                say(format_args!(
                    "{}  {}",
                    now.format("%H:%M:%S"),
                    status(&member)
                ));
            }
            let (Some(samples), Some(sample)) = (&mut samples, Sample::of(&member)) else {
                return Ok(());
            };
            let at = now.format("%Y-%m-%d %H:%M:%S").to_string();
            // The first look is the first of its number: ten looks a second apart are ten seconds.
            let since = began.elapsed() + watched.every;
            let Some(entry) = samples.take(sample, &at, since) else {
                return Ok(());
            };
            if watched.is_json {
                say_json(json!({ "averages": entry }));
            } else if !watched.is_quiet {
                say(average(watched.average.unwrap_or(0), &entry));
            }
            file.as_ref().map_or(Ok(()), |file| file.add(&entry))
        },
    )
}

/// Asks at each tick and tells the answers. The first question has to be answered; later on a balancer
/// that is away is waited for, and what it refuses ends it.
fn again_and_again<T>(
    every: Duration,
    ask: impl Fn() -> Result<T, Failure>,
    mut tell: impl FnMut(T) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let mut answer: Result<T, Failure> = Ok(ask()?);
    let mut is_away = false;
    let mut next = Instant::now();
    loop {
        match answer {
            Ok(answer) => {
                if std::mem::take(&mut is_away) {
                    note("the balancer is back");
                }
                tell(answer)?;
            }
            Err(failure) if failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut is_away, true) {
                    note(format_args!("{}; trying again", Printable(failure.error)));
                }
            }
            Err(failure) => return Err(failure),
        }
        // A look that took long delays the next one; missed ones are not made up for.
        let now = Instant::now();
        next = (next + every).max(now);
        std::thread::sleep(next - now);
        answer = ask();
    }
}

/// A member's status in one line.
fn status(member: &MemberReport) -> String {
    let facts = &member.facts;
    let mut parts = vec![member.state.name().to_owned()];
    if let Some(reason) = &member.reason {
        parts.push(reason.clone());
    }
    let is_old = member.state != MemberState::Active;
    if let Some(heard) = member.heard_s.filter(|_| is_old) {
        parts.push(format!("last word {} ago", age(heard)));
    }
    let figure =
        |name: &str, part: Option<f64>| part.map(|part| format!("{name} {}", percent(part)));
    let network = facts.network_up.map(|is_up| {
        let is = if is_up { "up" } else { "down" };
        format!("network {is}")
    });
    let figures = [
        figure("cpu", facts.cpu.map(f64::from)),
        figure("memory", super::figures::memory(facts)),
        figure("disk", super::figures::disk(facts)),
        figure("load", facts.load.map(f64::from)),
        network,
        facts.uptime_s.map(|up| format!("up {}", uptime(up))),
    ];
    let before = parts.len();
    parts.extend(figures.into_iter().flatten());
    if parts.len() == before {
        let text = facts.status_text.as_deref();
        parts.push(text.unwrap_or("no figures are told").to_owned());
    }
    parts.extend(doubt(member.trust).map(str::to_owned));
    Printable(parts.join("  ")).to_string()
}

fn average(of: u32, entry: &Entry) -> String {
    let figure = |name: &str, part: Option<f64>| match part {
        Some(part) => format!("{name} {part:.2} %"),
        None => format!("{name} -"),
    };
    format!(
        "average of {of}  {}  {}  {}",
        figure("cpu", entry.avg_cpu),
        figure("memory", entry.avg_memory),
        figure("disk", entry.avg_disk)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fleet::list::tests::member;

    #[test]
    fn a_status_is_a_line() {
        assert_eq!(
            status(&member("a", "active", "proved")),
            "active  cpu 58.9 %  memory 3.5 %  disk 29.8 %  network up  up 50 m 24 s"
        );
        let line = status(&member("a", "late", "claimed"));
        assert!(
            line.starts_with("late  nothing was heard of it for 15 s  last word 1.2 s ago  cpu")
        );
        assert!(line.ends_with("  not verified"), "{line}");
        let mut other = member("a", "active", "proved");
        other.facts = crate::fleet_core::Facts::default();
        assert_eq!(status(&other), "active  no figures are told");
        other.facts.status_text = Some("Ativo\x1b[2J".into());
        assert_eq!(status(&other), "active  Ativo\\u{1b}[2J");
    }

    #[test]
    fn a_balancer_that_is_away_is_waited_for() {
        let answers = std::cell::RefCell::new(vec![
            Err(Failure::new(Exit::Failed, "there is no member a")),
            Ok(2),
            Err(Failure::new(Exit::Unreachable, "refused")),
            Err(Failure::new(Exit::Unreachable, "refused")),
            Ok(1),
        ]);
        let mut told = Vec::new();
        let ask = || answers.borrow_mut().pop().unwrap();
        let ended = again_and_again(Duration::from_millis(1), ask, |answer| {
            told.push(answer);
            Ok(())
        });
        assert_eq!(ended.unwrap_err().error, "there is no member a");
        assert_eq!(told, [1, 2]);
    }
}
