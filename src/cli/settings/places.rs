//! Where a command finds its balancer: from the context in use, and from the tables that a file has
//! for other commands, so that one name, or one file, serves all.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::effective::Origin;
use super::file::Entry;
use crate::cli::contexts::{self, Context, Contexts, NONE};

/// The identity of the flag that names the context.
const CONTEXT: &str = "context";

/// The commands that need no balancer, or are one.
const ELSEWHERE: [&str; 10] = [
    "demo",
    "balancer",
    "server",
    "certs",
    "config",
    "context",
    "logs",
    "verify",
    "completions",
    "man",
];

/// Keys of `[client]` that say where the balancer is, with the flags that have them.
const OF_CLIENT: [(&str, &str); 4] = [
    ("balancer", "balancer"),
    ("admin", "admin"),
    ("ca", "ca"),
    ("token-file", "token_file"),
];

/// The same of `[balancer]`.
const OF_BALANCER: [(&str, &str); 2] = [("listen", "balancer"), ("admin", "admin")];

/// A value of a flag, by the flag's identity.
pub(super) type Place = (&'static str, String);

/// Whether a command asks a balancer that its flags name.
pub(super) fn reaches(command: &str) -> bool {
    !ELSEWHERE.contains(&command)
}

/// What a file says to all commands.
pub(super) fn of_file(command: &str, entries: &[Entry]) -> Vec<Place> {
    let value = |table: &str, key: &str| {
        let entry = entries
            .iter()
            .find(|entry| entry.table == table && entry.key.name == key)?;
        entry.values.first().cloned()
    };
    if command == "logs" {
        let dir = value("log", "dir");
        return dir.map(|dir| ("dir", dir)).into_iter().collect();
    }
    if !reaches(command) {
        return Vec::new();
    }
    let of_balancer = OF_BALANCER
        .iter()
        .filter_map(|(key, id)| Some((*id, reachable(&value("balancer", key)?)?)));
    let of_client = OF_CLIENT
        .iter()
        .filter_map(|(key, id)| Some((*id, value("client", key)?)));
    // The later one wins.
    of_balancer.chain(of_client).collect()
}

/// An address to connect to, from one to listen at; `None` if only the running process knows it.
fn reachable(listen: &str) -> Option<String> {
    let Some((host, port)) = listen.rsplit_once(':') else {
        return Some(listen.to_owned());
    };
    if port == "0" {
        return None;
    }
    let host = match host.trim_matches(['[', ']']) {
        "0.0.0.0" => Ipv4Addr::LOCALHOST.to_string(),
        "::" => format!("[{}]", Ipv6Addr::LOCALHOST),
        _ => host.to_owned(),
    };
    Some(format!("{host}:{port}"))
}

/// The context that a command line works with.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) context: Context,
    /// The command line names it: then it counts as flags do, and the environment comes behind it.
    pub(super) is_flag: bool,
}

impl Chosen {
    /// The context that this command line works with. A file that the command line names sets a
    /// context aside that it does not name.
    pub(super) fn find(
        given: &ArgMatches,
        command: &str,
        file_is_flag: bool,
    ) -> Result<Option<Self>, String> {
        if !reaches(command) {
            return Ok(None);
        }
        let named = given.get_one::<String>(CONTEXT).cloned();
        let is_flag = given.value_source(CONTEXT) == Some(ValueSource::CommandLine);
        if named.as_deref() == Some(NONE) || (file_is_flag && !is_flag) {
            return Ok(None);
        }
        let contexts = Contexts::read()?;
        let named = named.filter(|name| !name.is_empty());
        let Some(name) = named.or_else(|| contexts.current.clone()) else {
            return Ok(None);
        };
        let context = contexts.get(&name)?.clone();
        Ok(Some(Self {
            name,
            context,
            is_flag,
        }))
    }

    pub(super) fn work_with(&self) {
        contexts::work_with(self.name.clone(), self.context.clone());
    }
}

/// Replaces the defaults of the flags of a command, and of the commands below it. If they count as
/// flags, the environment is not read for them.
pub(super) fn with_places(command: Command, places: &[Place], are_flags: bool) -> Command {
    let command = command.mut_subcommands(|command| with_places(command, places, are_flags));
    command.mut_args(|arg| {
        let found = places.iter().rev().find(|(id, _)| arg.get_id() == id);
        match found {
            // A hidden flag is there to be refused.
            Some((_, value)) if !arg.is_hide_set() && !arg.is_global_set() => {
                let arg = arg.required(false).default_value(value);
                if are_flags {
                    arg.env(Resettable::Reset)
                } else {
                    arg
                }
            }
            _ => arg,
        }
    })
}

/// Where the values of these flags come from, if neither flag nor environment has them.
pub(super) fn origins(of_file: &[Place], chosen: Option<&Chosen>) -> Vec<(String, Origin)> {
    let key = |id: &str| id.replace('_', "-");
    let of_context = chosen.map_or_else(Vec::new, |chosen| chosen.context.values());
    of_file
        .iter()
        .map(|(id, _)| (key(id), Origin::File))
        .chain(of_context.iter().map(|(id, _)| (key(id), Origin::Context)))
        .collect()
}
