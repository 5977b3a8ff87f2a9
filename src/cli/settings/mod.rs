//! What a command is told: by its flags, the environment, a configuration file, or nobody.
//!
//! There is one truth, which is the command line's definition: the keys of a file are the names of
//! flags, and its values take the place of their defaults before the command line is parsed. So the
//! parser itself gives the order flag, environment, file, default, and a flag that is added can be
//! written in the file at once.

pub(super) mod file;
pub(super) mod keys;
#[cfg(test)]
mod tests;
pub(super) mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use file::Entry;
use keys::{Key, LOG};

/// The identity of the flag that names the file.
const CONFIG: &str = "config";

/// Looks at the values of one command together; the error names a key and says what is wrong.
pub(super) type Check = fn(&str, &ArgMatches) -> Result<(), (&'static str, String)>;

/// A program whose flags can be written in a file.
pub(super) struct Program {
    /// Its command line.
    pub(super) command: Command,
    /// What the parser cannot see.
    pub(super) check: Check,
}

/// A command line that was understood.
#[derive(Debug)]
pub(super) struct Resolved {
    /// What the flags are.
    pub(super) matches: ArgMatches,
    /// The file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// What came from it.
    pub(super) entries: Vec<Entry>,
}

/// Why a command line was not understood.
#[derive(Debug)]
pub(super) enum Refused {
    /// The flags or the environment make no sense; or help was asked for.
    Flags(Box<clap::Error>),
    /// The file is broken: all that is wrong with it.
    File(Vec<String>),
    /// What fits for itself does not fit together.
    Together(String),
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

/// A value that is in force, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effective {
    /// The table of its key.
    pub(super) table: String,
    /// Its key there.
    pub(super) key: String,
    /// One, or for a list any number; none if it is not set.
    values: Vec<String>,
    /// Whether nobody must see them.
    is_secret: bool,
    /// Whether it is a list.
    pub(super) is_list: bool,
    /// Where it comes from.
    pub(super) origin: Origin,
}

impl Effective {
    /// Whether it has other values than another.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.values != other.values
    }

    /// The values for people: a secret's are masked.
    pub(super) fn shown(&self) -> Vec<String> {
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

/// What is shown of a secret.
const MASKED: &str = "********";

impl Program {
    /// Understands a command line, whose first word is the program's name, with the file that it
    /// names, if its command can be told anything by a file.
    pub(super) fn resolve(&self, args: &[OsString]) -> Result<Resolved, Refused> {
        // What the file may hold cannot be demanded before it was read.
        let lenient = self
            .command
            .clone()
            .mut_subcommands(|command| command.mut_args(|arg| lenient(arg, false)));
        let first = match lenient.try_get_matches_from(args) {
            Ok(matches) => matches,
            Err(_) => flags(self.command.clone(), args)?,
        };
        let file = first.get_one::<PathBuf>(CONFIG).cloned();
        let (path, given) = match (file, first.subcommand()) {
            (Some(path), Some((name, given))) if self.is_configurable(name) => {
                (path, (name, given))
            }
            (file, _) => return self.checked(self.command.clone(), args, file, Vec::new()),
        };
        let entries = file::load(&path, self).map_err(Refused::File)?;
        let entries = self.for_command(given.0, given.1, entries);
        let with_file = self
            .command
            .clone()
            .mut_subcommand(given.0, |command| with_defaults(command, &entries));
        self.checked(with_file, args, Some(path), entries)
    }

    fn checked(
        &self,
        command: Command,
        args: &[OsString],
        file: Option<PathBuf>,
        entries: Vec<Entry>,
    ) -> Result<Resolved, Refused> {
        let matches = flags(command, args)?;
        if let Some((name, matches)) = matches.subcommand() {
            (self.check)(name, matches).map_err(|(_, what)| Refused::Together(what))?;
        }
        Ok(Resolved {
            matches,
            file,
            entries,
        })
    }

    /// The same program, of which nothing has to be given.
    pub(super) fn undemanding(self) -> Self {
        let command = self
            .command
            .mut_subcommands(|command| command.mut_args(|arg| arg.required(false)));
        Self { command, ..self }
    }

    /// Whether a file can tell this command anything.
    pub(super) fn is_configurable(&self, name: &str) -> bool {
        let has_log = |command: &Command| {
            command
                .get_arguments()
                .filter_map(Arg::get_long)
                .any(keys::is_of_log)
        };
        keys::TABLES.contains(&name) || self.command.find_subcommand(name).is_some_and(has_log)
    }

    /// The entries that hold for a command, but those that contradict what was said by a flag or
    /// the environment.
    fn for_command(&self, name: &str, given: &ArgMatches, entries: Vec<Entry>) -> Vec<Entry> {
        let Some(command) = self.command.find_subcommand(name) else {
            return Vec::new();
        };
        let is_said = |id: &str| {
            matches!(
                given.value_source(id),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
        };
        let said: Vec<&str> = command
            .get_arguments()
            .map(|arg| arg.get_id().as_str())
            .filter(|id| is_said(id))
            .collect();
        let has = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
        let holds = |entry: &Entry| {
            (entry.table == name || entry.table == LOG)
                && has(&entry.key.id)
                && !said
                    .iter()
                    .any(|said| file::conflict(command, said, &entry.key.id))
        };
        entries.into_iter().filter(holds).collect()
    }

    /// Why the flag of a key does not take this value, if so.
    fn refusal(&self, key: &Key, value: &str) -> Option<String> {
        if key.kind == keys::Kind::Servers && value.contains(',') {
            return Some(format!(
                "`{value}`: write each server as an item of its own"
            ));
        }
        let command = self.command.find_subcommand(&key.command)?;
        let entry = [(key.id.clone(), vec![value.to_owned()])];
        let error = alone(command, &entry).err()?;
        let reason = file::reason(&error, value);
        Some(if key.is_secret {
            "it is not taken (and not shown, as it is a secret)".to_owned()
        } else {
            reason
        })
    }

    /// Looks at the values of a table together, flags and environment apart.
    fn check_together(
        &self,
        command: &Command,
        own: &[&Entry],
    ) -> Result<(), (&'static str, String)> {
        let entries: Vec<_> = own
            .iter()
            .map(|entry| (entry.key.id.clone(), entry.values.clone()))
            .collect();
        // What does not even fit for itself was told before.
        alone(command, &entries)
            .map_or(Ok(()), |matches| (self.check)(command.get_name(), &matches))
    }

    /// The values in force of a command that can be written in a file, with those of its log.
    pub(super) fn effective(
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

fn flags(command: Command, args: &[OsString]) -> Result<ArgMatches, Refused> {
    command
        .try_get_matches_from(args)
        .map_err(|error| Refused::Flags(Box::new(error)))
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

/// A flag that need not be given; nor is a value taken from the environment, if so.
fn lenient(arg: Arg, is_deaf: bool) -> Arg {
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

/// Parses values of a command by themselves: no flags, no environment.
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

/// Puts the values of a file where the defaults of flags are.
fn with_defaults(command: Command, entries: &[Entry]) -> Command {
    entries.iter().fold(command, |command, entry| {
        command.mut_arg(&entry.key.id, |arg| {
            arg.required(false).default_values(entry.values.clone())
        })
    })
}
