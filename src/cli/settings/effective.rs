//! The settings in force, and where each comes from.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::file::Entry;
use super::keys::{self, Key, LOG};
use super::program::Program;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Origin {
    Flag,
    Environment,
    Context,
    File,
    Default,
}

/// A setting in force, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Effective {
    pub(in crate::cli) table: String,
    pub(in crate::cli) key: String,
    /// One value, any number for a list, empty if it is not set.
    values: Vec<String>,
    /// Whether the values are masked when shown.
    is_secret: bool,
    pub(in crate::cli) is_list: bool,
    pub(in crate::cli) origin: Origin,
}

impl Effective {
    pub(in crate::cli) fn differs(&self, other: &Self) -> bool {
        self.values != other.values
    }

    /// The values as shown to people: secrets are masked.
    pub(in crate::cli) fn shown(&self) -> Vec<String> {
        self.values
            .iter()
            .map(|value| {
                if self.is_secret {
                    MASKED.to_owned()
                } else {
                    value.clone()
                }
            })
            .collect()
    }
}

const MASKED: &str = "********";

impl Program {
    /// The settings of a command that can be keys of a file, with those of its log.
    pub(in crate::cli) fn effective(
        &self,
        name: &str,
        matches: &ArgMatches,
        entries: &[Entry],
    ) -> Vec<Effective> {
        let Some(command) = self.command.find_subcommand(name) else {
            return Vec::new();
        };
        let tables = keys::tables(&self.command);
        let of_command = tables
            .iter()
            .filter(|table| table.name == name || table.name == LOG);
        let all = of_command.flat_map(|table| table.keys.iter().map(|key| (&*table.name, key)));
        let own = all.filter(|(_, key)| {
            command
                .get_arguments()
                .any(|arg| arg.get_id() == key.id.as_str())
        });
        own.map(|(table, key)| effective(table, key, matches, entries))
            .collect()
    }
}

fn effective(table: &str, key: &Key, matches: &ArgMatches, entries: &[Entry]) -> Effective {
    let raw = matches.get_raw(&key.id).into_iter().flatten();
    let values = raw
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    let in_file = entries
        .iter()
        .any(|entry| entry.table == table && entry.key.name == key.name);
    let origin = match matches.value_source(&key.id) {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => Origin::Environment,
        _ if in_file => Origin::File,
        _ => Origin::Default,
    };
    let (table, is_list) = (table.to_owned(), key.kind.is_list());
    Effective {
        table,
        key: key.name.clone(),
        values,
        is_list,
        is_secret: key.is_secret,
        origin,
    }
}
