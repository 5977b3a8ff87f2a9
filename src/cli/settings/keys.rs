//! The tables and keys of a configuration file. They are derived from the flags of the commands.

use std::any::TypeId;

use clap::{Arg, ArgAction, Command};
use toml::de::{DeInteger, DeValue};

use crate::config::ServerSpec;
use crate::load::Rate;
use crate::units::ByteSize;
use crate::watch::RuleSpec;

/// The commands that have a table of their own, in the order in which messages list them.
pub(in crate::cli) const TABLES: [&str; 8] = [
    "balancer", "server", "agent", "client", "send", "watch", "bench", "demo",
];

/// The table that applies to all roles.
pub(in crate::cli) const LOG: &str = "log";

/// Prefix of the flags whose keys are in [`LOG`].
const LOG_PREFIX: &str = "log-";

/// Least similarity of a suggested name, from 0 to 1.
const LIKE: f64 = 0.7;

/// A table of the file, with its known keys.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    pub(in crate::cli) name: String,
    pub(in crate::cli) keys: Vec<Key>,
}

/// A key of a table, and its flag.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Key {
    /// Its name in the table.
    pub(in crate::cli) name: String,
    /// The identity of the flag among those of its command.
    pub(in crate::cli) id: String,
    /// A command that has the flag.
    pub(in crate::cli) command: String,
    pub(in crate::cli) kind: Kind,
    /// Whether its value is masked when shown.
    pub(in crate::cli) is_secret: bool,
}

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    Switch,
    Number,
    Rate,
    Size,
    Time,
    Servers,
    Rules,
    List,
    Text,
}

impl Kind {
    fn of(arg: &Arg) -> Self {
        let kind = arg.get_value_parser().type_id();
        let is_one_of = |types: &[TypeId]| types.iter().any(|known| kind == *known);
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let names = arg.get_value_names().unwrap_or_default();
        match arg.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Self::Switch,
            ArgAction::Append if is_one_of(&[TypeId::of::<ServerSpec>()]) => Self::Servers,
            ArgAction::Append if is_one_of(&[TypeId::of::<RuleSpec>()]) => Self::Rules,
            _ if is_list => Self::List,
            _ if is_one_of(&[
                TypeId::of::<u16>(),
                TypeId::of::<u32>(),
                TypeId::of::<u64>(),
                TypeId::of::<usize>(),
            ]) =>
            {
                Self::Number
            }
            _ if is_one_of(&[TypeId::of::<Rate>()]) => Self::Rate,
            _ if is_one_of(&[TypeId::of::<ByteSize>()]) => Self::Size,
            _ if names.iter().any(|name| name == "TIME") => Self::Time,
            _ => Self::Text,
        }
    }

    /// The expected value, as messages describe it.
    pub(in crate::cli) fn expected(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Number => "a whole number",
            Self::Rate => "a number",
            Self::Size => "a size like \"64MiB\", or a whole number of bytes",
            Self::Time => "a time like \"10s\", in quotes",
            Self::Servers => {
                r#"a list like ["127.0.0.1:5001=3"] or [{ address = "127.0.0.1:5001", weight = 3 }]"#
            }
            Self::Rules => {
                r#"tables like [[watch.rule]], or a list like ["include=*.pdf after=delete"]"#
            }
            Self::List => "a list of texts in quotes",
            Self::Text => "a text in quotes",
        }
    }

    /// The type's name in docs/configuration.md.
    #[cfg(test)]
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::Number => "whole number",
            Self::Rate => "number",
            Self::Size => "size",
            Self::Time => "time",
            Self::Servers => "list of servers",
            Self::Rules => "list of rules",
            Self::List => "list of texts",
            Self::Text => "text",
        }
    }

    pub(in crate::cli) fn is_list(self) -> bool {
        matches!(self, Self::Servers | Self::Rules | Self::List)
    }

    /// The value in the form that the flag takes; `None` if its type is wrong.
    pub(in crate::cli) fn text(self, value: &DeValue<'_>) -> Option<String> {
        match (self, value) {
            (Self::Switch, DeValue::Boolean(on)) => Some(on.to_string()),
            // A time of 0 needs no unit; for other times the flag's own error says what is missing.
            (Self::Number | Self::Rate | Self::Size | Self::Time, DeValue::Integer(number)) => {
                Some(decimal(number))
            }
            (Self::Rate, DeValue::Float(number)) => Some(number.as_str().to_owned()),
            (Self::Size | Self::Time | Self::Text | Self::List, DeValue::String(text)) => {
                Some(text.to_string())
            }
            _ => None,
        }
    }
}

/// The number in decimal digits, or as written if it is too large for any flag.
pub(super) fn decimal(number: &DeInteger<'_>) -> String {
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.as_str().to_owned(), |value| value.to_string())
}

/// All tables of a file for this program.
pub(in crate::cli) fn tables(program: &Command) -> Vec<Table> {
    let named = TABLES
        .iter()
        .filter_map(|name| program.find_subcommand(name));
    let mut tables: Vec<Table> = named
        .map(|command| {
            let own = keys_of(command)
                .filter(|key| !is_of_log(&key.name))
                .collect();
            Table {
                name: command.get_name().to_owned(),
                keys: own,
            }
        })
        .collect();
    let mut log: Vec<Key> = Vec::new();
    for key in program.get_subcommands().flat_map(keys_of) {
        if let Some(name) = key.name.strip_prefix(LOG_PREFIX)
            && !log.iter().any(|known| known.name == name)
        {
            log.push(Key {
                name: name.to_owned(),
                ..key
            });
        }
    }
    if !log.is_empty() {
        tables.push(Table {
            name: LOG.to_owned(),
            keys: log,
        });
    }
    tables
}

fn keys_of(command: &Command) -> impl Iterator<Item = Key> {
    command.get_arguments().filter_map(|arg| {
        let long = arg
            .get_long()
            .filter(|_| !arg.is_hide_set() && !arg.is_global_set())?;
        let kind = Kind::of(arg);
        // A repeated flag is one list in the file, and has the plural as its name.
        let name = if kind.is_list() {
            arg.get_id().as_str().replace('_', "-")
        } else {
            long.to_owned()
        };
        Some(Key {
            name,
            id: arg.get_id().to_string(),
            command: command.get_name().to_owned(),
            kind,
            is_secret: arg.is_hide_env_values_set(),
        })
    })
}

/// Whether the flag's key is in the table [`LOG`].
pub(in crate::cli) fn is_of_log(flag: &str) -> bool {
    flag.starts_with(LOG_PREFIX)
}

/// The name of a flag's key within [`LOG`].
pub(in crate::cli) fn name_in_log(flag: &str) -> &str {
    flag.strip_prefix(LOG_PREFIX).unwrap_or(flag)
}

/// The known name most similar to this one, if any is similar enough.
pub(in crate::cli) fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let likeness = known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known));
    let best = likeness.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness >= LIKE)
        .map(|(_, known)| known)
}
