//! The command line as a set of flags that can be checked one by one or together, without parsing
//! the arguments of this process.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches, Command};

use super::keys::{self, Key};

/// Checks the values of one command against each other. The error names a key and the problem.
pub(in crate::cli) type Check = fn(&str, &ArgMatches) -> Result<(), (&'static str, String)>;

/// The command line, whose flags are also the keys of a configuration file.
pub(in crate::cli) struct Program {
    pub(in crate::cli) command: Command,
    /// Checks that clap cannot do.
    pub(in crate::cli) check: Check,
}

impl Program {
    /// The same program with no required flag.
    pub(in crate::cli) fn undemanding(self) -> Self {
        let command = self
            .command
            .mut_subcommands(|command| command.mut_args(|arg| arg.required(false)));
        Self { command, ..self }
    }

    /// Whether a configuration file can have keys for this command.
    pub(in crate::cli) fn is_configurable(&self, name: &str) -> bool {
        let has_log = |command: &Command| {
            command
                .get_arguments()
                .filter_map(Arg::get_long)
                .any(keys::is_of_log)
        };
        keys::TABLES.contains(&name) || self.command.find_subcommand(name).is_some_and(has_log)
    }

    /// Why the flag of a key refuses this value; `None` if it does not.
    pub(super) fn refusal(&self, key: &Key, value: &str) -> Option<String> {
        if key.kind == keys::Kind::Servers && value.contains(',') {
            return Some(format!(
                "`{value}`: write each server as an item of its own"
            ));
        }
        let command = self.command.find_subcommand(&key.command)?;
        let entry = [(key.id.clone(), vec![value.to_owned()])];
        let error = alone(command, &entry).err()?;
        let reason = reason(&error, value);
        Some(if key.is_secret {
            "invalid value (not shown, because it is a secret)".to_owned()
        } else {
            reason
        })
    }

    /// Checks the values of a table against each other, without flags and environment.
    pub(super) fn check_together(
        &self,
        command: &Command,
        own: &[(String, Vec<String>)],
    ) -> Result<(), (&'static str, String)> {
        // A value that is invalid by itself was reported before.
        alone(command, own).map_or(Ok(()), |matches| (self.check)(command.get_name(), &matches))
    }
}

/// Makes a flag optional. If `is_deaf`, the environment is not read for it either.
pub(super) fn lenient(arg: Arg, is_deaf: bool) -> Arg {
    let arg = if arg.is_positional() && !is_deaf {
        arg
    } else {
        arg.required(false)
    };
    if is_deaf {
        arg.env(Resettable::Reset)
    } else {
        arg
    }
}

/// Parses values of a command alone, without flags and environment.
fn alone(command: &Command, values: &[(String, Vec<String>)]) -> Result<ArgMatches, clap::Error> {
    let deaf = command
        .clone()
        .mut_args(|arg| lenient(arg, true))
        .no_binary_name(true);
    let with = values.iter().fold(deaf, |command, (id, values)| {
        command.mut_arg(id, |arg| arg.default_values(values.clone()))
    });
    with.try_get_matches_from(std::iter::empty::<OsString>())
}

/// Whether two flags of a command exclude each other.
pub(super) fn conflict(command: &Command, one: &str, other: &str) -> bool {
    let excludes = |one: &str, other: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_id() == one);
        arg.is_some_and(|arg| {
            command
                .get_arg_conflicts_with(arg)
                .iter()
                .any(|arg| arg.get_id() == other)
        })
    };
    excludes(one, other) || excludes(other, one)
}

/// Why a flag refuses a value, as shown to people.
fn reason(error: &clap::Error, value: &str) -> String {
    if let Some(source) = error.source() {
        let text = super::values::reason(source);
        return if text.contains(value) {
            text
        } else {
            format!("invalid value {value:?}: {text}")
        };
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("invalid value {value:?}: expected {}", values.join(", "))
        }
        _ if value.is_empty() => "the value is empty".to_owned(),
        _ => format!("invalid value {value:?}"),
    }
}
